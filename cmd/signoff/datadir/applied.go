package datadir

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// AppliedTimeout is how long AppliedInTime waits for the read model.
var AppliedTimeout = 2 * time.Second

// AppliedInTime waits until the running server's read model has applied the access
// events that are in the outbox now. It reports whether that happened within
// AppliedTimeout. It follows the server by reading the read model's database.
func AppliedInTime(ctx context.Context, dir Dir, o *outbox.Outbox) (bool, error) {
	recorded, err := o.ChainHead(ctx, events.AccessStudy)
	if err != nil {
		return false, err
	}
	m, err := readmodel.Open(ctx, dir.ReadModel(), readmodel.Config{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return false, err
	}
	waiting, cancel := context.WithTimeout(ctx, AppliedTimeout)
	defer cancel()
	err = errors.Join(m.WaitForChainHead(waiting, events.AccessStudy, recorded), m.Close())
	if err != nil && waiting.Err() != nil && ctx.Err() == nil {
		return false, nil // AppliedTimeout has passed
	}
	return err == nil, err
}
