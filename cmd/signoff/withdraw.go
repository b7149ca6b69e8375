package main

import (
	"context"
	"io"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/outbox"
)

// withdrawCommand withdraws a published assessment.
type withdrawCommand struct {
	ID     string `arg:"" help:"Assessment id."`
	As     string `required:"" help:"User name of the PI." placeholder:"USER"`
	Reason string `required:"" help:"Why it is withdrawn; partners see this." placeholder:"\"…\""`
	console.PasswordFlag
}

func (cmd *withdrawCommand) Run(ctx context.Context, c *common, t console.Terminal) error {
	password, err := cmd.Read(t, cmd.As, false)
	if err != nil {
		return err
	}
	return withOutbox(ctx, c, func(o *outbox.Outbox) error {
		if _, err := o.Accounts().Authenticate(ctx, cmd.As, password, localAddress); err != nil {
			return err
		}
		signed, err := o.Withdraw(ctx, outbox.Withdrawal{User: cmd.As, ID: cmd.ID, Reason: cmd.Reason})
		if err != nil {
			return err
		}
		return console.PrintFacts(t, signed, func(w io.Writer) {
			_, _ = io.WriteString(w, "assessment "+signed.ID+" is withdrawn; partners receive that as an event\n")
		})
	})
}
