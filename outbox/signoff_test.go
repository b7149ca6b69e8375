package outbox_test

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir"
	"github.com/seed-e88a4ece/signoff/outbox"
)

func wantEvents(t *testing.T, d *testOutbox, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, d.published()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	follow(t, all(t, d.Outbox))
}

func wantCode(t *testing.T, err error, code events.Code, texts ...string) {
	t.Helper()
	if !errors.Is(err, code) {
		t.Fatalf("%v is not %s", err, code)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q does not say %q", err, text)
		}
	}
}

func TestSignOff(t *testing.T) {
	t.Run("publishes the report that is signed", func(t *testing.T) {
		d := newOutbox(t)
		d.register(assessment("790", 163, 5, 1))
		got := d.sign("790")
		wantEvents(t, d, "signed 790/1")
		e := all(t, d.Outbox)[0]
		want := fhir.Report{
			Assessment: assessment("790", 163, 5, 1), Version: 1, LastUpdated: d.clock.now(),
			Signature: events.Signature{User: "dr.a", Name: "Printed dr.a", Meaning: meaning, Time: d.clock.now()},
		}
		if diff := cmp.Diff(string(must(want.Encode())(t)), string(e.Data)); diff != "" {
			t.Error(diff)
		}
		answer := outbox.Signed{
			ID: "790", Study: study, Case: 163, Version: events.Version{CaseRevision: 5, Revision: 1},
			Kind: events.ReportSigned, Event: e.ID, Sequence: 1, Time: e.Time, Signature: want.Signature, Digest: stored(t, want.Assessment),
		}
		if diff := cmp.Diff([]outbox.Signed{answer}, got); diff != "" {
			t.Error(diff)
		}
		if e.PartitionKey != "FHIR-T/163" || e.Source != "/signoff/ResearchStudy/FHIR-T" || e.DataContentType != events.MediaFHIR {
			t.Errorf("event is %+v", e)
		}
	})
	t.Run("puts a report's observations immediately before it", func(t *testing.T) {
		d := newOutbox(t)
		d.register(withLesions(assessment("2", 1, 1, 1), "T01", "T02"), assessment("1", 1, 1, 1))
		d.sign("2", "1")
		wantEvents(t, d, "signed 1/1", "observations 2/3", "signed 2/3")
		observations := all(t, d.Outbox)[1]
		if !bytes.Contains(observations.Data, []byte(`"versionId":"2"`)) || !bytes.Contains(observations.Data, []byte("1-2-T02")) {
			t.Errorf("%s", observations.Data)
		}
	})
	t.Run("orders by timepoint, then id", func(t *testing.T) {
		d := newOutbox(t)
		base := assessment("9", 1, 1, 1)
		base.Name, base.Timepoint = events.Baseline, 0
		d.register(assessment("10", 1, 1, 1), assessment("2", 1, 1, 1), assessment("a", 1, 1, 1), base)
		d.sign("a", "10", "2", "9", "2")
		wantEvents(t, d, "signed 9/1", "signed 2/2", "signed 10/3", "signed a/4")
	})
	t.Run("signs many case by case, by case number", func(t *testing.T) {
		d := newOutbox(t)
		d.register(assessment("c10", 10, 1, 1), assessment("c2", 2, 1, 1), assessment("c2b", 2, 1, 1))
		d.sign("c10", "c2b", "c2")
		wantEvents(t, d, "signed c2/1", "signed c2b/2", "signed c10/3")
	})
	t.Run("amends every later time", func(t *testing.T) {
		d := newOutbox(t)
		for revision := range int32(3) {
			d.register(assessment("1", 1, 1, revision+1))
			d.sign("1")
		}
		wantEvents(t, d, "signed 1/1", "amended 1/2", "amended 1/3")
	})
	t.Run("supersedes, with the same bytes, what a higher case revision leaves behind", func(t *testing.T) {
		d := newOutbox(t)
		d.register(assessment("10", 1, 1, 1), withLesions(assessment("9", 1, 1, 1), "T"), assessment("8", 1, 1, 1))
		d.sign("10", "9", "8")
		d.register(assessment("8", 1, 2, 1))
		d.sign("8")
		wantEvents(t, d, "signed 8/1", "observations 9/3", "signed 9/3", "signed 10/4", "superseded 9/3", "superseded 10/4", "amended 8/7")
		events := all(t, d.Outbox)
		if !bytes.Equal(events[4].Data, events[2].Data) || !bytes.Equal(events[5].Data, events[3].Data) {
			t.Error("superseded events carry other bytes")
		}
		d.register(assessment("9", 1, 2, 1))
		d.sign("9")
		if got := d.published()[7]; got != "amended 9/8" {
			t.Error(got)
		}
	})
	t.Run("returns the first answer again", func(t *testing.T) {
		d := newOutbox(t)
		d.register(assessment("1", 1, 1, 1), assessment("2", 1, 1, 1))
		first := d.sign("1")
		d.clock.advance(time.Hour)
		if diff := cmp.Diff(first, d.sign("1")); diff != "" {
			t.Error(diff)
		}
		if got := d.submit(assessment("1", 1, 1, 1)); got[0].Outcome != outbox.Unchanged {
			t.Errorf("%+v", got)
		}
		if diff := cmp.Diff(first[0], d.sign("1", "2")[0]); diff != "" {
			t.Error(diff)
		}
		wantEvents(t, d, "signed 1/1", "signed 2/2")
	})
	t.Run("does not sign again for another PI or with another meaning", func(t *testing.T) {
		d := newOutbox(t, "dr.a", "dr.b")
		d.register(assessment("1", 1, 3, 2))
		d.sign("1")
		_, err := d.signAs("dr.b", "1")
		wantCode(t, err, events.Conflict, "case revision 3, revision 2", "dr.a", "2026-01-31T12:00:00.000000Z")
		_, err = d.SignOff(t.Context(), outbox.SignOff{User: "dr.a", Meaning: "another", IDs: []string{"1"}})
		wantCode(t, err, events.Conflict)
		wantEvents(t, d, "signed 1/1")
	})
	t.Run("refuses a waiting pair that is not higher in both parts", func(t *testing.T) {
		for _, pair := range lowerPairs {
			d := newOutbox(t)
			d.register(assessment("1", 1, 2, 5))
			d.sign("1")
			d.letWait(assessment("1", 1, pair[0], pair[1]))
			_, err := d.signAs("dr.a", "1")
			wantCode(t, err, events.Conflict, "case revision 2, revision 5", "dr.a", "2026-01-31T12:00:00.000000Z")
			wantEvents(t, d, "signed 1/1")
		}
	})
	t.Run("refuses a case revision below the highest signed in the case", func(t *testing.T) {
		d := newOutbox(t)
		d.register(assessment("1", 1, 2, 1), assessment("2", 1, 1, 1), assessment("3", 2, 1, 1))
		d.sign("1")
		_, err := d.signAs("dr.a", "2")
		wantCode(t, err, events.Conflict, "assessment 1 was signed as case revision 2, revision 1 by dr.a at 2026-01-31T12:00:00.000000Z")
		d.sign("3")
	})
	t.Run("refuses different case revisions in one transaction, whole", func(t *testing.T) {
		d := newOutbox(t)
		d.register(assessment("1", 1, 2, 1), assessment("2", 1, 1, 1))
		_, err := d.signAs("dr.a", "1", "2")
		wantCode(t, err, events.Conflict)
		if got := d.published(); len(got) != 0 {
			t.Error(got)
		}
	})
	t.Run("keeps the cases signed before one that is refused", func(t *testing.T) {
		d := newOutbox(t, "dr.a", "dr.b")
		d.register(assessment("1", 1, 1, 1), assessment("2", 2, 1, 1), assessment("3", 3, 1, 1))
		must(d.signAs("dr.b", "2"))(t)
		signed, err := d.signAs("dr.a", "3", "2", "1")
		wantCode(t, err, events.Conflict)
		if len(signed) != 1 || signed[0].ID != "1" {
			t.Errorf("%+v", signed)
		}
		wantEvents(t, d, "signed 2/1", "signed 1/2")
	})
	t.Run("refuses who may not sign", func(t *testing.T) {
		d := newOutbox(t, "dr.a", "dr.b", "dr.c")
		d.register(assessment("1", 1, 1, 1))
		ok(t, d.Accounts().RevokePI(t.Context(), operator, "dr.b", study))
		ok(t, d.Accounts().DisablePI(t.Context(), operator, "dr.c"))
		for _, user := range []string{"dr.b", "dr.c", "nobody"} {
			_, err := d.signAs(user, "1")
			wantCode(t, err, events.Forbidden, user, study)
		}
		ok(t, d.Accounts().GrantPI(t.Context(), operator, "dr.b", study))
		must(d.signAs("dr.b", "1"))(t)
	})
	t.Run("refuses malformed requests", func(t *testing.T) {
		d := newOutbox(t)
		d.register(assessment("1", 1, 1, 1))
		for _, c := range []struct {
			request outbox.SignOff
			code    events.Code
		}{
			{outbox.SignOff{User: "dr.a", Meaning: meaning}, events.Required},
			{outbox.SignOff{User: "dr.a", IDs: []string{"1"}}, events.Invalid},
			{outbox.SignOff{User: "dr.a", Meaning: "a\x00b", IDs: []string{"1"}}, events.Invalid},
			{outbox.SignOff{User: "dr.a", Meaning: meaning, IDs: []string{"2"}}, events.NotFound},
			{outbox.SignOff{User: "dr.a", Meaning: meaning, IDs: []string{"1", "2"}}, events.NotFound},
			{outbox.SignOff{User: "dr.a", Meaning: meaning, IDs: []string{"a/b"}}, events.Invalid},
			{outbox.SignOff{User: "dr.a", Meaning: meaning, IDs: make([]string, 10_001)}, events.TooLarge},
		} {
			_, err := d.SignOff(t.Context(), c.request)
			wantCode(t, err, c.code)
		}
		if got := d.published(); len(got) != 0 {
			t.Error(got)
		}
	})
	t.Run("carries a trace context, and drops a malformed one", func(t *testing.T) {
		d := newOutbox(t)
		d.register(assessment("1", 1, 1, 1), assessment("2", 1, 1, 1))
		good := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		for id, trace := range map[string]string{"1": good, "2": "x\r\ny"} {
			_, err := d.SignOff(t.Context(), outbox.SignOff{User: "dr.a", Meaning: meaning, IDs: []string{id}, TraceParent: trace})
			ok(t, err)
		}
		for _, e := range all(t, d.Outbox) {
			id, _, _ := e.ReportID()
			if want := map[string]string{"1": good}[id]; e.TraceParent != want {
				t.Errorf("event of %s carries %q", id, e.TraceParent)
			}
		}
	})
	t.Run("orders times where the clock stands or goes back", func(t *testing.T) {
		d := newOutbox(t)
		for i := range int32(5) {
			d.register(assessment("1", 1, 1, i+1))
			d.sign("1")
			d.clock.advance(time.Duration(i-2) * time.Second)
		}
		follow(t, all(t, d.Outbox))
	})
	t.Run("numbers each study alone", func(t *testing.T) {
		d := newOutbox(t)
		other := assessment("2", 1, 1, 1)
		other.Study, other.Subject = "Étude 7", "elsewhere"
		ok(t, d.Accounts().GrantPI(t.Context(), operator, "dr.a", "E\u0301tude 7")) // another form of the same text
		d.register(assessment("1", 1, 1, 1), other)
		d.sign("1", "2")
		for _, e := range all(t, d.Outbox) {
			if e.Number != 1 || e.Study != events.StudyKey(study) && e.Study != events.StudyKey("Étude 7") {
				t.Errorf("%+v", e)
			}
		}
	})
}

