package datadir

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/poll"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// AppliedTimeout is how long a command waits for the read model.
var AppliedTimeout = 2 * time.Second

// AppliedInTime waits until a running server's read model has applied the
// access events recorded so far, and reports whether it has within
// appliedTimeout.
func AppliedInTime(ctx context.Context, dir Dir, o *outbox.Outbox) (bool, error) {
	recorded, err := o.ChainHead(ctx, events.AccessStudy)
	if err != nil {
		return false, err
	}
	m, err := readmodel.Open(ctx, dir.ReadModel(), readmodel.Config{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return false, err
	}
	patience, cancel := context.WithTimeout(ctx, AppliedTimeout)
	defer cancel()
	err = errors.Join(awaitHead(patience, m, recorded), m.Close())
	if err != nil && patience.Err() != nil && ctx.Err() == nil {
		return false, nil
	}
	return err == nil, err
}

// awaitLink waits until the read model has applied the access event.
func awaitHead(ctx context.Context, m *readmodel.Model, recorded events.ChainHead) error {
	for {
		applied, err := m.ChainHead(ctx, events.AccessStudy)
		if err != nil || applied.Number >= recorded.Number {
			return err
		}
		if err := poll.Pause(ctx); err != nil {
			return err
		}
	}
}
