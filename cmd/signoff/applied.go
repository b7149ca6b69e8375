package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// appliedTimeout is how long a command waits for the read model.
const appliedTimeout = 2 * time.Second

// awaitApplied returns once a running server's read model has applied the
// access events recorded so far. When it takes longer, or no server is
// running, it says what will happen.
func awaitApplied(ctx context.Context, c *common, t terminal, o *outbox.Outbox) error {
	if _, ok := c.dir().running(); !ok {
		fmt.Fprintln(t.err, "no server is running: it takes effect when signoff serve starts")
		return nil
	}
	recorded, err := o.Link(ctx, events.AccessStudy)
	if err != nil {
		return err
	}
	m, err := readmodel.Open(ctx, c.dir().readModel(), readmodel.Config{Log: quiet})
	if err != nil {
		return err
	}
	patience, cancel := context.WithTimeout(ctx, appliedTimeout)
	defer cancel()
	err = errors.Join(awaitLink(patience, m, recorded), m.Close())
	if err != nil && patience.Err() != nil && ctx.Err() == nil {
		fmt.Fprintf(t.err, "recorded, but not in effect yet: the server has not applied it within %s; see signoff status\n", appliedTimeout)
		return nil
	}
	return err
}

// awaitLink waits until the read model has applied the access event.
func awaitLink(ctx context.Context, m *readmodel.Model, recorded events.Link) error {
	for {
		applied, err := m.Link(ctx, events.AccessStudy)
		if err != nil || applied.Sequence >= recorded.Sequence {
			return err
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}
