package outbox_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/accounts/accountstest"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// stamp returns the stamp of a case of the study.
func (d *testOutbox) stamp(number int32) string {
	d.t.Helper()
	return must(d.Reviews().Case(d.t.Context(), study, number))(d.t).Stamp
}

func TestAStampIsOfAllThatTheVisitsOfACaseSay(t *testing.T) {
	visits := func() []events.Assessment {
		return []events.Assessment{assessment("1", 1, 1, 1), assessment("2", 1, 1, 1), assessment("3", 1, 1, 1)}
	}
	changes := map[string]func(d *testOutbox){
		"another visit is registered": func(d *testOutbox) { d.register(assessment("4", 1, 1, 1)) },
		"another visit is registered again with other content": func(d *testOutbox) {
			other := visits()[2]
			other.Conclusion = "Stable Disease"
			d.register(other)
		},
		"another visit is moved to another case": func(d *testOutbox) {
			moved := visits()[2]
			moved.Case.ID, moved.Subject = 2, "subject-2"
			d.register(moved)
		},
		"a visit is moved into the case": func(d *testOutbox) {
			d.register(assessment("elsewhere", 1, 1, 1))
		},
		"another visit is signed":    func(d *testOutbox) { d.sign("3") },
		"another visit is withdrawn": func(d *testOutbox) { must(d.withdrawAs("dr.a", "1", "wrong scan"))(t) },
		"another visit is returned": func(d *testOutbox) {
			must(d.Return(t.Context(), outbox.Return{User: "dr.a", ID: "3", Reason: "lesion missed"}))(t)
		},
		"the case gets another subject": func(d *testOutbox) {
			other := assessment("8", 9, 1, 1)
			other.Subject = "another"
			d.register(other)
		},
	}
	for what, change := range changes {
		t.Run(what, func(t *testing.T) {
			d := newOutbox(t)
			d.register(visits()...)
			d.register(assessment("elsewhere", 5, 1, 1), assessment("9", 9, 1, 1))
			d.sign("1")
			number, id := int32(1), "2"
			if what == "the case gets another subject" {
				number, id = 9, "9"
			}
			seen := d.stamp(number)
			change(d)
			before := d.published()
			_, err := d.SignOff(t.Context(), outbox.SignOff{User: "dr.a", Meaning: meaning, IDs: []string{id}, Stamp: seen})
			wantCode(t, err, events.Stale, "has changed", "read it again")
			if diff := cmp.Diff(before, d.published()); diff != "" {
				t.Errorf("something was signed: %s", diff)
			}
		})
	}
	t.Run("what happens in another case leaves it", func(t *testing.T) {
		d := newOutbox(t)
		d.register(visits()...)
		seen := d.stamp(1)
		d.register(assessment("5", 2, 1, 1))
		d.sign("5")
		signed := must(d.SignOff(t.Context(), outbox.SignOff{User: "dr.a", Meaning: meaning, IDs: []string{"1", "2"}, Stamp: seen}))(t)
		d.register(assessment("4", 1, 1, 1))
		again := must(d.SignOff(t.Context(), outbox.SignOff{User: "dr.a", Meaning: meaning, IDs: []string{"1", "2"}, Stamp: seen, Expected: map[string]outbox.Expected{
			"1": version(1, 1), "2": version(1, 1),
		}}))(t)
		if diff := cmp.Diff(signed, again); diff != "" {
			t.Errorf("the same sign-off again, after the case has changed: %s", diff)
		}
	})
	t.Run("in a transaction of the host's too", func(t *testing.T) {
		d := newOutbox(t)
		d.register(visits()...)
		seen := d.stamp(1)
		d.register(assessment("4", 1, 1, 1))
		tx := must(d.DB().Writer.Beginx())(t)
		_, err := d.SignOffTx(t.Context(), tx, outbox.SignOff{User: "dr.a", Meaning: meaning, IDs: []string{"1"}, Stamp: seen})
		ok(t, tx.Rollback())
		wantCode(t, err, events.Stale)
	})
	t.Run("refuses what is no stamp of the case", func(t *testing.T) {
		d := newOutbox(t)
		d.register(visits()...)
		d.register(assessment("5", 2, 1, 1))
		for stamp, ids := range map[string][]string{"x": {"1"}, strings.ToUpper(d.stamp(1)): {"1"}, d.stamp(1): {"1", "5"}} {
			_, err := d.SignOff(t.Context(), outbox.SignOff{User: "dr.a", Meaning: meaning, IDs: ids, Stamp: stamp})
			wantCode(t, err, events.Invalid, "stamp")
		}
		_, err := d.SignOff(t.Context(), outbox.SignOff{User: "dr.a", Meaning: meaning, IDs: []string{"1"}, Stamp: d.stamp(2)})
		wantCode(t, err, events.Stale)
		wantEvents(t, d)
	})
}

