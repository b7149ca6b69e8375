package main

import (
	"context"
	"io"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/outbox"
)

// withdrawCommand takes a published assessment back.
type withdrawCommand struct {
	ID     string `arg:"" help:"Assessment id."`
	As     string `required:"" help:"User name of the PI." placeholder:"USER"`
	Reason string `required:"" help:"Why; partners see it." placeholder:"\"…\""`
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
		signed, err := o.Withdraw(ctx, outbox.Withdrawal{User: cmd.As, ID: cmd.ID, Meaning: cmd.Meaning, Reason: cmd.Reason})
		if err != nil {
			return err
		}
		return console.PrintFacts(t, signed, func(w io.Writer) {
			_, _ = io.WriteString(w, "assessment "+signed.ID+" is withdrawn; partners are told\n")
		})
	})
}
