package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
)

// A name is locked for one address only: whoever fails from elsewhere cannot
// lock its owner out.
const (
	maxFailures = 5
	lockFor     = 15 * time.Minute // also how long failures count as "in a row"
)

// What signs in.
const (
	kindUser   = "user"
	kindClient = "client"
)

// attempt is who tries to sign in as whom, from where.
type attempt struct {
	kind    string
	name    string // empty where it is malformed and so nobody's
	address string // as access.Place gives it
}

// failures gives how many failures in a row count against the attempt, or a
// Throttled Error while it is locked.
func (o *Outbox) failures(ctx context.Context, a attempt) (int, error) {
	var count int
	var last string
	err := o.db.Reader.QueryRowContext(ctx, `
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
	if left := min(at.Add(lockFor).Sub(o.now()), lockFor); count >= maxFailures && left > 0 {
		o.counters.failure(a.kind, "locked")
		return 0, &events.Error{
			Code: events.Throttled, Message: "too many failed sign-ins; try again later", RetryAfter: left,
		}
	}
	return count, nil
}

// fail records a failed attempt and gives the Unauthenticated Error for it.
// The reason is for the audit trail only.
func (o *Outbox) fail(ctx context.Context, a attempt, reason, message string) error {
	err := o.update(ctx, "record failed sign-in", func(w *work) error { return w.fail(a, reason) })
	if err != nil {
		return err
	}
	o.counters.failure(a.kind, "refused")
	return events.Errorf(events.Unauthenticated, "%s", message)
}

func (w *work) fail(a attempt, reason string) error {
	forgotten := events.FormatTime(w.now.Add(-lockFor))
	if _, err := w.tx.Exec(`delete from failures where time <= ?`, forgotten); err != nil {
		return err
	}
	var count int
	err := w.tx.QueryRow(`
		insert into failures (kind, name, address, count, time)
		values (?, ?, ?, 1, ?)
		on conflict do update
		set count = count + 1, time = excluded.time
		returning count`, a.kind, a.name, a.address, events.FormatTime(w.now)).Scan(&count)
	if err != nil {
		return err
	}
	detail := struct {
		Kind    string `json:"kind"`
		Address string `json:"address"`
		Reason  string `json:"reason"`
	}{a.kind, a.address, reason}
	if err := w.audit(entry{actor: a.name, action: actionFailed, subject: a.name, detail: detail}); err != nil {
		return err
	}
	if count != maxFailures {
		return nil
	}
	return w.audit(entry{actor: a.name, action: actionLocked, subject: a.name, detail: detail})
}

// forgetFailures ends the row of failures after a success.
func (o *Outbox) forgetFailures(ctx context.Context, a attempt) error {
	return o.update(ctx, "record sign-in", func(w *work) error {
		_, err := w.tx.Exec(`
			delete from failures
			where kind = ? and name = ? and address = ?`, a.kind, a.name, a.address)
		return err
	})
}
