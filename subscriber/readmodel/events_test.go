package readmodel_test

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/fhir"
)

// study makes the events of a study, each sealed onto the one before.
type study struct {
	number string
	head   events.ChainHead
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func (s *study) time() time.Time {
	return epoch.Add(time.Duration(s.head.Number+1) * 1500 * time.Millisecond)
}

func (s *study) seal(kind events.Kind, subject string, data []byte) events.Event {
	key := s.number
	if !events.InternalStudy(key) {
		key = events.StudyKey(key)
	}
	e := events.Event{
		ID:              uuid.Must(uuid.NewV7()).String(),
		Source:          events.DefaultNamespace.Source(key),
		Type:            events.DefaultNamespace.Type(kind),
		Subject:         subject,
		Time:            s.time(),
		DataContentType: kind.MediaType(),
		Study:           key,
		PartitionKey:    key + "/1",
		Data:            data,
	}
	e.Seal(s.head)
	s.head = e.ChainHead()
	return e
}

// unknown makes an event of a kind that only a newer publisher knows.
func (s *study) unknown(kind events.Kind) events.Event {
	return s.seal(kind, "Basic/1", []byte(`{"resourceType":"Basic"}`))
}

// assessment returns a valid one of the study, to be varied.
func (s *study) assessment(id string) events.Assessment {
	return events.Assessment{
		ID: id, Study: s.number, SponsorStudy: "C3861001", TrialName: s.number, Criteria: events.Criteria,
		Case: events.Case{ID: 163, Revision: 5}, Revision: 1, Name: events.FollowUp(2), Timepoint: 2,
		Subject: "10081007", Effective: "2006-10-13T09:31:24",
		Measurement: &events.Measurement{Type: events.MeasurementType, Value: "37.6", Unit: events.Unit,
			ChangeFromPrevious: "-12.0 mm", ChangeFromBaseline: "-42.3 mm", ChangeFromNadir: "-12.0 mm"},
		Lesions:    []events.Lesion{{ID: "NT01"}, {ID: "T01"}, {ID: "T02"}},
		Conclusion: "Partial Response",
	}
}

// sign makes the event of a kind that carries the assessment.
func (s *study) sign(kind events.Kind, a events.Assessment) events.Event {
	n := s.head.Number + 1
	r := fhir.Report{
		Assessment: a,
		Signature:  events.Signature{User: "pi", Name: "Dr. P. I.", Meaning: "I approve this assessment", Time: s.time().Add(-time.Second)},
		Version:    n, LastUpdated: s.time(),
	}
	if kind == events.ReportWithdrawn {
		r.Withdrawal = &fhir.Withdrawal{Signature: r.Signature, Reason: "wrong subject"}
	}
	body, err := r.Encode()
	if err != nil {
		panic(err)
	}
	return s.seal(kind, events.ReportSubject(a.ID, n), body)
}

// observations makes the event of the Observations of a report that is signed next.
func (s *study) observations(a events.Assessment) events.Event {
	body, err := fhir.Report{Assessment: a, Version: s.head.Number + 1, LastUpdated: s.time()}.EncodeObservations()
	if err != nil {
		panic(err)
	}
	return s.seal(events.ObservationsSigned, events.ReportSubject(a.ID, s.head.Number+2), body)
}

func (s *study) signed(id string) events.Event {
	return s.sign(events.ReportSigned, s.assessment(id))
}

// supersede ends the version that an event carries.
func (s *study) supersede(before events.Event) events.Event {
	return s.seal(events.ReportSuperseded, before.Subject, before.Data)
}

func (s *study) many(n int) []events.Event {
	list := make([]events.Event, n)
	for i := range list {
		list[i] = s.signed(fmt.Sprint(1000 + i))
	}
	return list
}

// grant makes the announcement of a grant to a partner.
func (s *study) grant(kind events.Kind, g events.Grant) events.Event {
	data, err := json.Marshal(g)
	if err != nil {
		panic(err)
	}
	return s.seal(kind, g.EventSubject(), data)
}

// partner makes the access event of a partner.
func (s *study) partner(p access.Partner) events.Event {
	data, err := json.Marshal(p)
	if err != nil {
		panic(err)
	}
	return s.seal(events.AccessPartner, p.EventSubject(), data)
}
