package main

import (
	"context"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/outbox"
)

// releaseCommand makes the publisher try a parked study again, once the cause is repaired.
type releaseCommand struct {
	Study string `arg:"" help:"Study id or study key, as signoff status prints them."`
}

func (cmd *releaseCommand) Run(ctx context.Context, c *common, t console.Terminal) error {
	return change(ctx, c, t, "study "+cmd.Study+" is released as soon as no event is being published", func(o *outbox.Outbox) error {
		return o.RequestRelease(ctx, console.Operator(), cmd.Study)
	})
}
