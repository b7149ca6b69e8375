package outbox_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

func TestASourceDeliversWhatIsItsOwn(t *testing.T) {
	d := newOutbox(t)
	acc := d.Accounts()
	must(acc.AddSource(t.Context(), operator, "one", []string{study}))(t)
	must(acc.AddSource(t.Context(), operator, "two", []string{study, "OTHER"}))(t)
	deliver := func(source string, a events.Assessment, tag string) (outbox.Delivered, error) {
		return d.Deliver(t.Context(), outbox.Delivery{Source: source, Assessment: a, Tag: tag})
	}
	a, elsewhere := assessment("1", 1, 1, 1), assessment("2", 1, 1, 1)
	elsewhere.Study = "OTHER"

	first := must(deliver("one", a, ""))(t)
	c, v, err := d.Reviews().Assessment(t.Context(), "1")
	ok(t, err)
	want := outbox.Delivered{
		Registration: outbox.Registration{ID: "1", Version: a.Version(), Outcome: outbox.Taken}, Created: true, Digest: v.Waiting.Digest, Tag: c.Tag("1"),
	}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Error(diff)
	}
	if again := must(deliver("one", a, ""))(t); again.Outcome != outbox.Unchanged || again.Created || again.Digest != first.Digest || again.Tag != first.Tag {
		t.Errorf("%+v", again)
	}
	_, err = deliver("two", a, "")
	wantCode(t, err, events.Conflict, "belongs to another source")
	_, err = deliver("one", elsewhere, "")
	wantCode(t, err, events.NotFound, "OTHER")
	must(deliver("two", elsewhere, ""))(t)
	moved := elsewhere
	moved.Study, moved.Case.ID = study, 2
	_, err = deliver("one", moved, "") // out of a study that it does not know of
	wantCode(t, err, events.NotFound)
	_, err = deliver("nobody", a, "")
	wantCode(t, err, events.NotFound)
	bad := a
	bad.Subject = ""
	_, err = deliver("one", bad, "")
	wantCode(t, err, events.Invalid)
	d.register(assessment("3", 3, 1, 1)) // an import has no source
	must(deliver("two", assessment("3", 3, 1, 2), ""))(t)
	_, err = deliver("one", assessment("3", 3, 1, 3), "")
	wantCode(t, err, events.Conflict)

	c, v, err = d.Reviews().Assessment(t.Context(), "1")
	ok(t, err)
	if v.Waiting == nil || v.Waiting.By != "one" {
		t.Errorf("%+v", v)
	}
	seen := c.Tag("1")
	next := a
	next.Revision = 2
	must(deliver("one", next, seen))(t)
	_, err = deliver("one", next, seen)
	wantCode(t, err, events.Stale, "read it again")
	_, err = deliver("one", assessment("9", 1, 1, 1), seen)
	wantCode(t, err, events.Stale)

	ok(t, acc.RevokeSource(t.Context(), operator, "one", study))
	_, err = deliver("one", a, "")
	wantCode(t, err, events.NotFound)
	ok(t, acc.RemoveSource(t.Context(), operator, "two"))
	_, err = deliver("two", elsewhere, "")
	wantCode(t, err, events.NotFound)
}

func TestASourceThatPollsMissesNoChange(t *testing.T) {
	d := newOutbox(t)
	must(d.Accounts().AddSource(t.Context(), operator, "edc", []string{study}))(t)
	for i := range int32(5) {
		a := assessment(fmt.Sprint(i+1), i/2+1, 1, 1)
		must(d.Deliver(t.Context(), outbox.Delivery{Source: "edc", Assessment: a}))(t)
	}
	d.register(assessment("other", 9, 1, 1))
	after := int64(0)
	poll := func(f review.ChangeFilter, want ...string) {
		t.Helper()
		f.Studies, f.After = []string{study}, after
		var got []string
		for {
			page := must(d.Reviews().Changes(t.Context(), f))(t)
			for _, c := range page {
				got = append(got, c.ID+" "+c.Status)
				f.After = c.Position
			}
			if len(page) == 0 || f.Limit == 0 {
				break
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if f.Status == "" && f.Case == 0 {
			after = f.After
		}
	}
	poll(review.ChangeFilter{Source: "edc", Limit: 2}, "1 waiting", "2 waiting", "3 waiting", "4 waiting", "5 waiting")
	poll(review.ChangeFilter{Source: "edc"})
	d.sign("4")
	must(d.Return(t.Context(), outbox.Return{User: "dr.a", ID: "2", Reason: "lesion missed"}))(t)
	must(d.withdrawAs("dr.a", "4", "wrong scan"))(t)
	d.sign("1")
	poll(review.ChangeFilter{Source: "edc", Status: review.StatusReturned}, "2 returned")
	poll(review.ChangeFilter{Source: "edc", Case: 2}, "4 withdrawn")
	poll(review.ChangeFilter{Source: "edc"}, "2 returned", "4 withdrawn", "1 signed")
	d.register(assessment("2", 1, 2, 1))
	d.sign("2") // supersedes 1
	poll(review.ChangeFilter{}, "1 signed", "2 signed")
	after = 0
	poll(review.ChangeFilter{Limit: 4}, "3 waiting", "5 waiting", "other waiting", "4 withdrawn", "1 signed", "2 signed")
}
