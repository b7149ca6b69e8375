package main

import (
	"context"
	"fmt"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/outbox"
)

// withOutbox opens the outbox of an existing data directory for one command. A server may
// be running on it: both write the same database.
func withOutbox(ctx context.Context, c *common, fn func(*outbox.Outbox) error) error {
	if c.outbox != nil {
		return fn(c.outbox)
	}
	if err := c.dir().MustExist(); err != nil {
		return err
	}
	return c.dir().WithOutbox(ctx, fn)
}

// withNewOutbox does what withOutbox does, but creates the directory and the outbox if they
// do not exist. It is for the commands with which an operator begins.
func withNewOutbox(ctx context.Context, c *common, fn func(*outbox.Outbox) error) error {
	if c.outbox != nil {
		return fn(c.outbox)
	}
	if err := c.dir().Create(); err != nil {
		return err
	}
	return c.dir().WithOutbox(ctx, fn)
}

// change calls fn with the outbox and, if it succeeds, prints done.
func change(ctx context.Context, c *common, t console.Terminal, done string, fn func(*outbox.Outbox) error) error {
	return withOutbox(ctx, c, func(o *outbox.Outbox) error {
		if err := fn(o); err != nil {
			return err
		}
		fmt.Fprintln(t.Out, done)
		return nil
	})
}

// enabled returns the state that lists of PIs and partners show.
func enabled(is bool) string {
	if is {
		return "enabled"
	}
	return "disabled"
}
