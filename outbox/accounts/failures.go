package accounts

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
)

// A name is locked for one address only, so that failures from elsewhere cannot
// lock its owner out.
const (
	maxFailures = 5
	lockFor     = 15 * time.Minute // also how long failures count as "in a row"
)

// Kinds of sign-ins.
const (
	kindUser   = "user"
	kindClient = "client"
)

// attempt is an attempt to sign in.
type attempt struct {
	kind    string
	name    string // empty where it is malformed, and so not anybody's
	address string // as access.Place returns it
}

// failures returns how many failures in a row count against the attempt, or a
// Throttled Error while it is locked.
func (acc *Accounts) failures(ctx context.Context, a attempt) (int, error) {
	var count int
	var last string
	err := acc.ledger.DB.Reader.QueryRowContext(ctx, `
		select count, time
		from failures
		where kind = ? and name = ? and address = ?`, a.kind, a.name, a.address).Scan(&count, &last)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look up failed sign-ins: %w", err)
	}
	at, err := events.ParseTime(last)
	if err != nil {
		return 0, err
	}
	if left := min(at.Add(lockFor).Sub(acc.ledger.Now()), lockFor); count >= maxFailures && left > 0 {
		acc.failed.WithLabelValues(a.kind, "locked").Inc()
		return 0, &events.Error{
			Code: events.Throttled, Message: "too many failed sign-ins; try again later", RetryAfter: left,
		}
	}
	return count, nil
}

// fail records a failed attempt and returns the Unauthenticated Error for it.
// The reason is for the audit trail only.
func (acc *Accounts) fail(ctx context.Context, a attempt, reason, message string) error {
	err := acc.ledger.Update(ctx, "record failed sign-in", func(tx *ledger.Tx) error { return recordFailure(tx, a, reason) })
	if err != nil {
		return err
	}
	acc.failed.WithLabelValues(a.kind, "refused").Inc()
	return events.Errorf(events.Unauthenticated, "%s", message)
}

func recordFailure(tx *ledger.Tx, a attempt, reason string) error {
	forgotten := events.FormatTime(tx.Now.Add(-lockFor))
	if _, err := tx.Exec(`delete from failures where time <= ?`, forgotten); err != nil {
		return err
	}
	var count int
	err := tx.QueryRow(`
		insert into failures (kind, name, address, count, time)
		values (?, ?, ?, 1, ?)
		on conflict (kind, name, address) do update
		set count = failures.count + 1, time = excluded.time
		returning count`, a.kind, a.name, a.address, events.FormatTime(tx.Now)).Scan(&count)
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
	if count != maxFailures {
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
