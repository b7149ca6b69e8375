package datadir

import (
	"context"
	"errors"

	"github.com/seed-e88a4ece/signoff/outbox"
)

// WithOutbox opens the outbox for one call of fn, with the check of the clock, and creates
// it if there is none. The directory must exist. A server may be running on it: both write
// the same database.
func (d Dir) WithOutbox(ctx context.Context, fn func(*outbox.Outbox) error) error {
	o, err := outbox.Open(ctx, d.Outbox(), outbox.Config{CheckClock: true})
	if err != nil {
		return err
	}
	return errors.Join(fn(o), o.Close())
}
