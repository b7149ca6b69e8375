package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/sqlite"
)

// work is a write transaction and the one moment at which it happens. Its
// statements have no context: an interrupted one would undo the work of those
// who share the transaction.
type work struct {
	o   *Outbox
	tx  *sqlx.Tx
	now time.Time // UTC, to the microsecond
}

func (o *Outbox) work(tx *sqlx.Tx) *work { return &work{o: o, tx: tx, now: o.now()} }

func (o *Outbox) now() time.Time { return o.clock().UTC().Truncate(time.Microsecond) }

// update runs fn in a transaction and wakes whoever waits for events.
func (o *Outbox) update(ctx context.Context, verb string, fn func(*work) error) error {
	err := o.db.Update(ctx, func(tx *sqlx.Tx) error { return fn(o.work(tx)) })
	if err != nil {
		return explain(verb, err)
	}
	o.Wake()
	return nil
}

// explain wraps err with the verb. A fault of the database that may pass
// becomes Unavailable; a refusal stays what it is.
func explain(verb string, err error) error {
	for _, passing := range []error{sqlite.ErrBusy, sqlite.ErrFull, sqlite.ErrReadOnly, sqlite.ErrClosed} {
		if errors.Is(err, passing) {
			return &events.Error{
				Code:    events.Unavailable,
				Message: "nothing was recorded: " + passing.Error(),
				Err:     fmt.Errorf("%s: %w", verb, err),
			}
		}
	}
	var refusal *events.Error
	if errors.As(err, &refusal) {
		return err
	}
	return fmt.Errorf("%s: %w", verb, err)
}

// one reports an error unless a compare-and-swap has changed exactly one row.
func one(result interface{ RowsAffected() (int64, error) }, what string) error {
	n, err := result.RowsAffected()
	if err != nil {
		return err
	}
	if n != 1 {
		return fmt.Errorf("%s: changed %d rows instead of one", what, n)
	}
	return nil
}
