package outbox_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
)

// trail returns the actions on an assessment with their study and details.
func (d *testOutbox) trail(subject string, actions ...string) (lines []string) {
	d.t.Helper()
	wanted := map[string]bool{}
	for _, a := range actions {
		wanted[a] = true
	}
	ok(d.t, d.Audit(d.t.Context(), outbox.AuditFilter{Subject: subject}, func(e outbox.AuditEntry) error {
		if wanted[e.Action] {
			lines = append(lines, e.Actor+" "+e.Action+" "+e.Study+" "+string(e.Detail))
		}
		return nil
	}))
	return lines
}

func TestAMistakenRegistration(t *testing.T) {
	t.Run("of a subject is put right by the next, for the whole case", func(t *testing.T) {
		d := newOutbox(t)
		wrong := []events.Assessment{assessment("1", 7, 1, 1), assessment("2", 7, 1, 1)}
		for i := range wrong {
			wrong[i].Subject = "mistaken"
		}
		d.register(wrong...)
		d.register(assessment("1", 7, 1, 1))
		_, err := d.signAs("dr.a", "1", "2")
		wantCode(t, err, events.Conflict, "assessment 2 waits for subject mistaken", "case 7 of study FHIR-T was last registered for subject subject-7")
		d.register(assessment("2", 7, 1, 1))
		d.sign("1", "2")
		wantEvents(t, d, "signed 1/1", "signed 2/2")
		want := []string{source + ` case.rebound FHIR-T {"case":7,"from":"mistaken","to":"subject-7"}`}
		if diff := cmp.Diff(want, d.trail("1", "case.rebound")); diff != "" {
			t.Error(diff)
		}
		got := d.submit(wrong[0], assessment("3", 7, 1, 1))
		wantCode(t, got[0].Err, events.Conflict, "case 7 of study FHIR-T belongs to subject subject-7")
		if got[0].Err.Field != "subject" || got[1].Err != nil {
			t.Errorf("%+v", got)
		}
	})
	t.Run("of a subject is put right by what waits already, registered again", func(t *testing.T) {
		d := newOutbox(t)
		wrong := assessment("2", 7, 1, 1)
		wrong.Subject = "mistaken"
		d.register(assessment("1", 7, 1, 1), wrong)
		_, err := d.signAs("dr.a", "1")
		wantCode(t, err, events.Conflict, "subject mistaken")
		if got := d.submit(assessment("1", 7, 1, 1))[0]; got.Outcome != outbox.Unchanged {
			t.Errorf("%+v", got)
		}
		d.sign("1")
		_, err = d.signAs("dr.a", "2")
		wantCode(t, err, events.Conflict, "subject mistaken")
	})
	t.Run("of a case or study is put right while nothing of the assessment was signed", func(t *testing.T) {
		d := newOutbox(t)
		visit := &events.Visit{Evaluator: "INVESTIGATOR", Number: "10"}
		elsewhere := assessment("1", 8, 1, 1)
		elsewhere.Study = "OTHER"
		_, err := d.Register(t.Context(), source, []events.Submission{{Assessment: elsewhere, Visit: visit}})
		ok(t, err)
		d.register(assessment("2", 9, 2, 1))
		d.sign("2") // that something else of the case was signed is no matter
		d.register(assessment("1", 9, 2, 1))
		d.register(assessment("1", 7, 1, 1))
		want := []string{
			source + ` assessment.moved OTHER {"from":8,"study":"FHIR-T","to":9}`, source + " assessment.replaced OTHER {}",
			source + ` assessment.moved FHIR-T {"from":9,"study":"FHIR-T","to":7}`, source + " assessment.replaced FHIR-T {}",
		}
		if diff := cmp.Diff(want, d.trail("1", "assessment.moved", "assessment.replaced")); diff != "" {
			t.Error(diff)
		}
		if got := must(d.Visits(t.Context(), study))(t); len(got) != 2 || got[0].Visit != nil {
			t.Errorf("the visit of the other study was kept: %+v", got)
		}
		d.sign("1")
		wantEvents(t, d, "signed 2/1", "signed 1/2")
		for _, a := range []events.Assessment{elsewhere, assessment("1", 9, 2, 2)} {
			got := d.submit(a)[0]
			wantCode(t, got.Err, events.Conflict, "assessment 1 belongs to case 7 of study FHIR-T")
		}
	})
	t.Run("cannot be put right past the outbox once something was signed", func(t *testing.T) {
		d := newOutbox(t)
		d.register(assessment("1", 1, 1, 1), assessment("2", 2, 1, 1))
		d.sign("1")
		db := raw(t, d.path).Writer
		for _, statement := range []string{
			"update cases set subject = 'another' where number = 1", "update cases set revision = 0 where number = 1",
			"update assessments set number = 2 where id = '1'",
		} {
			if _, err := db.Exec(statement); err == nil {
				t.Errorf("%s was accepted", statement)
			}
		}
	})
	t.Run("put right between two cases of one sign-off leaves no event in the wrong case", func(t *testing.T) {
		d := newOutbox(t)
		other := assessment("3", 1, 1, 1)
		other.Study = "OTHER"
		second := open(t, d.path, outbox.Config{Clock: d.clock.now, Step: func(name string) {
			if name == "committed" {
				d.submit(other)
			}
		}})
		ok(t, d.Accounts().GrantPI(t.Context(), operator, "dr.a", "OTHER"))
		d.register(assessment("1", 1, 1, 1), assessment("2", 2, 1, 1), assessment("3", 2, 1, 1))
		signed, err := second.SignOff(t.Context(), outbox.SignOff{User: "dr.a", Meaning: meaning, IDs: []string{"1", "2", "3"}})
		wantCode(t, err, events.Conflict, "assessment 3 was moved to case 1 of study OTHER just now")
		if len(signed) != 1 {
			t.Errorf("%+v", signed)
		}
		d.sign("2", "3")
		for _, e := range all(t, d.Outbox) {
			if id, _, _ := e.ReportID(); (id == "3") != (e.Study == "OTHER") {
				t.Errorf("the report of %s is in %s", id, e.Study)
			}
		}
		follow(t, all(t, d.Outbox))
	})
}
