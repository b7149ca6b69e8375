package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/accounts"
)

// piCommand administers principal investigators.
type piCommand struct {
	Add      piAdd      `cmd:"" help:"Add a PI."`
	List     piList     `cmd:"" help:"List PIs and their studies."`
	Grant    piGrant    `cmd:"" help:"Let a PI sign for a study."`
	Revoke   piRevoke   `cmd:"" help:"No longer let a PI sign for a study."`
	Password piPassword `cmd:"" help:"Set a PI's password."`
	Disable  piDisable  `cmd:"" help:"Disable a PI permanently; the user name is never used again."`
}

type piAdd struct {
	User  string   `arg:"" help:"User name."`
	Name  string   `required:"" help:"Printed name, as signatures show it."`
	Study []string `required:"" sep:"none" placeholder:"S" help:"Study the PI may sign for; repeat for more."`
	console.PasswordFlag
}

func (cmd *piAdd) Run(ctx context.Context, c *common, t console.Terminal) error {
	password, err := cmd.ReadNew(ctx, t, cmd.User, accounts.MinPassword)
	if err != nil {
		return err
	}
	return withNewOutbox(ctx, c, func(o *outbox.Outbox) error {
		if err := o.Accounts().AddPI(ctx, console.Operator(), cmd.User, cmd.Name, cmd.Study, password); err != nil {
			return err
		}
		fmt.Fprintf(t.Out, "PI %s may sign for %s\n", cmd.User, strings.Join(cmd.Study, ", "))
		return nil
	})
}

type piList struct{}

func (cmd *piList) Run(ctx context.Context, c *common, t console.Terminal) error {
	return withOutbox(ctx, c, func(o *outbox.Outbox) error {
		people, err := o.Accounts().PIs(ctx)
		if err != nil {
			return err
		}
		return console.PrintFacts(t, people, func(w io.Writer) {
			rows := make([][]string, len(people))
			for i, p := range people {
				rows[i] = []string{p.User, p.Name, enabled(!p.Disabled), strings.Join(p.Studies, " ")}
			}
			console.Table(w, []string{"USER", "NAME", "STATE", "STUDIES"}, rows)
		})
	})
}

type piGrant struct {
	User  string `arg:"" help:"User name."`
	Study string `arg:"" help:"Study number."`
}

func (cmd *piGrant) Run(ctx context.Context, c *common, t console.Terminal) error {
	return change(ctx, c, t, fmt.Sprintf("PI %s may sign for %s", cmd.User, cmd.Study), func(o *outbox.Outbox) error {
		return o.Accounts().GrantPI(ctx, console.Operator(), cmd.User, cmd.Study)
	})
}

type piRevoke struct {
	User  string `arg:"" help:"User name."`
	Study string `arg:"" help:"Study number."`
}

func (cmd *piRevoke) Run(ctx context.Context, c *common, t console.Terminal) error {
	return change(ctx, c, t, fmt.Sprintf("PI %s may no longer sign for %s", cmd.User, cmd.Study), func(o *outbox.Outbox) error {
		return o.Accounts().RevokePI(ctx, console.Operator(), cmd.User, cmd.Study)
	})
}

type piPassword struct {
	User string `arg:"" help:"User name."`
	console.PasswordFlag
}

func (cmd *piPassword) Run(ctx context.Context, c *common, t console.Terminal) error {
	password, err := cmd.ReadNew(ctx, t, cmd.User, accounts.MinPassword)
	if err != nil {
		return err
	}
	return change(ctx, c, t, "PI "+cmd.User+" has a new password", func(o *outbox.Outbox) error {
		return o.Accounts().SetPassword(ctx, console.Operator(), cmd.User, password)
	})
}

type piDisable struct {
	User string `arg:"" help:"User name."`
}

func (cmd *piDisable) Run(ctx context.Context, c *common, t console.Terminal) error {
	return change(ctx, c, t, "PI "+cmd.User+" is disabled", func(o *outbox.Outbox) error {
		return o.Accounts().DisablePI(ctx, console.Operator(), cmd.User)
	})
}
