package subscriber_test

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/seed-e88a4ece/signoff/events"
)

// study makes the events of a study, each sealed onto the one before.
type study struct {
	key  string
	head events.ChainHead
	body []byte // of each event; else a small one that differs
}

func (s *study) next() events.Event {
	n := s.head.Number + 1
	e := events.Event{
		ID:              uuid.Must(uuid.NewV7()).String(),
		Source:          events.DefaultNamespace.Source(s.key),
		Type:            events.DefaultNamespace.Type(events.ReportSigned),
		Subject:         events.ReportSubject(fmt.Sprint(n), n),
		Time:            time.Date(2026, 1, 1, 0, 0, 0, int(n)*1000, time.UTC),
		DataContentType: events.MediaFHIR,
		Study:           s.key,
		PartitionKey:    s.key + "/1",
		Data:            s.body,
	}
	if s.body == nil {
		e.Data = fmt.Appendf(nil, `{"n":%d}`, n)
	}
	e.Seal(s.head)
	s.head = e.ChainHead()
	return e
}

// unknown makes an event of a kind that only a newer publisher knows.
func (s *study) unknown(kind events.Kind, contentType string, body []byte) events.Event {
	e := s.next()
	s.head = events.ChainHead{Number: e.Number - 1, Hash: e.PreviousHash}
	e.Type, e.Subject, e.DataContentType, e.Data = events.DefaultNamespace.Type(kind), "Basic/1", contentType, body
	e.Seal(s.head)
	s.head = e.ChainHead()
	return e
}

func (s *study) take(n int) []events.Event {
	list := make([]events.Event, n)
	for i := range list {
		list[i] = s.next()
	}
	return list
}

// announce makes an announcement in the partner's own study.
func (s *study) announce(kind events.Kind, what string) events.Event {
	g := events.Grant{Partner: acme, Study: what, StudyKey: events.StudyKey(what)}
	body, err := json.Marshal(g)
	if err != nil {
		panic(err) // three strings
	}
	e := events.Event{
		ID:              uuid.Must(uuid.NewV7()).String(),
		Source:          "/signoff/Partner/" + acme,
		Type:            events.DefaultNamespace.Type(kind),
		Subject:         g.EventSubject(),
		Time:            time.Date(2026, 1, 1, 0, 0, 0, int(s.head.Number)*1000+1000, time.UTC),
		DataContentType: events.MediaJSON,
		Study:           s.key,
		PartitionKey:    s.key,
		Data:            body,
	}
	e.Seal(s.head)
	s.head = e.ChainHead()
	return e
}
