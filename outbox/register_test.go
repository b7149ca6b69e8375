package outbox_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
)

func TestRegister(t *testing.T) {
	t.Run("keeps one waiting version, and the replaced ones in the audit trail", func(t *testing.T) {
		d := newOutbox(t)
		for revision := range int32(3) {
			d.register(assessment("1", 1, 1, revision+1))
		}
		waiting := must(d.Waiting(t.Context(), outbox.WaitingFilter{Study: study, Case: 1}))(t)
		if len(waiting) != 1 || waiting[0].By != source || !waiting[0].Registered.Equal(d.clock.now()) {
			t.Fatalf("%+v", waiting)
		}
		if diff := cmp.Diff(assessment("1", 1, 1, 3), waiting[0].Assessment); diff != "" {
			t.Error(diff)
		}
		var replaced []int32
		ok(t, d.Audit(t.Context(), outbox.AuditFilter{Subject: "1"}, func(e outbox.AuditEntry) error {
			if e.Action == "assessment.replaced" {
				var a events.Assessment
				ok(t, json.Unmarshal(e.Assessment, &a))
				replaced = append(replaced, a.Revision)
			}
			return nil
		}))
		if diff := cmp.Diff([]int32{1, 2}, replaced); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("knows what waits or is signed already", func(t *testing.T) {
		d := newOutbox(t)
		a := assessment("1", 1, 1, 1)
		d.register(a)
		if got := d.submit(a)[0].Outcome; got != outbox.Unchanged {
			t.Error(got)
		}
		d.sign("1")
		d.register(assessment("1", 1, 1, 2))
		if got := d.submit(a)[0].Outcome; got != outbox.Unchanged {
			t.Error(got)
		}
		if waiting := must(d.Waiting(t.Context(), outbox.WaitingFilter{}))(t); len(waiting) != 1 {
			t.Errorf("%+v", waiting)
		}
	})
	t.Run("refuses other content under a pair ever signed", func(t *testing.T) {
		d := newOutbox(t)
		for revision := range int32(2) {
			d.register(assessment("1", 1, 1, revision+1))
			d.sign("1")
		}
		for revision := range int32(2) {
			a := assessment("1", 1, 1, revision+1)
			a.Conclusion = "Stable Disease"
			got := d.submit(a)[0]
			wantCode(t, got.Err, events.Conflict, fmt.Sprintf("revision %d", revision+1), "dr.a", "2026-01-31T12:00:00")
		}
	})
	t.Run("refuses a pair that is not higher in both parts than the one signed", func(t *testing.T) {
		d := newOutbox(t)
		d.register(assessment("1", 1, 2, 5))
		d.sign("1")
		for _, pair := range lowerPairs {
			got := d.submit(assessment("1", 1, pair[0], pair[1]))[0]
			wantCode(t, got.Err, events.Conflict, "case revision 2, revision 5", "dr.a", "2026-01-31T12:00:00.000000Z")
		}
		must(d.withdrawAs("dr.a", "1", "reason"))(t)
		wantCode(t, d.submit(assessment("1", 1, 2, 4))[0].Err, events.Conflict, "case revision 2, revision 5")
		if waiting := must(d.Waiting(t.Context(), outbox.WaitingFilter{}))(t); len(waiting) != 0 {
			t.Errorf("%+v", waiting)
		}
	})
	t.Run("refuses a revision of a case that was signed in a higher one", func(t *testing.T) {
		d := newOutbox(t)
		d.register(assessment("1", 1, 2, 1), assessment("2", 1, 1, 1))
		d.sign("1")
		if got := d.submit(assessment("2", 1, 1, 1))[0]; got.Outcome != outbox.Unchanged {
			t.Errorf("what waits is registered again: %+v", got)
		}
		for _, id := range []string{"2", "3"} {
			got := d.submit(assessment(id, 1, 1, 2))[0]
			wantCode(t, got.Err, events.Conflict, "assessment 1 was signed as case revision 2, revision 1 by dr.a", "2026-01-31T12:00:00.000000Z")
		}
		d.register(assessment("2", 1, 2, 1))
		d.sign("2")
	})
	t.Run("refuses each alone, and stores nothing of it", func(t *testing.T) {
		d := newOutbox(t)
		d.register(assessment("1", 1, 1, 1))
		d.sign("1")
		subject, number, elsewhere, malformed := assessment("2", 1, 1, 1), assessment("1", 2, 1, 1), assessment("1", 1, 1, 2), assessment("3", 1, 0, 1)
		subject.Subject = "somebody else"
		elsewhere.Study = "OTHER"
		got := d.submit(subject, number, assessment("4", 1, 1, 1), elsewhere, malformed)
		for i, want := range []events.Code{events.Conflict, events.Conflict, "", events.Conflict, events.Invalid} {
			if want == "" {
				if got[i].Err != nil || got[i].Outcome != outbox.Taken {
					t.Errorf("%+v", got[i])
				}
				continue
			}
			wantCode(t, got[i].Err, want)
		}
		if got[0].Err.Field != "subject" || got[1].Err.Field != "id" || got[4].Err.Field != "case.revision" {
			t.Errorf("%+v", got)
		}
		s := must(d.Status(t.Context()))(t)
		if s.Assessments != 2 || s.Waiting != 1 || len(s.Studies) != 1 {
			t.Errorf("%+v", s)
		}
	})
	t.Run("takes more than one turn of the writer", func(t *testing.T) {
		d := newOutbox(t)
		var many []events.Assessment
		for i := range int32(600) {
			many = append(many, assessment(fmt.Sprint(i), i/10+1, 1, 1))
		}
		d.register(many...)
		if s := must(d.Status(t.Context()))(t); s.Waiting != 600 {
			t.Errorf("%+v", s)
		}
	})
	t.Run("wants to know who hands over", func(t *testing.T) {
		_, err := newOutbox(t).Register(t.Context(), "", nil)
		wantCode(t, err, events.Invalid)
	})
}

func TestVisits(t *testing.T) {
	d := newOutbox(t)
	visit := &events.Visit{Evaluator: "INVESTIGATOR", Number: "10", Date: "2014-01"}
	_, err := d.Register(t.Context(), source, []events.Submission{{Assessment: assessment("100", 1, 1, 1), Visit: visit}})
	ok(t, err)
	d.register(assessment("101", 1, 1, 1))
	d.sign("100")
	d.register(assessment("101", 1, 1, 2))
	d.sign("101")
	d.register(assessment("101", 1, 1, 3), assessment("102", 1, 2, 1))

	want := []events.KnownVisit{
		{Latest: assessment("100", 1, 1, 1), Signed: true, Visit: visit},
		{Latest: assessment("101", 1, 1, 3)},
		{Latest: assessment("102", 1, 2, 1)},
	}
	t.Run("gives the highest version of every assessment of the study", func(t *testing.T) {
		if diff := cmp.Diff(want, must(d.Visits(t.Context(), study))(t)); diff != "" {
			t.Error(diff)
		}
		if other := must(d.Visits(t.Context(), "OTHER"))(t); len(other) != 0 {
			t.Errorf("%+v", other)
		}
	})
	t.Run("passes over a waiting version below the signed one", func(t *testing.T) {
		d := newOutbox(t)
		d.register(assessment("1", 1, 2, 2))
		d.sign("1")
		d.letWait(assessment("1", 1, 1, 9))
		got := must(d.Visits(t.Context(), study))(t)
		if diff := cmp.Diff([]events.KnownVisit{{Latest: assessment("1", 1, 2, 2), Signed: true}}, got); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("finds who holds an id, in whatever study", func(t *testing.T) {
		got := must(d.Holder(t.Context(), []string{"100", "103", "102"}))(t)
		if diff := cmp.Diff(map[string]events.KnownVisit{"100": want[0], "102": want[2]}, got); diff != "" {
			t.Error(diff)
		}
	})
}
