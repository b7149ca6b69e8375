package readmodel

import (
	"fmt"

	"github.com/jmoiron/sqlx"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/fhir"
	"github.com/seed-e88a4ece/signoff/subscriber/stream"
)

// changes is the effect of a batch on the model. It is computed outside the
// transaction, so that the write lock is not held while JSON is parsed.
type changes struct {
	batch     stream.Batch
	indexes   []fhir.Index     // of each message that carries a report
	directory access.Directory // after the batch
	before    map[string]study // by study key
	studies   map[string]study // those that change, after the batch
}

func newChanges(b stream.Batch, p progress) (*changes, error) {
	c := &changes{batch: b, before: p.studies, indexes: make([]fhir.Index, len(b.Messages))}
	directory := p.directory.Fold()
	keys := make(map[string]string)
	for i, m := range b.Messages {
		var err error
		switch m.Event.Kind() {
		case events.ReportSigned, events.ReportAmended, events.ReportWithdrawn:
			c.indexes[i], err = index(m.Event, keys)
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

// index returns the values by which a report is found. It returns an error for a
// report that contradicts its event: it would be found as something else. Keys
// caches the study keys by study.
func index(e events.Event, keys map[string]string) (fhir.Index, error) {
	x, err := fhir.ParseIndex(e.Data)
	if err != nil {
		return x, err
	}
	key, ok := keys[x.Study]
	if !ok {
		key = events.StudyKey(x.Study)
		keys[x.Study] = key
	}
	id, version, _ := e.ReportID()
	if x.ID != id || x.Version != version || version != e.Number || key != e.Study || !x.LastUpdated.Equal(e.Time) {
		return x, events.Errorf(events.Invalid, "the report is %s version %d of study %s, but its event has subject %s and study key %s", x.ID, x.Version, x.Study, e.Subject, e.Study)
	}
	return x, nil
}

// write stores the changes. Each study's row is written once.
func (c *changes) write(tx *sqlx.Tx) error {
	if err := move(tx, c.batch.After, c.batch.Position); err != nil {
		return err
	}
	c.studies = make(map[string]study) // empty at each attempt
	for i, m := range c.batch.Messages {
		s, err := c.study(tx, m.Event.Study)
		if err == nil {
			err = c.apply(tx, &s, m.Event, &c.indexes[i])
		}
		if err != nil {
			return fmt.Errorf("store event %d of %s (message %d): %w", m.Event.Number, m.Event.Study, m.StreamSequence, err)
		}
		s.Number, s.Hash = m.Event.Number, m.Event.Hash
		c.studies[s.Key] = s
	}
	for _, s := range c.studies {
		_, err := tx.Exec(`
			update studies
			set sequence = ?, hash = ?, reports = ?, unknown = ?
			where study = ?`,
			s.Number, s.Hash, s.Reports, s.Unknown, s.Study)
		if err != nil {
			return fmt.Errorf("store the chain head of study %s: %w", s.Key, err)
		}
	}
	return nil
}

// study returns the study's row after the events so far.
func (c *changes) study(tx *sqlx.Tx, key string) (study, error) {
	if s, ok := c.studies[key]; ok {
		return s, nil
	}
	if s, ok := c.before[key]; ok {
		return s, nil
	}
	s := study{Key: key}
	err := tx.QueryRow(`
		insert into studies (token, sequence, hash, reports)
		values (?, 0, '', 0)
		returning study`, key).Scan(&s.Study)
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
			return events.Errorf(events.Invalid, "subject %s is not that of a report", e.Subject)
		}
		return end(tx, s, id, e.Number)
	case events.ReportWithdrawn:
		if err := end(tx, s, x.ID, e.Number); err != nil {
			return err
		}
		return insert(tx, s, e, x, e.Number)
	case events.AccessPartner, events.AccessKey:
		return insertAccess(tx, e)
	default: // no answer depends on it
		if s.Unknown == "" && e.Kind().NeedsNewer() {
			s.Unknown = e.Type
		}
		return nil
	}
}

// end marks the available version of a report, if there is one, as replaced by
// event n.
func end(tx *sqlx.Tx, s *study, id string, n uint64) error {
	result, err := tx.Exec(`
		update reports
		set n_end = ?
		where study = ? and id_key = ? and n_end is null`,
		n, s.Study, idKey(id))
	if err != nil {
		return err
	}
	ended, err := result.RowsAffected()
	s.Reports -= int(ended)
	return err
}

// insert stores the version that an event carries, valid up to nEnd, which is nil
// or a number.
func insert(tx *sqlx.Tx, s *study, e events.Event, x *fhir.Index, nEnd any) error {
	effective, err := events.ParsePeriod(x.Effective)
	if err != nil {
		return err
	}
	result, err := tx.Exec(`
		insert into reports (
			study, id_key, n, n_end, updated, issued, date_from, date_until,
			case_id, subject, name, conclusion, id)
		values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		s.Study, idKey(x.ID), e.Number, nEnd, moment(x.LastUpdated), moment(x.Issued),
		boundary(effective.From), boundary(effective.Until), x.Case, x.Subject, x.Name, x.Conclusion, x.ID)
	if err != nil {
		return err
	}
	row, err := result.LastInsertId()
	if err != nil {
		return err
	}
	_, err = tx.Exec(`
		insert into bodies (row, body)
		values (?, ?)`, row, e.Data)
	return err
}

func insertAccess(tx *sqlx.Tx, e events.Event) error {
	_, err := tx.Exec(`
		insert into access (n, type, subject, body)
		values (?, ?, ?, ?)`,
		e.Number, e.Type, e.Subject, e.Data)
	return err
}
