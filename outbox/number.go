package outbox

import (
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
)

// chain is the end of a study's chain within a transaction: what the next
// event gets as number, time and previous hash.
type chain struct {
	w     *work
	row   int64 // studies.row
	token string
	start uint64 // the number before this transaction
	link  events.Link
	last  time.Time // of the last event; zero where there is none
	trace string    // the traceparent of the events of this transaction
}

// findStudy gives the row of a study; 0 where there is none yet.
func (w *work) findStudy(study string) (int64, error) {
	var row int64
	err := w.tx.QueryRow(`select row from studies where study = ?`, study).Scan(&row)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, fmt.Errorf("look up study: %w", err)
	}
	return row, nil
}

// ensureStudy gives the row of a study, and creates it where there is none.
func (w *work) ensureStudy(study string) (int64, error) {
	row, err := w.findStudy(study)
	if err != nil || row != 0 {
		return row, err
	}
	result, err := w.tx.Exec(`
		insert into studies (study, token)
		values (?, ?)`, study, tokenOf(study))
	if err != nil {
		return 0, fmt.Errorf("create study: %w", err)
	}
	return result.LastInsertId()
}

// tokenOf gives the token of a study; an internal one is its own.
func tokenOf(study string) string {
	if events.InternalStudy(study) {
		return study
	}
	return events.StudyToken(study)
}

// chainOf loads the end of a study's chain.
func (w *work) chainOf(row int64) (*chain, error) {
	c := &chain{w: w, row: row}
	var last string
	err := w.tx.QueryRow(`
		select token, sequence, hash, time
		from studies
		where row = ?`, row).Scan(&c.token, &c.link.Sequence, &c.link.Hash, &last)
	if err != nil {
		return nil, fmt.Errorf("load study: %w", err)
	}
	return c, c.begin(last)
}

// begin notes the state before the transaction.
func (c *chain) begin(last string) (err error) {
	c.start = c.link.Sequence
	if last != "" {
		c.last, err = events.ParseTime(last)
	}
	return err
}

// next gives the number and the time of the event that is appended next: now,
// but always later than the one before, even where the clock stands or goes
// back.
func (c *chain) next() (uint64, time.Time) {
	t := c.w.now
	if !t.After(c.last) {
		t = c.last.Add(time.Microsecond)
	}
	return c.link.Sequence + 1, t
}

// append numbers, seals and stores an event. The study's token and about, if
// not empty, name what must stay in order.
func (c *chain) append(kind events.Kind, subject, about string, data []byte) (e events.Event, row int64, err error) {
	_, e.Time = c.next()
	e.ID = c.w.o.newID()
	e.Source = c.w.o.namespace.Source(c.token)
	e.Type = c.w.o.namespace.Type(kind)
	e.Subject = subject
	e.DataContentType = kind.MediaType()
	e.Study = c.token
	if e.PartitionKey = c.token; about != "" {
		e.PartitionKey += "/" + about
	}
	e.TraceParent = c.trace
	e.Data = data
	e.Seal(c.link)
	if err := e.Validate(); err != nil {
		return e, 0, fmt.Errorf("make event: %w", err)
	}
	result, err := c.w.tx.Exec(`
		insert into events (study, sequence, kind, id, subject, time, partitionkey, previoushash, hash, traceparent, data)
		values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		c.row, int64(e.Sequence), string(kind), e.ID, e.Subject, events.FormatTime(e.Time),
		e.PartitionKey, e.PreviousHash, e.Hash, e.TraceParent, e.Data)
	if err != nil {
		return e, 0, fmt.Errorf("store event: %w", err)
	}
	c.link, c.last = e.Link(), e.Time
	row, err = result.LastInsertId()
	return e, row, err
}

// close stores the end of the chain, if the study is still where it was.
func (c *chain) close() error {
	result, err := c.w.tx.Exec(`
		update studies
		set sequence = ?, hash = ?, time = ?
		where row = ? and sequence = ?`,
		int64(c.link.Sequence), c.link.Hash, events.FormatTime(c.last), c.row, int64(c.start))
	if err != nil {
		return fmt.Errorf("store number: %w", err)
	}
	return one(result, "store number")
}