func TestACaseAsThePISeesIt(t *testing.T) {
	d := newOutbox(t)
	early, followUp, old := assessment("10", 1, 2, 1), assessment("9", 1, 2, 1), assessment("11", 1, 1, 1)
	early.Timepoint, followUp.Timepoint, old.Timepoint = 1, 2, 3
	d.register(old)
	d.register(early, followUp)
	d.sign("10", "9")
	amended := followUp
	amended.Revision, amended.Conclusion = 2, "Stable Disease"
	d.register(amended)
	must(d.withdrawAs("dr.a", "10", "wrong scan"))(t)

	c := must(d.Reviews().Case(t.Context(), study, 1))(t)
	if c.Subject != "subject-1" || c.Revision != 2 || c.StudyKey != events.StudyKey(study) {
		t.Errorf("%+v", c)
	}
	var got []string
	for _, v := range c.Visits {
		line := v.ID
		if v.Waiting != nil {
			line += fmt.Sprintf(" waits %s, signable %t", v.Waiting.Assessment.Conclusion, c.Signable(v))
		}
		if v.Signed != nil {
			line += fmt.Sprintf(" signed %d by %s, withdrawn %t, published %s", v.Signed.Number, v.Signed.Signature.Name, v.Signed.Withdrawal != nil, v.Signed.Publication.Kind)
		}
		if in := c.InForce(v); in != nil {
			line += ", in force " + in.State
		}
		got = append(got, line)
	}
	want := []string{
		"10 signed 1 by Printed dr.a, withdrawn true, published diagnosticreport.signed.v1",
		"9 waits Stable Disease, signable true signed 2 by Printed dr.a, withdrawn false, published diagnosticreport.signed.v1, in force waiting",
		"11 waits Partial Response, signable false",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	_, err := d.Reviews().Case(t.Context(), study, 2)
	wantCode(t, err, events.NotFound)
	_, err = d.Reviews().Case(t.Context(), "OTHER", 1)
	wantCode(t, err, events.NotFound)
}

func TestTheQueueHoldsStillWhileOthersSignAndRegister(t *testing.T) {
	d := newOutbox(t)
	elsewhere := assessment("other", 1, 1, 1)
	elsewhere.Study = "OTHER"
	d.register(elsewhere)
	for i := range int32(9) {
		d.clock.advance(time.Minute)
		d.register(assessment(fmt.Sprint(i+1), i+1, 1, 1))
	}
	d.register(assessment("1", 1, 1, 2), assessment("31", 3, 1, 1)) // the first case waits last now
	stored := review.StudySize{Study: study, Key: events.StudyKey(study), Cases: 9, Waiting: 9, WaitingItems: 10}
	if diff := cmp.Diff(stored, must(d.Reviews().StudySize(t.Context(), study))(t)); diff != "" {
		t.Error(diff)
	}
	if none := must(d.Reviews().StudySize(t.Context(), "NONE"))(t); none.Cases+none.Waiting+none.Signed != 0 {
		t.Errorf("%+v", none)
	}
	var got []string
	page := func(after int64) (last int64) {
		t.Helper()
		cases := must(d.Reviews().Queue(t.Context(), review.QueueFilter{Studies: []string{study}, After: after, Limit: 3}))(t)
		for _, c := range cases {
			got = append(got, fmt.Sprintf("%d since %s", c.Number, c.Oldest.Format("15:04")))
			last = c.Position
			if len(c.Visits) == 0 || c.Stamp == "" {
				t.Errorf("%+v", c)
			}
		}
		return last
	}
	after := page(0)
	d.sign("2", "5") // one of the page before, one of the next
	d.register(assessment("99", 99, 1, 1))
	after = page(after)
	after = page(after)
	if last := page(after); last != 0 {
		t.Errorf("a page after the last one, up to %d", last)
	}
	want := []string{
		"2 since 12:02", "3 since 12:03", "4 since 12:04", "6 since 12:06", "7 since 12:07", "8 since 12:08", "9 since 12:09", "1 since 12:09", "99 since 12:09",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if none := must(d.Reviews().Queue(t.Context(), review.QueueFilter{}))(t); len(none) != 0 {
		t.Errorf("cases of no study: %v", none)
	}
	d.register(assessment("32", 3, 1, 1), assessment("100", 100, 1, 1)) // behind what was read
	size := must(d.Reviews().QueueSize(t.Context(), review.QueueFilter{Studies: []string{study, "NONE"}, After: after}))(t)
	oldest := size.Oldest.Format("15:04")
	size.Oldest = time.Time{}
	if diff := cmp.Diff(review.QueueSize{Studies: 1, Cases: 9, Assessments: 11, Seen: 8, Newest: 15}, size); diff != "" || oldest != "12:03" {
		t.Errorf("the oldest at %s; %s", oldest, diff)
	}
	stamps := must(d.Reviews().Stamps(t.Context(), []string{study, "NONE"}))(t)
	for _, c := range stamps {
		if stamp := d.stamp(c.Number); c.Study != study || c.Stamp != stamp {
			t.Errorf("%+v; the case has %s", c, stamp)
		}
	}
	if len(stamps) != 9 {
		t.Errorf("%d stamps", len(stamps))
	}
	if none := must(d.Reviews().QueueSize(t.Context(), review.QueueFilter{}))(t); none != (review.QueueSize{}) {
		t.Errorf("of no study: %+v", none)
	}
	found := must(d.Reviews().Find(t.Context(), []string{study, "OTHER"}, "subject-1"))(t)
	if diff := cmp.Diff([]review.CaseOf{{Study: study, Number: 1}, {Study: "OTHER", Number: 1}}, found); diff != "" {
		t.Error(diff)
	}
	if found := must(d.Reviews().Find(t.Context(), []string{study}, "subject"))(t); len(found) != 0 {
		t.Errorf("%v", found)
	}
}

// The reader is granted one of two studies.
func TestAPIReadsTheTrailOfTheirStudiesAndOfThemselves(t *testing.T) {
	d := newOutbox(t, "dr.a")
	accs := d.Accounts()
	elsewhere := assessment("other", 1, 1, 1)
	elsewhere.Study = "OTHER"
	ok(t, accountstest.AddPI(t.Context(), accs, "op", "dr.mine", "Dr. Mine", []string{"MINE"}, password))
	ok(t, accountstest.AddPI(t.Context(), accs, "op", "dr.both", "Dr. Both", []string{"OTHER", "MINE"}, password))
	ok(t, accountstest.AddPI(t.Context(), accs, "op", "dr.other", "Dr. Other", []string{"OTHER"}, password))
	mine := assessment("m", 1, 1, 1)
	mine.Study = "MINE"
	d.register(mine, elsewhere)
	must(d.signAs("dr.mine", "m"))(t)
	must(accs.AddSource(t.Context(), "op", "tumor-db", []string{"MINE"}))(t)
	must(accs.AddPartner(t.Context(), "op", "acme", "Acme", []string{"OTHER"}))(t)
	for _, user := range []string{"dr.mine", "dr.both"} {
		ok(t, accs.SessionBegan(t.Context(), user, "", "192.0.2.1"))
	}
	ok(t, accs.GrantPI(t.Context(), "op", "dr.other", "MINE"))
	var got []string
	read := func(f outbox.AuditFilter) {
		got = nil
		f.Reader = &outbox.Reader{User: "dr.mine", Studies: []string{"MINE"}}
		ok(t, d.Audit(t.Context(), f, func(e outbox.AuditEntry) error {
			got = append(got, e.Action+" "+e.Subject)
			return nil
		}))
	}
	read(outbox.AuditFilter{})
	want := []string{
		"pi.added dr.mine", "pi.password-set dr.mine", "pi.added dr.both", "assessment.registered m", "assessment.signed m",
		"source.added tumor-db", "session.began dr.mine", "pi.granted dr.other",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	read(outbox.AuditFilter{Study: "OTHER"})
	if got != nil {
		t.Errorf("of a study that is not granted: %v", got)
	}
	read(outbox.AuditFilter{Newest: 2})
	if diff := cmp.Diff([]string{"pi.granted dr.other", "session.began dr.mine"}, got); diff != "" {
		t.Error(diff)
	}
	for size := 1; size <= len(want)+1; size++ {
		var pages []string
		f := outbox.AuditFilter{Newest: size, Reader: &outbox.Reader{User: "dr.mine", Studies: []string{"MINE"}}}
		for ended := false; !ended; {
			n := 0
			ok(t, d.Audit(t.Context(), f, func(e outbox.AuditEntry) error {
				pages = append([]string{e.Action + " " + e.Subject}, pages...)
				f.Before = e.Number
				n++
				return nil
			}))
			ended = n < size
		}
		if diff := cmp.Diff(want, pages); diff != "" {
			t.Errorf("in pages of %d: %s", size, diff)
		}
	}
}

func TestWhatAPIHasSigned(t *testing.T) {
	d := newOutbox(t, "dr.a", "dr.b")
	d.register(assessment("late", 9, 1, 1)) // signed last
	for i := range int32(5) {
		d.register(assessment(fmt.Sprint(i+1), i+1, 1, 1))
		must(d.signAs([]string{"dr.a", "dr.b"}[i%2], fmt.Sprint(i+1)))(t)
	}
	d.register(assessment("3", 3, 1, 2))
	must(d.signAs("dr.b", "3"))(t)
	must(d.signAs("dr.a", "late"))(t)
	must(d.withdrawAs("dr.a", "1", "wrong scan"))(t)
	ids := func(f review.SignedFilter) (ids []string, last int64) {
		t.Helper()
		for _, v := range must(d.Reviews().Signed(t.Context(), f))(t) {
			id := v.Assessment.ID
			if !v.Last {
				id += " replaced"
			}
			ids, last = append(ids, id), v.Position
		}
		return ids, last
	}
	first, last := ids(review.SignedFilter{User: "dr.a", Limit: 2})
	second, _ := ids(review.SignedFilter{User: "dr.a", Study: study, Limit: 2, Before: last})
	if diff := cmp.Diff([]string{"late", "5", "3 replaced", "1"}, append(first, second...)); diff != "" {
		t.Error(diff)
	}
	if none, _ := ids(review.SignedFilter{User: "dr.a", Study: "OTHER"}); none != nil {
		t.Errorf("%v", none)
	}
}

func TestReturnToTheSource(t *testing.T) {
	d := newOutbox(t, "dr.a", "dr.b")
	a := assessment("1", 1, 1, 1)
	d.register(a)
	seen, _, err := d.Reviews().Assessment(t.Context(), "1")
	ok(t, err)
	give := outbox.Return{User: "dr.a", ID: "1", Reason: "lesion T02 is missing", Tag: seen.Tag("1")}
	for _, wrong := range []struct {
		change func(*outbox.Return)
		code   events.Code
	}{
		{func(r *outbox.Return) { r.Reason = "" }, events.Invalid},
		{func(r *outbox.Return) { r.User = "dr.x" }, events.Forbidden},
		{func(r *outbox.Return) { r.ID = "2" }, events.NotFound},
		{func(r *outbox.Return) { r.Tag = "another" }, events.Stale},
	} {
		r := give
		wrong.change(&r)
		_, err := d.Return(t.Context(), r)
		wantCode(t, err, wrong.code)
	}
	first := must(d.Return(t.Context(), give))(t)
	d.clock.advance(time.Minute)
	if again := must(d.Return(t.Context(), give))(t); again != first {
		t.Errorf("%+v", again)
	}
	other := give
	other.User = "dr.b"
	_, err = d.Return(t.Context(), other)
	wantCode(t, err, events.Conflict, "was returned to its source by dr.a", "lesion T02 is missing")
	_, err = d.signAs("dr.a", "1")
	wantCode(t, err, events.Conflict, "was returned to its source by dr.a", "registered again")
	if waiting := must(d.Reviews().Waiting(t.Context(), review.WaitingFilter{}))(t); len(waiting) != 0 {
		t.Errorf("%+v", waiting)
	}
	wantEvents(t, d)

	d.register(a) // the same content waits again
	versions := must(d.Reviews().Versions(t.Context(), "1"))(t)
	if len(versions) != 2 || versions[0].State != review.VersionReturned || *versions[0].Return != first || versions[1].State != review.VersionWaiting {
		t.Errorf("%+v", versions)
	}
	d.sign("1")
	_, err = d.Return(t.Context(), give)
	wantCode(t, err, events.Conflict, "no version of assessment 1 waits", "was signed by dr.a")
	wantEvents(t, d, "signed 1/1")
	var actions []string
	ok(t, d.Audit(t.Context(), outbox.AuditFilter{Assessment: "1", Newest: 3}, func(e outbox.AuditEntry) error {
		actions = append(actions, e.Action)
		return nil
	}))
	if diff := cmp.Diff([]string{"assessment.signed", "assessment.registered", "assessment.sign-refused"}, actions); diff != "" {
		t.Error(diff)
	}
	newest, before := 0, int64(0)
	ok(t, d.Audit(t.Context(), outbox.AuditFilter{Action: "assessment.returned", Newest: 5}, func(e outbox.AuditEntry) error {
		newest, before = newest+1, e.Number
		return nil
	}))
	ok(t, d.Audit(t.Context(), outbox.AuditFilter{Action: "assessment.returned", Newest: 5, Before: before}, func(outbox.AuditEntry) error {
		newest++
		return nil
	}))
	if newest != 1 {
		t.Errorf("%d lines", newest)
	}
	chosen := make(map[string]bool)
	ok(t, d.Audit(t.Context(), outbox.AuditFilter{Actions: []string{"assessment.signed", "assessment.returned"}}, func(e outbox.AuditEntry) error {
		chosen[e.Action] = true
		return nil
	}))
	if diff := cmp.Diff(map[string]bool{"assessment.signed": true, "assessment.returned": true}, chosen); diff != "" {
		t.Error(diff)
	}
}

func TestWatchersLoseNoWakeToThePublisher(t *testing.T) {
	d := newOutbox(t)
	run(t, d.Outbox)
	taken := make(chan struct{}, 1)
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() { // the publisher takes every value of its own channel
		defer close(ended)
		for {
			select {
			case <-d.Source().Changed():
				select {
				case taken <- struct{}{}:
				default:
				}
			case <-quit:
				return
			}
		}
	}()
	defer func() { close(quit); <-ended }()
	one, stopOne := d.Watch()
	two, stopTwo := d.Watch()
	defer stopTwo()
	wakes := func(what string, c <-chan struct{}) {
		t.Helper()
		select {
		case <-c:
		case <-time.After(time.Minute):
			t.Fatalf("%s was not woken", what)
		}
	}
	for i := range int32(20) {
		d.register(assessment(fmt.Sprint(i+1), i+1, 1, 1))
		wakes("the first watcher", one)
		wakes("the second watcher", two)
		wakes("the publisher", taken)
	}
	stopOne()
}

func TestRecentEvents(t *testing.T) {
	d := newOutbox(t)
	d.register(assessment("1", 1, 1, 1), assessment("2", 2, 1, 1))
	d.sign("1")
	d.sign("2")
	recent := must(d.Recent(t.Context(), 2))(t)
	var got []string
	for _, e := range recent {
		got = append(got, fmt.Sprintf("%s %d %s %d", e.Study, e.Number, e.Kind, e.StreamSequence))
	}
	if diff := cmp.Diff([]string{study + " 2 diagnosticreport.signed.v1 0", study + " 1 diagnosticreport.signed.v1 0"}, got); diff != "" {
		t.Error(diff)
	}
	if none := must(d.Recent(t.Context(), -1))(t); len(none) != 0 {
		t.Errorf("%v", none)
	}
}
