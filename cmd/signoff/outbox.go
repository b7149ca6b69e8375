package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
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
	return openOutbox(ctx, c.dir(), fn)
}

// withNewOutbox is withOutbox that creates the directory if it does not exist, for the
// commands that an operator begins with.
func withNewOutbox(ctx context.Context, c *common, fn func(*outbox.Outbox) error) error {
	if c.outbox != nil {
		return fn(c.outbox)
	}
	if err := c.dir().Create(); err != nil {
		return err
	}
	return openOutbox(ctx, c.dir(), fn)
}

func openOutbox(ctx context.Context, dir datadir.Dir, fn func(*outbox.Outbox) error) error {
	o, err := outbox.Open(ctx, dir.Outbox(), outbox.Config{CheckClock: true})
	if err != nil {
		return err
	}
	return errors.Join(fn(o), o.Close())
}

// change makes one change and prints done.
func change(ctx context.Context, c *common, t console.Terminal, done string, fn func(*outbox.Outbox) error) error {
	return withOutbox(ctx, c, func(o *outbox.Outbox) error {
		if err := fn(o); err != nil {
			return err
		}
		fmt.Fprintln(t.Out, done)
		return nil
	})
}

func enabled(is bool) string {
	if is {
		return "enabled"
	}
	return "disabled"
}
