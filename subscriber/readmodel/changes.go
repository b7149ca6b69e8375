package readmodel

import (
	"database/sql"
	"errors"
	"fmt"
	"time"

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
	indexes   []fhir.Index              // of each message that carries a report
	lesions   [][]fhir.ObservationIndex // of each message that carries Observations
	directory access.Directory          // after the batch
	before    map[string]study          // by study key
	studies   map[string]study          // those that change, after the batch; set by write
}

// newChanges parses the messages of a batch. P is the progress before the batch, and is
// not changed.
func newChanges(b stream.Batch, p progress) (*changes, error) {
	c := &changes{
		batch: b, before: p.studies,
		indexes: make([]fhir.Index, len(b.Messages)), lesions: make([][]fhir.ObservationIndex, len(b.Messages)),
	}
	directory := p.directory.Fold()
	keys := make(map[string]string) // study keys by study
	for i, m := range b.Messages {
		var err error
		switch m.Event.Kind() {
		case events.ReportSigned, events.ReportAmended, events.ReportWithdrawn:
			c.indexes[i], err = index(m.Event, keys)
		case events.ObservationsSigned:
			c.lesions[i], err = indexObservations(m.Event)
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

// index returns the values by which the report of an event is found. It returns an
// error for a report whose id, version, study or time is not that of its event. Keys
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

// indexObservations returns the values by which the Observations of an event are
// found. It returns an error if one has another version or time than the event.
func indexObservations(e events.Event) ([]fhir.ObservationIndex, error) {
	if _, _, ok := e.ReportID(); !ok {
		return nil, events.Errorf(events.Invalid, "subject %s is not that of a report", e.Subject)
	}
	list, err := fhir.ParseObservations(e.Data)
	if err != nil {
		return nil, err
	}
	if len(list) > maxPlaces {
		return nil, events.Errorf(events.Invalid, "the event has %d Observations; at most %d are supported", len(list), maxPlaces)
	}
	for _, x := range list {
		if x.Version != e.Number || !x.LastUpdated.Equal(e.Time) {
			return nil, events.Errorf(events.Invalid, "Observation %s is of version %d, but its event has number %d", x.ID, x.Version, e.Number)
		}
	}
	return list, nil
}

// write stores the changes, and sets c.studies. Each study's row is updated once, after
// all messages. It may be called again after the transaction has failed.
func (c *changes) write(tx *sqlx.Tx) error {
	if err := move(tx, c.batch.After, c.batch.Position); err != nil {
		return err
	}
	c.studies = make(map[string]study) // empty at each attempt
	for i, m := range c.batch.Messages {
		s, err := c.getOrInsertStudy(tx, m.Event.Study)
		if err == nil {
			err = c.apply(tx, &s, i)
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
			set sequence = ?, hash = ?, reports = ?, unknown = ?, observations = ?, report_events = ?, longest = ?
			where study = ?`,
			s.Number, s.Hash, s.Reports, s.Unknown, s.Observations, s.ReportEvents, s.Longest, s.Study)
		if err != nil {
			return fmt.Errorf("store the chain head of study %s: %w", s.Key, err)
		}
	}
	return nil
}

// getOrInsertStudy returns the study's row as it is after the events applied so far.
// For the first event of a study it inserts the row.
func (c *changes) getOrInsertStudy(tx *sqlx.Tx, key string) (study, error) {
	if s, ok := c.studies[key]; ok {
		return s, nil
	}
	if s, ok := c.before[key]; ok {
		return s, nil
	}
	s := study{Key: key}
	err := tx.QueryRow(`
		insert into studies (token, sequence, hash, reports, longest)
		values (?, 0, '', 0, 0)
		returning study`, key).Scan(&s.Study)
	return s, err
}

// apply stores the effect of message i and, in a clinical study, the event itself.
func (c *changes) apply(tx *sqlx.Tx, s *study, i int) error {
	e, x := c.batch.Messages[i].Event, &c.indexes[i]
	id := ""            // of the report that the event is about
	bodyRow := any(nil) // where insertVersion or insertObservations has stored the event's body
	var err error
	switch e.Kind() {
	case events.ReportSigned, events.ReportAmended:
		id = x.ID
		if err = endVersion(tx, s, id, e.Number); err == nil {
			bodyRow, err = insertVersion(tx, s, e, x, nil)
		}
	case events.ReportSuperseded:
		var ok bool
		if id, _, ok = e.ReportID(); !ok {
			return events.Errorf(events.Invalid, "subject %s is not that of a report", e.Subject)
		}
		err = endVersion(tx, s, id, e.Number)
	case events.ReportWithdrawn:
		id = x.ID
		// The version of a withdrawal ends where it begins: it is never available.
		if err = endVersion(tx, s, id, e.Number); err == nil {
			bodyRow, err = insertVersion(tx, s, e, x, e.Number)
		}
	case events.ObservationsSigned:
		bodyRow, err = insertObservations(tx, s, e, c.lesions[i])
	case events.AccessPartner, events.AccessKey:
		err = insertAccess(tx, e)
	default: // its content is not stored
		if s.Unknown == "" && e.Kind().NeedsNewer() {
			s.Unknown = e.Type
		}
	}
	if err != nil || events.InternalStudy(e.Study) {
		return err
	}
	return insertEvent(tx, s, e, id, bodyRow)
}

// endVersion ends the available version of a report with event n, and subtracts it from
// the study's counts. It does nothing if no version is available.
func endVersion(tx *sqlx.Tx, s *study, id string, n uint64) error {
	var observations int
	err := tx.QueryRow(`
		update reports
		set n_end = ?
		where study = ? and id_key = ? and n_end is null
		returning observations`,
		n, s.Study, idKey(id)).Scan(&observations)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	s.Reports--
	s.Observations -= observations
	return err
}

// insertVersion stores the version of a report that an event carries, and returns its
// row. NEnd is nil for a version that becomes available, and otherwise the number of the
// event that ends it. An earlier event has stored the version's Observations.
func insertVersion(tx *sqlx.Tx, s *study, e events.Event, x *fhir.Index, nEnd any) (row int64, err error) {
	effective, err := events.ParsePeriod(x.Effective)
	if err != nil {
		return 0, err
	}
	const day = 24 * time.Hour
	s.Longest = max(s.Longest, int((effective.Until.Sub(effective.From)+day-1)/day))
	observations := 0
	err = tx.QueryRow(`
		insert into reports (
			study, id_key, n, n_end, updated, issued, date_from, date_until,
			case_id, subject, name, conclusion, id, observations)
		values (?1, ?2, ?3, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, (
			select count(*)
			from bundles u
			join observations o on o.row between u.row * 1024 and u.row * 1024 + 1023
			where u.study = +?1 and u.id_key = +?2 and u.n = +?3))
		returning row, observations`,
		s.Study, idKey(x.ID), e.Number, nEnd, moment(x.LastUpdated), moment(x.Issued),
		boundary(effective.From), boundary(effective.Until), x.Case, x.Subject, x.Name, x.Conclusion, x.ID).Scan(&row, &observations)
	if err != nil {
		return 0, err
	}
	if nEnd == nil {
		s.Reports++
		s.Observations += observations
	}
	_, err = tx.Exec(`
		insert into bodies (row, body)
		values (?, ?)`, row, e.Data)
	return row, err
}

// maxPlaces is how many Observations a bundle may have. The queries have it as the
// literal 1024: observations.row is the bundle's row times this, plus the place in the
// bundle.
const maxPlaces = 1024

// insertObservations stores a Bundle of Observations, and for each of them where it is
// in the Bundle. It returns the Bundle's row. The Observations become available with the
// version of the report to which they belong.
func insertObservations(tx *sqlx.Tx, s *study, e events.Event, list []fhir.ObservationIndex) (row int64, err error) {
	id, n, _ := e.ReportID()
	result, err := tx.Exec(`
		insert into bundles (study, id_key, n, version, updated, body)
		values (?, ?, ?, ?, ?, ?)`, s.Study, idKey(id), n, e.Number, moment(e.Time), e.Data)
	if err != nil {
		return 0, err
	}
	if row, err = result.LastInsertId(); err != nil {
		return 0, err
	}
	for place, x := range list {
		_, err := tx.Exec(`
			insert into observations (row, bundle, identifier, id, start, length)
			values (?, ?, ?, ?, ?, ?)`,
			row*maxPlaces+int64(place), row, x.Identifier, x.ID, x.Start, x.Length)
		if err != nil {
			return 0, err
		}
	}
	return row, nil
}

// insertEvent stores an event and the study's counts after it. Id is that of the report
// that the event is about, or empty. If it is set, s.ReportEvents becomes one more.
// BodyRow is nil for an event without a stored body.
func insertEvent(tx *sqlx.Tx, s *study, e events.Event, id string, bodyRow any) error {
	var key any
	if id != "" {
		key = idKey(id)
		s.ReportEvents++
	}
	_, err := tx.Exec(`
		insert into events (
			study, n, id, source, type, subject, time, content_type, partition_key,
			digest, hash, id_key, row, reports, observations, report_events)
		values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		s.Study, e.Number, e.ID, e.Source, e.Type, e.Subject, events.FormatTime(e.Time), e.DataContentType, e.PartitionKey,
		e.DataDigest(), e.Hash, key, bodyRow, s.Reports, s.Observations, s.ReportEvents)
	return err
}

// insertAccess stores an access event, from which readDirectory makes the directory.
func insertAccess(tx *sqlx.Tx, e events.Event) error {
	_, err := tx.Exec(`
		insert into access (n, type, subject, body)
		values (?, ?, ?, ?)`,
		e.Number, e.Type, e.Subject, e.Data)
	return err
}
