package readmodel

import (
	"fmt"

	"github.com/jmoiron/sqlx"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/fhir"
	"github.com/seed-e88a4ece/signoff/subscriber/stream"
)

// changes is what a batch does to the model. It is made outside the
// transaction, so that the lock is not held while JSON is read.
type changes struct {
	batch     stream.Batch
	indexes   []fhir.Index     // of each message that carries a report
	directory access.Directory // afterwards
	known     map[string]study // before
	studies   map[string]study // those touched, as they are afterwards
}

func newChanges(b stream.Batch, p progress) (*changes, error) {
	c := &changes{batch: b, known: p.studies, indexes: make([]fhir.Index, len(b.Messages))}
	directory := p.directory.Fold()
	tokens := make(map[string]string)
	for i, m := range b.Messages {
		var err error
		switch m.Event.Kind() {
		case events.ReportSigned, events.ReportAmended, events.ReportWithdrawn:
			c.indexes[i], err = index(m.Event, tokens)
		default:
			if events.InternalStudy(m.Event.Study) {
				err = directory.Apply(m.Event)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("read event %d of %s (message %d): %w", m.Event.Number, m.Event.Study, m.StreamSequence, err)
		}
	}
	c.directory = directory.Directory()
	return c, nil
}

// index reads by what a report is found, and refuses one that is not what its
// event says: it would be found as something else. Tokens remembers those of
// the studies seen.
func index(e events.Event, tokens map[string]string) (fhir.Index, error) {
	x, err := fhir.ParseIndex(e.Data)
	if err != nil {
		return x, err
	}
	token, ok := tokens[x.Study]
	if !ok {
		token = events.StudyKey(x.Study)
		tokens[x.Study] = token
	}
	id, version, _ := e.ReportID()
	if x.ID != id || x.Version != version || version != e.Number || token != e.Study || !x.LastUpdated.Equal(e.Time) {
		return x, events.Errorf(events.Invalid, "the report is %s version %d of %s, the event says %s in %s", x.ID, x.Version, x.Study, e.Subject, e.Study)
	}
	return x, nil
}

// write stores the changes. Each study's row is written once.
func (c *changes) write(tx *sqlx.Tx) error {
	if err := move(tx, c.batch.After, c.batch.Position); err != nil {
		return err
	}
	c.studies = make(map[string]study) // anew at each attempt
	for i, m := range c.batch.Messages {
		s, err := c.study(tx, m.Event.Study)
		if err == nil {
			err = c.apply(tx, &s, m.Event, &c.indexes[i])
		}
		if err != nil {
			return fmt.Errorf("store event %d of %s (message %d): %w", m.Event.Number, m.Event.Study, m.StreamSequence, err)
		}
		s.Sequence, s.Hash = m.Event.Number, m.Event.Hash
		c.studies[s.Token] = s
	}
	for _, s := range c.studies {
		_, err := tx.Exec(`
			update studies
			set sequence = ?, hash = ?, reports = ?, unknown = ?
			where study = ?`,
			s.Sequence, s.Hash, s.Reports, s.Unknown, s.Study)
		if err != nil {
			return fmt.Errorf("store end of study %s: %w", s.Token, err)
		}
	}
	return nil
}

// study returns the study's row as the batch has left it so far.
func (c *changes) study(tx *sqlx.Tx, token string) (study, error) {
	if s, ok := c.studies[token]; ok {
		return s, nil
	}
	if s, ok := c.known[token]; ok {
		return s, nil
	}
	s := study{Token: token}
	err := tx.QueryRow(`
		insert into studies (token, sequence, hash, reports)
		values (?, 0, '', 0)
		returning study`, token).Scan(&s.Study)
	return s, err
}

func (c *changes) apply(tx *sqlx.Tx, s *study, e events.Event, x *fhir.Index) error {
	switch e.Kind() {
	case events.ReportSigned, events.ReportAmended:
		if err := end(tx, s, x.ID, e.Number); err != nil {
			return err
		}
		s.Reports++
		return insert(tx, s, e, x, nil)
	case events.ReportSuperseded:
		id, _, ok := e.ReportID()
		if !ok {
			return events.Errorf(events.Invalid, "subject %s names no report", e.Subject)
		}
		return end(tx, s, id, e.Number)
	case events.ReportWithdrawn:
		if err := end(tx, s, x.ID, e.Number); err != nil {
			return err
		}
		return insert(tx, s, e, x, e.Number)
	case events.AccessPartner, events.AccessKey:
		return insertAccess(tx, e)
	default: // nothing is answered from it
		if s.Unknown == "" && e.Kind().NeedsNewer() {
			s.Unknown = e.Type
		}
		return nil
	}
}
