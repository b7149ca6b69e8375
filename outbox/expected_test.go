package outbox_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

func version(caseRevision, revision int32) outbox.Expected {
	return outbox.Expected{Version: events.Version{CaseRevision: caseRevision, Revision: revision}}
}

// signExpected signs the version of one assessment.
func (d *testOutbox) signExpected(user, id string, e outbox.Expected) ([]outbox.Signed, error) {
	return d.SignOff(d.t.Context(), outbox.SignOff{
		User: user, Meaning: meaning, IDs: []string{id}, Expected: map[string]outbox.Expected{id: e},
	})
}

func TestASignOffOfAnExpectedVersion(t *testing.T) {
	t.Run("signs it when it waits, and returns the first answer again whatever waits then", func(t *testing.T) {
		d := newOutbox(t, "dr.a", "dr.b")
		d.register(assessment("1", 1, 5, 2))
		first := must(d.signExpected("dr.a", "1", version(5, 2)))(t)
		d.register(assessment("1", 1, 5, 3))
		d.clock.advance(time.Hour)
		if diff := cmp.Diff(first, must(d.signExpected("dr.a", "1", version(5, 2)))(t)); diff != "" {
			t.Error(diff)
		}
		wantEvents(t, d, "signed 1/1")
		_, err := d.signExpected("dr.b", "1", version(5, 2))
		wantCode(t, err, events.Conflict, "case revision 5, revision 2 by dr.a at 2026-01-31T12:00:00.000000Z")
		wantEvents(t, d, "signed 1/1")
		must(d.signExpected("dr.b", "1", version(5, 3)))(t)
		wantEvents(t, d, "signed 1/1", "amended 1/2")
	})
	t.Run("refuses what neither waits nor was signed last, and names both", func(t *testing.T) {
		d := newOutbox(t)
		d.register(assessment("1", 1, 1, 2))
		_, err := d.signExpected("dr.a", "1", version(1, 1))
		wantCode(t, err, events.Conflict, "case revision 1, revision 1", "case revision 1, revision 2 does", "nothing was signed")
		d.sign("1")
		_, err = d.signExpected("dr.a", "1", version(1, 3))
		wantCode(t, err, events.Conflict, "nothing does", "case revision 1, revision 2 was signed by dr.a at 2026-01-31T12:00:00.000000Z")
		d.register(assessment("1", 1, 2, 2))
		_, err = d.signExpected("dr.a", "1", version(1, 1))
		wantCode(t, err, events.Conflict, "case revision 2, revision 2 does", "case revision 1, revision 2 was signed by dr.a")
		wantEvents(t, d, "signed 1/1")
	})
	t.Run("refuses other content under the same version", func(t *testing.T) {
		d := newOutbox(t)
		d.register(assessment("1", 1, 1, 1))
		seen := must(d.Reviews().Waiting(t.Context(), review.WaitingFilter{}))(t)[0]
		unseen := assessment("1", 1, 1, 1)
		unseen.Conclusion = "Progressive Disease"
		d.register(unseen)
		exactly := version(1, 1)
		exactly.Registration = seen.Registration
		_, err := d.signExpected("dr.a", "1", exactly)
		wantCode(t, err, events.Conflict, "registered again, with other content")
		d.register(assessment("1", 1, 1, 1))
		exactly.Registration = must(d.Reviews().Waiting(t.Context(), review.WaitingFilter{}))(t)[0].Registration
		first := must(d.signExpected("dr.a", "1", exactly))(t)
		if diff := cmp.Diff(first, must(d.signExpected("dr.a", "1", exactly))(t)); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("refuses the whole case where one differs, and names that of others as it likes", func(t *testing.T) {
		d := newOutbox(t)
		d.register(assessment("1", 1, 1, 1), assessment("2", 1, 1, 1))
		request := outbox.SignOff{User: "dr.a", Meaning: meaning, IDs: []string{"1", "2"}, Expected: map[string]outbox.Expected{"2": version(1, 2)}}
		_, err := d.SignOff(t.Context(), request)
		wantCode(t, err, events.Conflict, "assessment 2")
		wantEvents(t, d)
		request.Expected["2"] = version(1, 1)
		must(d.SignOff(t.Context(), request))(t)
		wantEvents(t, d, "signed 1/1", "signed 2/2")
	})
	t.Run("refuses malformed expectations", func(t *testing.T) {
		d := newOutbox(t)
		d.register(assessment("1", 1, 1, 1))
		for _, expected := range []map[string]outbox.Expected{{"2": version(1, 1)}, {"1": {}}, {"1": version(1, -1)}} {
			_, err := d.SignOff(t.Context(), outbox.SignOff{User: "dr.a", Meaning: meaning, IDs: []string{"1"}, Expected: expected})
			wantCode(t, err, events.Invalid)
		}
	})
	t.Run("says that the report was withdrawn since", func(t *testing.T) {
		d := newOutbox(t)
		d.register(assessment("1", 1, 1, 1))
		want := d.sign("1")
		must(d.withdrawAs("dr.a", "1", "reason"))(t)
		want[0].Withdrawn = true
		if diff := cmp.Diff(want, d.sign("1")); diff != "" {
			t.Error(diff)
		}
		d.register(assessment("1", 1, 1, 2))
		if diff := cmp.Diff(want, must(d.signExpected("dr.a", "1", version(1, 1)))(t)); diff != "" {
			t.Error(diff)
		}
		if d.sign("1")[0].Withdrawn {
			t.Error("what was just signed is called withdrawn")
		}
		wantEvents(t, d, "signed 1/1", "withdrawn 1/2", "amended 1/3")
	})
}
