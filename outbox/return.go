package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// Return is a request of a PI to return the waiting version of an assessment to its
// source, because it is to be corrected before it is signed. It is no signature.
type Return struct {
	User   string // of the PI, who was authenticated by the caller
	ID     string // of the assessment
	Reason string

	// Tag, if not empty, is review.Case.Tag of the assessment that the PI has seen. If it
	// has another one by now, and the version was not returned, Return returns a Stale Error.
	Tag string
}

// Return returns the waiting version of an assessment to its source. It does not wait
// from then on and cannot be signed. It waits again when it, or another version, is
// registered. Nothing is published; the audit trail and Reviews have the reason.
//
// For the same return again, the answer is the first one. The error is NotFound, Forbidden
// as in SignOff, or a Conflict where nothing waits.
func (o *Outbox) Return(ctx context.Context, r Return) (record review.ReturnRecord, err error) {
	if err := events.ValidReason(r.Reason); err != nil {
		return record, err
	}
	err = o.update(ctx, "return assessment", func(tx *transaction) (err error) {
		record, err = tx.returnWaiting(r)
		return err
	})
	return record, err
}

func (tx *transaction) returnWaiting(r Return) (review.ReturnRecord, error) {
	c, err := tx.load(r.ID, r.User)
	if err != nil {
		return review.ReturnRecord{}, err
	}
	if err := c.authorize(r.User, ""); err != nil {
		return review.ReturnRecord{}, err
	}
	if c.waiting == 0 {
		return tx.firstReturn(c, r)
	}
	if err := tx.checkTag(r.Tag, c.id); err != nil {
		return review.ReturnRecord{}, err
	}
	record := review.ReturnRecord{User: r.User, Name: c.signer, Time: tx.Now, Reason: r.Reason}
	_, err = tx.Exec(`
		insert into returns (version, "user", name, reason, time)
		values (?, ?, ?, ?, ?)`, c.waiting, record.User, record.Name, record.Reason, events.FormatTime(record.Time))
	if err != nil {
		return review.ReturnRecord{}, fmt.Errorf("store return: %w", err)
	}
	result, err := tx.Exec(`
		update assessments
		set waiting = null
		where id = ? and waiting = ?`, c.id, c.waiting)
	if err != nil {
		return review.ReturnRecord{}, fmt.Errorf("store state: %w", err)
	}
	if err := ledger.MustChangeOne(result, "store state"); err != nil {
		return review.ReturnRecord{}, err
	}
	return record, tx.Audit(ledger.Line{
		Actor: r.User, Action: actionReturned, Study: c.study, Subject: c.id, Version: c.waiting,
		Detail: struct {
			Reason string `json:"reason"`
		}{r.Reason},
	})
}

// firstReturn returns the answer to the same return again, if that was the last thing
// that happened to the candidate, of which nothing waits. The error is a Conflict if not.
func (tx *transaction) firstReturn(c *candidate, r Return) (review.ReturnRecord, error) {
	last, err := tx.lastReturn(c)
	switch {
	case err != nil:
		return review.ReturnRecord{}, err
	case last.User == "":
		return review.ReturnRecord{}, events.Errorf(events.Conflict, "no version of assessment %s waits; %s", c.id, c.whatWasSigned())
	case last.User != r.User || last.Reason != r.Reason:
		return review.ReturnRecord{}, alreadyReturned(c, last)
	default:
		return last, nil
	}
}

// lastReturn returns the return of the candidate's version that was registered last, or the
// zero record if that version was not returned.
func (tx *transaction) lastReturn(c *candidate) (last review.ReturnRecord, err error) {
	var at string
	err = tx.QueryRow(`
		select "user", name, reason, time
		from returns
		where version = (select max(row) from versions where assessment = ?)`, c.id).
		Scan(&last.User, &last.Name, &last.Reason, &at)
	if errors.Is(err, sql.ErrNoRows) {
		return last, nil
	}
	if err != nil {
		return last, fmt.Errorf("look up return: %w", err)
	}
	last.Time, err = events.ParseTime(at)
	return last, err
}

// alreadyReturned returns the Conflict for an assessment of which nothing waits because
// its last version was returned.
func alreadyReturned(c *candidate, last review.ReturnRecord) error {
	return events.Errorf(events.Conflict, "assessment %s was returned to its source by %s at %s: %s; it waits again when it is registered again",
		c.id, last.User, events.FormatTime(last.Time), last.Reason)
}
