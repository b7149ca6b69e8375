package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/natsflags"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/server"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/server/admission"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// rebuildCommand makes the read model anew from the stream, with or without a running
// server. Until the new one is complete, readers see the old one. While the publisher is
// refilling the stream from the outbox, the command waits. It does not replace the read
// model by one that ends at an earlier event, or before the last event that the outbox has
// recorded as published.
type rebuildCommand struct {
	natsflags.Flags
	Insecure bool `help:"Allow plain text to a NATS server on another machine."`
}

func (cmd *rebuildCommand) Run(ctx context.Context, c *common, t console.Terminal) error {
	dir := c.dir()
	if err := dir.MustExist(); err != nil {
		return err
	}
	if err := cmd.Check(ctx, cmd.Insecure); err != nil {
		return err
	}
	start, err := startOf(ctx, dir)
	if err != nil {
		return err
	}
	return server.WithStream(ctx, dir, cmd.Flags, func(js jetstream.JetStream) error {
		bar := console.NewProgress(t, "applying events", 0)
		var applied uint64
		err := readmodel.Rebuild(ctx, dir.ReadModel(), js, readmodel.Config{Recorded: start.Position(), Log: slog.New(slog.DiscardHandler)}, func(done, total uint64) {
			applied = done
			bar.To(int64(done), int64(total))
		})
		bar.End()
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(t.Out, "the read model is rebuilt from %s\n", console.Plural(int(applied), "event"))
		return err
	})
}

// startOf returns the Start of the outbox, with the event that it has recorded as published
// last. The new read model must reach that event, whatever the state of the old one.
func startOf(ctx context.Context, dir datadir.Dir) (admission.Start, error) {
	o, err := outbox.Open(ctx, dir.Outbox(), outbox.Config{})
	if err != nil {
		return admission.Start{}, err
	}
	s, err := admission.ReadStart(ctx, o)
	return s, errors.Join(err, o.Close())
}
