package main

import (
	"context"

	"github.com/seed-e88a4ece/signoff/outbox"
)

// releaseCommand lets the relay try a parked study again, once whatever kept
// its event from being published is mended.
type releaseCommand struct {
	Study string `arg:"" help:"Study number, or study key, as signoff status shows them."`
}

func (cmd *releaseCommand) Run(ctx context.Context, c *common, t terminal) error {
	return change(ctx, c, t, "study "+cmd.Study+" is released once nothing is in flight", func(o *outbox.Outbox) error {
		return o.RequestRelease(ctx, operator(), cmd.Study)
	})
}
