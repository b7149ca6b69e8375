package ledger

import (
	"database/sql"
	"errors"
	"fmt"
	"time"

	"golang.org/x/text/unicode/norm"

	"github.com/seed-e88a4ece/signoff/events"
)

// NormalizeStudy returns a study id in NFC, the form in which ids are stored and compared.
func NormalizeStudy(study string) string { return norm.NFC.String(study) }

// StudyKey returns the key of a study. The key of an internal study is its id.
func StudyKey(study string) string {
	if events.InternalStudy(study) {
		return study
	}
	return events.StudyKey(study)
}

// FindStudy returns the studies.row of a study, 0 where there is none yet.
func (tx *Tx) FindStudy(study string) (int64, error) {
	var row int64
	err := tx.QueryRow(`select row from studies where study = ?`, study).Scan(&row)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, fmt.Errorf("look up study: %w", err)
	}
	return row, nil
}

// EnsureStudy returns the studies.row of a study, and creates the row where there is none.
func (tx *Tx) EnsureStudy(study string) (int64, error) {
	row, err := tx.FindStudy(study)
	if err != nil || row != 0 {
		return row, err
	}
	err = tx.QueryRow(`
		insert into studies (study, token)
		values (?, ?)
		returning row`, study, StudyKey(study)).Scan(&row)
	if err != nil {
		return 0, fmt.Errorf("create study: %w", err)
	}
	return row, nil
}

// Chain appends events to a study within a transaction. It has the study's chain head,
// which the next event's number, time and previous hash follow from. Append moves the
// head to the new event. Close stores the head and must be called after the last Append.
//
// The study's row is read when the chain is opened and written once, when it is
// closed, by a compare-and-swap on the number. So a transaction fails if another writer
// has numbered events in between; it cannot use a number twice.
type Chain struct {
	Row         int64  // studies.row
	TraceParent string // of the events that are appended

	tx    *Tx
	key   string           // the study's
	start uint64           // number of the stored chain head
	head  events.ChainHead // of the last event, in this transaction too
	last  time.Time        // of the last event; zero where there is none
}

// OpenChain opens the chain of a study. It creates the study where there is none.
func (tx *Tx) OpenChain(study string) (*Chain, error) {
	row, err := tx.EnsureStudy(study)
	if err != nil {
		return nil, err
	}
	head := Head{Row: row}
	err = tx.QueryRow(`
		select token, sequence, hash, time, (select coalesce(max(row), 0) from events)
		from studies
		where row = ?`, row).Scan(&head.Key, &head.Number, &head.Hash, &head.Time, &head.LastEvent)
	if err != nil {
		return nil, fmt.Errorf("load study: %w", err)
	}
	return tx.Chain(head)
}

// Head is what has to be read to open a Chain.
type Head struct {
	Row              int64     // studies.row
	Key              string    // the study's
	events.ChainHead           // of the study's last event; zero where there is none
	Time             string    // of that event, as stored; empty where there is none
	LastEvent        int64     // the highest events.row of all studies; 0 for none
	Trail            TrailHead // number and hash of the last line of the audit trail; if zero, AddLine reads them
}

// Chain opens a chain whose head the caller has read in this transaction.
func (tx *Tx) Chain(head Head) (*Chain, error) {
	// This transaction may have appended events and lines since the head was read.
	tx.lastEvent = max(tx.lastEvent, head.LastEvent)
	if head.Trail.Line > tx.trail.Line {
		tx.trail = head.Trail
	}
	c := &Chain{Row: head.Row, tx: tx, key: head.Key, start: head.Number, head: head.ChainHead}
	if head.Time == "" {
		return c, nil
	}
	var err error
	c.last, err = events.ParseTime(head.Time)
	return c, err
}

// Next returns the number and the time of the event that is appended next. The time is
// that of the transaction. If the event before is not earlier, it is a microsecond after
// that event.
func (c *Chain) Next() (uint64, time.Time) {
	t := c.tx.Now
	if !t.After(c.last) {
		t = c.last.Add(time.Microsecond)
	}
	return c.head.Number + 1, t
}

// Append makes the study's next event with its number, time and hash, stores it, and
// returns it with its events.row. The event's partition key is the study's key, with a
// slash and about added if about is not empty.
func (c *Chain) Append(kind events.Kind, subject, about string, data []byte) (e events.Event, row int64, err error) {
	ledger := c.tx.Ledger
	_, e.Time = c.Next()
	e.ID = ledger.newID()
	e.Source = ledger.namespace.Source(c.key)
	e.Type = ledger.namespace.Type(kind)
	e.Subject = subject
	e.DataContentType = kind.MediaType()
	e.Study = c.key
	if e.PartitionKey = c.key; about != "" {
		e.PartitionKey += "/" + about
	}
	e.TraceParent = c.TraceParent
	e.Data = data
	e.Seal(c.head)
	if err := e.Validate(); err != nil {
		return e, 0, fmt.Errorf("make event: %w", err)
	}
	// The row is numbered here and not read back: a query in a transaction
	// costs twice what an insert does. The schema refuses any other number.
	row = c.tx.lastEvent + 1
	_, err = c.tx.Exec(`
		insert into events (row, study, sequence, kind, id, subject, time, partitionkey, previoushash, hash, traceparent, data)
		values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		row, c.Row, int64(e.Number), string(kind), e.ID, e.Subject, events.FormatTime(e.Time),
		e.PartitionKey, e.PreviousHash, e.Hash, e.TraceParent, e.Data)
	if err != nil {
		return e, 0, fmt.Errorf("store event: %w", err)
	}
	c.tx.lastEvent = row
	c.head, c.last = e.ChainHead(), e.Time
	return e, row, nil
}

// Close stores the head of the chain. It returns an error if the stored head is not the
// one with which the chain was opened.
func (c *Chain) Close() error {
	result, err := c.tx.Exec(`
		update studies
		set sequence = ?, hash = ?, time = ?
		where row = ? and sequence = ?`,
		int64(c.head.Number), c.head.Hash, events.FormatTime(c.last), c.Row, int64(c.start))
	if err != nil {
		return fmt.Errorf("store number: %w", err)
	}
	return MustChangeOne(result, "store number")
}

// EventAt returns the event with this events.row. Only its type, id, number and time are
// set.
func (tx *Tx) EventAt(row int64) (e events.Event, err error) {
	var kind, at string
	err = tx.QueryRow(`
		select kind, id, sequence, time
		from events
		where row = ?`, row).Scan(&kind, &e.ID, &e.Number, &at)
	if errors.Is(err, sql.ErrNoRows) {
		return e, fmt.Errorf("event %d is missing", row)
	}
	if err != nil {
		return e, fmt.Errorf("look up event: %w", err)
	}
	e.Type = tx.Ledger.namespace.Type(events.Kind(kind))
	e.Time, err = events.ParseTime(at)
	return e, err
}
