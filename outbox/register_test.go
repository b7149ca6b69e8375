package outbox_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

func TestRegister(t *testing.T) {
	t.Run("keeps one waiting version, and the replaced ones in the audit trail", func(t *testing.T) {
		d := newOutbox(t)
		for revision := range int32(3) {
			d.register(assessment("1", 1, 1, revision+1))
		}
		waiting := must(d.Reviews().Waiting(t.Context(), review.WaitingFilter{Study: study, Case: 1}))(t)
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
		if waiting := must(d.Reviews().Waiting(t.Context(), review.WaitingFilter{}))(t); len(waiting) != 1 {
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
		if waiting := must(d.Reviews().Waiting(t.Context(), review.WaitingFilter{}))(t); len(waiting) != 0 {
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
	t.Run("returns the highest version of every assessment of the study", func(t *testing.T) {
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
	t.Run("keeps the visit of the version that waits", func(t *testing.T) {
		d := newOutbox(t)
		later := &events.Visit{Evaluator: "INVESTIGATOR", Number: "10", Date: "2014-02"}
		signed, waiting := assessment("1", 1, 1, 1), assessment("1", 1, 1, 2)
		register := func(a events.Assessment, visit *events.Visit) {
			t.Helper()
			results := must(d.Register(t.Context(), source, []events.Submission{{Assessment: a, Visit: visit}}))(t)
			if results[0].Err != nil {
				t.Fatal(results[0].Err)
			}
		}
		register(signed, visit)
		d.sign("1")
		register(waiting, later)
		register(signed, visit) // a late repeat
		got := must(d.Visits(t.Context(), study))(t)
		if diff := cmp.Diff([]events.KnownVisit{{Latest: waiting, Visit: later}}, got); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("finds who holds an id, in whatever study", func(t *testing.T) {
		got := must(d.VisitsByID(t.Context(), []string{"100", "103", "102"}))(t)
		if diff := cmp.Diff(map[string]events.KnownVisit{"100": want[0], "102": want[2]}, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestLesionIdentifiersOfAStudyAreUnique(t *testing.T) {
	with := func(id string, number int32, lesions ...string) events.Assessment {
		a := assessment(id, number, 1, 1)
		a.Lesions = nil
		for _, l := range lesions {
			a.Lesions = append(a.Lesions, events.Lesion{ID: l})
		}
		return a
	}
	elsewhere := with("2", 1, "3-T")
	elsewhere.Study = "another"
	for _, c := range []struct {
		name          string
		first, second events.Assessment
		identifier    string // refused; empty where both are registered
	}{
		{"the longer id second", with("2", 1, "3-T"), with("2-3", 1, "S", "T"), "1-2-3-T"},
		{"the longer id first", with("2-3", 1, "T"), with("2", 1, "S", "3-T"), "1-2-3-T"},
		{"ids of several hyphens", with("2-3-4", 1, "T"), with("2", 1, "S", "3-4-T"), "1-2-3-4-T"},
		{"another lesion", with("2", 1, "3-T"), with("2-3", 1, "U", "V"), ""},
		{"another case", with("2", 1, "3-T"), with("2-3", 2, "S", "T"), ""},
		{"another study", elsewhere, with("2-3", 1, "S", "T"), ""},
		{"no hyphen in the id", with("2", 1, "3-T"), with("23", 1, "S", "T"), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newOutbox(t)
			d.register(c.first)
			got := d.submit(c.second)[0]
			if c.identifier == "" {
				if got.Err != nil {
					t.Error(got.Err)
				}
				return
			}
			wantCode(t, got.Err, events.Conflict, c.identifier, "assessment "+c.first.ID)
			if got.Err.Field != "lesions[1].id" {
				t.Errorf("field %s", got.Err.Field)
			}
			if again := d.submit(c.first)[0]; again.Outcome != outbox.Unchanged {
				t.Errorf("the first again: %+v", again)
			}
		})
	}
	t.Run("what was signed stays in use, what was replaced does not", func(t *testing.T) {
		d := newOutbox(t)
		d.register(with("2", 1, "3-T"))
		d.sign("2")
		second := with("2", 1, "U")
		second.Revision = 2
		d.register(second)
		d.sign("2")
		wantCode(t, d.submit(with("2-3", 1, "T"))[0].Err, events.Conflict, "1-2-3-T")

		d.register(with("4", 1, "5-T"))
		d.register(with("4", 1, "6-T"))
		if got := d.submit(with("4-5", 1, "T"))[0]; got.Err != nil {
			t.Error(got.Err)
		}
	})
	t.Run("within one batch", func(t *testing.T) {
		d := newOutbox(t)
		results := d.submit(with("2", 1, "3-T"), with("2-3", 1, "T"))
		if results[0].Err != nil || results[1].Err == nil {
			t.Errorf("%+v", results)
		}
	})
}

func TestRehearse(t *testing.T) {
	d := newOutbox(t)
	d.register(assessment("1", 1, 1, 1))
	before := d.dump()
	other := assessment("1", 1, 1, 1)
	other.Case.ID = 0
	batch := []events.Submission{
		{Assessment: assessment("1", 1, 1, 1)}, {Assessment: assessment("2", 1, 1, 1)}, {Assessment: assessment("2", 1, 1, 1)}, {Assessment: other},
	}
	rehearsed := []string{}
	ok(t, d.Rehearse(t.Context(), func(register outbox.RegisterFunc) error {
		for _, s := range batch { // each its own call, in one transaction
			for _, r := range must(register(t.Context(), source, []events.Submission{s}))(t) {
				rehearsed = append(rehearsed, fmt.Sprint(r.Outcome, r.Err != nil))
			}
		}
		return nil
	}))
	if diff := cmp.Diff([]string{"unchangedfalse", "takenfalse", "unchangedfalse", "true"}, rehearsed); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(before, d.dump()); diff != "" {
		t.Errorf("something changed: %s", diff)
	}
	registered := []string{}
	for _, r := range must(d.Register(t.Context(), source, batch))(t) {
		registered = append(registered, fmt.Sprint(r.Outcome, r.Err != nil))
	}
	if diff := cmp.Diff(rehearsed, registered); diff != "" {
		t.Error(diff)
	}
	broken := errors.New("broken")
	if err := d.Rehearse(t.Context(), func(outbox.RegisterFunc) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

// dump returns all rows of the outbox that a registration may change.
func (d *testOutbox) dump() (rows []string) {
	for _, table := range []string{"studies", "cases", "assessments", "versions", "audit"} {
		rows = append(rows, d.rowsOf(table)...)
	}
	return rows
}

func (d *testOutbox) rowsOf(table string) (rows []string) {
	found, err := d.DB().Reader.QueryxContext(d.t.Context(), "select * from "+table)
	ok(d.t, err)
	defer found.Close()
	for found.Next() {
		values, err := found.SliceScan()
		ok(d.t, err)
		rows = append(rows, fmt.Sprint(table, values))
	}
	return rows
}