func TestManySignAtOnce(t *testing.T) {
	const signers, each = 64, 4
	d := newOutbox(t)
	var assessments []events.Assessment
	for s := range int32(signers) {
		for range each {
			id := string('a'+s%26) + strings.Repeat("x", len(assessments)/26%8) + events.FollowUp(len(assessments))[10:]
			assessments = append(assessments, withLesions(assessment(id, s+1, 1, 1), "T01"))
		}
	}
	d.register(assessments...)
	var wg sync.WaitGroup
	for s := range signers {
		wg.Go(func() {
			for i := range each {
				id := assessments[s*each+i].ID
				if _, err := d.signAs("dr.a", id); err != nil {
					t.Error(err)
				}
				if _, err := d.signAs("dr.a", id, "unknown"); !errors.Is(err, events.NotFound) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got := all(t, d.Outbox)
	if len(got) != 2*signers*each {
		t.Fatalf("%d events", len(got))
	}
	follow(t, got)
	for i := 0; i < len(got); i += 2 {
		if got[i].Kind() != events.ObservationsSigned || got[i].Subject != got[i+1].Subject {
			t.Errorf("%s stands before %s", short(got[i]), short(got[i+1]))
		}
	}
}

func TestWithdraw(t *testing.T) {
	t.Run("publishes the report once more, as entered in error", func(t *testing.T) {
		d := newOutbox(t, "dr.a", "dr.b")
		d.register(assessment("1", 1, 1, 1))
		d.sign("1")
		d.clock.advance(time.Minute)
		answer := must(d.withdrawAs("dr.b", "1", "wrong subject"))(t)
		wantEvents(t, d, "signed 1/1", "withdrawn 1/2")
		withdrawal := events.Signature{User: "dr.b", Name: "Printed dr.b", Meaning: withdrawing, Time: d.clock.now()}
		if answer.Kind != events.ReportWithdrawn || answer.Sequence != 2 || !cmp.Equal(answer.Withdrawal, &withdrawal) || answer.Signature.User != "dr.a" {
			t.Errorf("%+v", answer)
		}
		want := fhir.Report{
			Assessment: assessment("1", 1, 1, 1), Version: 2, LastUpdated: d.clock.now(),
			Withdrawal: &fhir.Withdrawal{Signature: withdrawal, Reason: "wrong subject"},
			Signature:  events.Signature{User: "dr.a", Name: "Printed dr.a", Meaning: meaning, Time: d.clock.now().Add(-time.Minute)},
		}
		if diff := cmp.Diff(string(must(want.Encode())(t)), string(all(t, d.Outbox)[1].Data)); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("returns the first answer again, and refuses another", func(t *testing.T) {
		d := newOutbox(t, "dr.a", "dr.b")
		d.register(assessment("1", 1, 1, 1))
		d.sign("1")
		first := must(d.withdrawAs("dr.a", "1", "reason"))(t)
		if diff := cmp.Diff(first, must(d.withdrawAs("dr.a", "1", "reason"))(t)); diff != "" {
			t.Error(diff)
		}
		_, err := d.withdrawAs("dr.b", "1", "reason")
		wantCode(t, err, events.Conflict, "dr.a", "2026-01-31T12:00:00.000001Z")
		_, err = d.withdrawAs("dr.a", "1", "another")
		wantCode(t, err, events.Conflict)
		_, err = d.Withdraw(t.Context(), outbox.Withdrawal{User: "dr.a", ID: "1", Meaning: "something else", Reason: "reason"})
		wantCode(t, err, events.Conflict)
		wantEvents(t, d, "signed 1/1", "withdrawn 1/2")
	})
	t.Run("brings no earlier version back, and lets a higher one be signed", func(t *testing.T) {
		d := newOutbox(t)
		d.register(assessment("1", 1, 1, 1))
		d.sign("1")
		d.register(assessment("1", 1, 1, 2))
		d.sign("1")
		must(d.withdrawAs("dr.a", "1", "reason"))(t)
		if s := must(d.Status(t.Context()))(t); s.Available != 0 {
			t.Errorf("%d reports are available", s.Available)
		}
		d.register(assessment("1", 1, 1, 3))
		d.sign("1")
		must(d.withdrawAs("dr.a", "1", "reason"))(t)
		wantEvents(t, d, "signed 1/1", "amended 1/2", "withdrawn 1/3", "amended 1/4", "withdrawn 1/5")
	})
	t.Run("leaves a withdrawn report out when its case moves on", func(t *testing.T) {
		d := newOutbox(t)
		d.register(assessment("1", 1, 1, 1), assessment("2", 1, 1, 1))
		d.sign("1", "2")
		must(d.withdrawAs("dr.a", "1", "reason"))(t)
		d.register(assessment("2", 1, 2, 1))
		d.sign("2")
		wantEvents(t, d, "signed 1/1", "signed 2/2", "withdrawn 1/3", "amended 2/4")
	})
	t.Run("refuses what was never signed, who may not, and no reason", func(t *testing.T) {
		d := newOutbox(t)
		d.register(assessment("1", 1, 1, 1))
		for _, c := range []struct {
			user, id, reason string
			code             events.Code
		}{
			{"dr.a", "1", "reason", events.Conflict},
			{"dr.a", "2", "reason", events.NotFound},
			{"dr.x", "1", "reason", events.Forbidden},
			{"dr.a", "1", "", events.Invalid},
		} {
			_, err := d.withdrawAs(c.user, c.id, c.reason)
			wantCode(t, err, c.code)
		}
		d.sign("1")
		_, err := d.Withdraw(t.Context(), outbox.Withdrawal{User: "dr.a", ID: "1", Reason: "no meaning"})
		wantCode(t, err, events.Invalid, "meaning")
	})
}
