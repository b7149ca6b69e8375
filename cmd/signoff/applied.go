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
var appliedTimeout = 2 * time.Second

// awaitApplied returns once a running server's read model has applied the
// access events recorded so far. When it takes longer, or no server is
// running, it says what will happen.
func awaitApplied(ctx context.Context, c *common, t terminal, o *outbox.Outbox) error {
	server, ok := c.dir().running()
	if !ok {
		fmt.Fprintln(t.err, "no server is running: it takes effect when signoff serve starts")
		return nil
	}
	if server.Outside != nil {
		fmt.Fprintln(t.err, "on NATS, what is new begins when the servers have reloaded: signoff nats-config")
	}
	applied, err := appliedInTime(ctx, c.dir(), o)
	if err == nil && !applied {
		fmt.Fprintf(t.err, "recorded, but not in effect yet: the server has not applied it within %s; see signoff status\n", appliedTimeout)
	}
	return err
}

// appliedInTime waits until a running server's read model has applied the
// access events recorded so far, and reports whether it has within
// appliedTimeout.
func appliedInTime(ctx context.Context, dir dataDir, o *outbox.Outbox) (bool, error) {
	recorded, err := o.ChainHead(ctx, events.AccessStudy)
	if err != nil {
		return false, err
	}
	m, err := readmodel.Open(ctx, dir.readModel(), readmodel.Config{Log: quiet})
	if err != nil {
		return false, err
	}
	patience, cancel := context.WithTimeout(ctx, appliedTimeout)
	defer cancel()
	err = errors.Join(m.WaitForChainHead(patience, events.AccessStudy, recorded), m.Close())
	if err != nil && patience.Err() != nil && ctx.Err() == nil {
		return false, nil
	}
	return err == nil, err
}
