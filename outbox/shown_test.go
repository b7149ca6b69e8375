package outbox_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// signShown returns a function that decides to sign the waiting version of an assessment
// with a remark, and what it was called with.
func signShown(id, stamp string) (decide func(review.Case) (outbox.SignOff, error), seen *review.Case) {
	seen = &review.Case{}
	return func(c review.Case) (outbox.SignOff, error) {
		*seen = c
		return outbox.SignOff{
			User: "dr.a", Meaning: meaning, IDs: []string{id}, Stamp: stamp,
			Remarks: map[string]outbox.Remark{id: {Reason: "a new lesion was seen", Findings: []string{"overall-differs: PD"}}},
		}, nil
	}, seen
}

func TestSignOffShown(t *testing.T) {
	t.Run("decides on the case as its transaction sees it", func(t *testing.T) {
		d := newOutbox(t)
		d.register(assessment("1", 7, 1, 1), assessment("2", 7, 1, 1))
		d.sign("1")
		shown := must(d.Reviews().Case(t.Context(), study, 7))(t)
		for _, of := range []outbox.OfCase{{Assessment: "2"}, {CaseOf: review.CaseOf{Study: study, Number: 7}}} {
			decide, seen := signShown("2", shown.Stamp)
			_, err := d.SignOffShown(t.Context(), of, func(c review.Case) (outbox.SignOff, error) {
				s, _ := decide(c)
				return s, events.Errorf(events.Required, "not yet")
			})
			wantCode(t, err, events.Required, "not yet")
			if seen.Stamp != shown.Stamp || seen.Subject != shown.Subject || len(seen.Visits) != 2 ||
				seen.Visits[0].Signed == nil || seen.Visits[0].Signed.State != review.VersionSigned || seen.Visits[1].Waiting == nil {
				t.Fatalf("the case is %+v, want %+v", *seen, shown)
			}
			waiting, want := *seen.Visits[1].Waiting, *shown.Visits[1].Waiting
			if waiting.Digest != want.Digest || waiting.State != want.State || waiting.Registration != want.Registration {
				t.Errorf("the waiting version is %+v, want %+v", waiting, want)
			}
			if diff := cmp.Diff(want.Assessment, waiting.Assessment); diff != "" {
				t.Error(diff)
			}
		}
		wantEvents(t, d, "signed 1/1")
		if got := d.lastDetail("assessment.sign-refused"); !strings.Contains(got, "not yet") || !strings.Contains(got, meaning) {
			t.Errorf("the refusal is audited as %s", got)
		}
	})
	t.Run("returns the receipt that is stored, and no second one for the same request", func(t *testing.T) {
		d := newOutbox(t)
		d.register(assessment("1", 7, 1, 1))
		decide, _ := signShown("1", d.stamp(7))
		first := must(d.SignOffShown(t.Context(), outbox.OfCase{Assessment: "1"}, decide))(t)
		stored := must(d.Reviews().Receipt(t.Context(), "1", first[0].Event))(t)
		if diff := cmp.Diff(stored, first[0].Receipt); diff != "" {
			t.Error(diff)
		}
		again := must(d.SignOffShown(t.Context(), outbox.OfCase{Assessment: "1"}, decide))(t)
		if diff := cmp.Diff([]outbox.Receipt{{Signed: first[0].Signed}}, again); diff != "" {
			t.Error(diff)
		}
		wantEvents(t, d, "signed 1/1")
	})
	t.Run("signs nothing if any visit of the case has changed", func(t *testing.T) {
		d := newOutbox(t)
		d.register(assessment("1", 7, 1, 1), assessment("2", 7, 1, 1))
		stamp := d.stamp(7)
		d.sign("2")
		decide, _ := signShown("1", stamp)
		_, err := d.SignOffShown(t.Context(), outbox.OfCase{Assessment: "1"}, decide)
		wantCode(t, err, events.Stale, "has changed since it was read")
		wantEvents(t, d, "signed 2/1")
	})
	t.Run("signs contents that are too long to be remembered", func(t *testing.T) {
		d := newOutbox(t)
		long := assessment("1", 7, 1, 1)
		for i := range 300 {
			long = withLesions(long, fmt.Sprintf("T%03d", i))
		}
		d.register(long)
		for _, id := range []string{"1", "1"} { // and answers again
			calls := 0
			decide, seen := signShown(id, d.stamp(7))
			receipts := must(d.SignOffShown(t.Context(), outbox.OfCase{Assessment: id}, func(c review.Case) (outbox.SignOff, error) {
				calls++
				return decide(c)
			}))(t)
			if calls != 1 || len(seen.Visits) != 1 || receipts[0].ID != id {
				t.Errorf("decided %d times on %d visits: %+v", calls, len(seen.Visits), receipts)
			}
		}
		wantEvents(t, d, "observations 1/2", "signed 1/2")
	})
	t.Run("refuses an assessment of another case", func(t *testing.T) {
		d := newOutbox(t)
		d.register(assessment("1", 7, 1, 1), assessment("2", 8, 1, 1))
		decide, _ := signShown("2", d.stamp(7))
		_, err := d.SignOffShown(t.Context(), outbox.OfCase{Assessment: "1"}, decide)
		wantCode(t, err, events.Conflict, "assessment 2 is not one of case 7")
		wantEvents(t, d)
	})
	t.Run("does not decide and audits nothing without a case", func(t *testing.T) {
		d := newOutbox(t)
		before := d.dump()
		for _, of := range []outbox.OfCase{{Assessment: "1"}, {CaseOf: review.CaseOf{Study: study, Number: 7}}} {
			_, err := d.SignOffShown(t.Context(), of, func(review.Case) (outbox.SignOff, error) {
				return outbox.SignOff{}, errors.New("decided")
			})
			wantCode(t, err, events.NotFound)
		}
		if diff := cmp.Diff(before, d.dump()); diff != "" {
			t.Error(diff)
		}
	})
}
