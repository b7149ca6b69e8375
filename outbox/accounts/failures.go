package accounts

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
)

// Kinds of sign-ins.
const (
	kindUser   = "user"
	kindClient = "client"
)

// attempt is an attempt to sign in. A name is locked for one address only, so
// that failures from elsewhere cannot lock its owner out.
type attempt struct {
	kind    string
	name    string // empty where it is malformed, and so not anybody's
	address string // as access.Place returns it
}

// failures returns how many failures in a row count against the attempt, or a
// Throttled Error while it is locked.
func (acc *Accounts) failures(ctx context.Context, a attempt) (int, error) {
	wrong, err := findFailures(ctx, acc.ledger.DB.Reader, a)
	if err != nil || wrong.Count == 0 {
		return 0, err
	}
	if wait := access.LockingSignIns.Wait(wrong, acc.ledger.Now()); wait > 0 {
		acc.failed.WithLabelValues(a.kind, "locked").Inc()
		return 0, &events.Error{
			Code: events.Throttled, Message: "too many failed sign-ins; try again later", RetryAfter: wait,
		}
	}
	return wrong.Count, nil
}

// findFailures returns the wrong attempts that are stored for the attempt.
func findFailures(ctx context.Context, q database.Querier, a attempt) (wrong access.WrongAttempts, err error) {
	var last string
	err = q.QueryRowContext(ctx, `
		select count, time
		from failures
		where kind = ? and name = ? and address = ?`, a.kind, a.name, a.address).Scan(&wrong.Count, &last)
	if errors.Is(err, sql.ErrNoRows) {
		return wrong, nil
	}
	if err != nil {
		return wrong, fmt.Errorf("look up failed sign-ins: %w", err)
	}
	wrong.Last, err = events.ParseTime(last)
	return wrong, err
}

// fail records a failed attempt and returns the Unauthenticated Error for it.
// The reason is for the audit trail only.
func (acc *Accounts) fail(ctx context.Context, a attempt, reason, message string) error {
	err := acc.ledger.Update(ctx, "record failed sign-in", func(tx *ledger.Tx) error { return recordFailure(ctx, tx, a, reason) })
	if err != nil {
		return err
	}
	acc.failed.WithLabelValues(a.kind, "refused").Inc()
	return events.Errorf(events.Unauthenticated, "%s", message)
}

// recordFailure counts the failure and audits it, and deletes the counts that the
// policy has forgotten, so that the table stays small.
func recordFailure(ctx context.Context, tx *ledger.Tx, a attempt, reason string) error {
	wrong, err := findFailures(ctx, tx, a)
	if err != nil {
		return err
	}
	wrong = access.LockingSignIns.Add(wrong, tx.Now)
	forgotten := events.FormatTime(tx.Now.Add(-access.LockingSignIns.Forget))
	if _, err := tx.Exec(`delete from failures where time <= ?`, forgotten); err != nil {
		return err
	}
	_, err = tx.Exec(`
		insert into failures (kind, name, address, count, time)
		values (?, ?, ?, ?, ?)
		on conflict (kind, name, address) do update
		set count = excluded.count, time = excluded.time`, a.kind, a.name, a.address, wrong.Count, events.FormatTime(wrong.Last))
	if err != nil {
		return err
	}
	detail := struct {
		Kind    string `json:"kind"`
		Address string `json:"address"`
		Reason  string `json:"reason"`
	}{a.kind, a.address, reason}
	if err := tx.Audit(ledger.Line{Actor: a.name, Action: actionFailed, Subject: a.name, Detail: detail}); err != nil {
		return err
	}
	if !access.LockingSignIns.Slows(wrong) {
		return nil
	}
	return tx.Audit(ledger.Line{Actor: a.name, Action: actionLocked, Subject: a.name, Detail: detail})
}

// forgetFailures sets the failures in a row to none, after a success.
func (acc *Accounts) forgetFailures(ctx context.Context, a attempt) error {
	return acc.ledger.Update(ctx, "record sign-in", func(tx *ledger.Tx) error {
		_, err := tx.Exec(`
			delete from failures
			where kind = ? and name = ? and address = ?`, a.kind, a.name, a.address)
		return err
	})
}
