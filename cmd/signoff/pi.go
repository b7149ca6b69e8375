package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"strings"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/accounts"
)

// piCommand administers principal investigators.
type piCommand struct {
	Add      piAdd      `cmd:"" help:"Add a PI with a one-time password."`
	List     piList     `cmd:"" help:"List PIs and their studies."`
	Grant    piGrant    `cmd:"" help:"Let a PI sign for a study."`
	Revoke   piRevoke   `cmd:"" help:"No longer let a PI sign for a study."`
	Reset    piReset    `cmd:"" help:"Set a random one-time password and print it, once."`
	Password piPassword `cmd:"" help:"Choose a password; for the PI, who needs the present or a one-time password."`
	Disable  piDisable  `cmd:"" help:"Disable a PI permanently; the user name is never used again."`
}

type piAdd struct {
	User         string   `arg:"" help:"User name."`
	Name         string   `required:"" help:"Printed name, as signatures show it."`
	Study        []string `required:"" sep:"none" placeholder:"S" help:"Study the PI may sign for; repeat for more."`
	PasswordFile string   `env:"-" help:"File whose first line is the one-time password; - for standard input. A random one is printed when absent." placeholder:"F"`
}

func (cmd *piAdd) Run(ctx context.Context, c *common, t console.Terminal) error {
	oneTime, printed := rand.Text(), true // printed unless the operator has it in a file
	if cmd.PasswordFile != "" {
		var err error
		if oneTime, err = (console.PasswordFlag{PasswordFile: cmd.PasswordFile}).Read(ctx, t, cmd.User); err != nil {
			return err
		}
		printed = false
	}
	return withNewOutbox(ctx, c, func(o *outbox.Outbox) error {
		if err := o.Accounts().AddPI(ctx, console.Operator(), cmd.User, cmd.Name, cmd.Study, oneTime); err != nil {
			return err
		}
		if !printed {
			oneTime = "" // the operator has it
		}
		facts := oneTimePasswordOf(c.dir(), cmd.User, oneTime)
		return console.PrintFacts(t, facts, func(w io.Writer) {
			fmt.Fprintf(w, "PI %s may sign for %s\n", cmd.User, strings.Join(cmd.Study, ", "))
			facts.print(w)
		})
	})
}

// oneTimePassword is what an operator hands to a PI. With it the PI can only choose a
// password, and only for OneTimeFor.
type oneTimePassword struct {
	User     string `json:"user"`
	Password string `json:"password,omitempty"` // empty where the operator has it in a file

	desk string // URL of the desk that runs; empty for none
}

// oneTimePasswordOf returns the facts about a one-time password.
func oneTimePasswordOf(dir datadir.Dir, user, password string) oneTimePassword {
	running, _ := dir.Running()
	return oneTimePassword{user, password, running.DeskPublicURL}
}

func (p oneTimePassword) print(w io.Writer) {
	if p.Password != "" {
		fmt.Fprintln(w, "one-time password:", p.Password)
	}
	fmt.Fprintf(w, "It signs nothing. For %d hours it lets the PI choose a password:\n  signoff pi password %s\n", int(accounts.OneTimeFor.Hours()), p.User)
	if p.desk != "" {
		fmt.Fprintf(w, "  or in a browser at %s/password\n", p.desk)
	}
}

type piReset struct {
	User string `arg:"" help:"User name."`
}

func (cmd *piReset) Run(ctx context.Context, c *common, t console.Terminal) error {
	return withOutbox(ctx, c, func(o *outbox.Outbox) error {
		password, err := o.Accounts().ResetPassword(ctx, console.Operator(), cmd.User)
		if err != nil {
			return err
		}
		facts := oneTimePasswordOf(c.dir(), cmd.User, password)
		return console.PrintFacts(t, facts, facts.print)
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
	Study string `arg:"" help:"Study id."`
}

func (cmd *piGrant) Run(ctx context.Context, c *common, t console.Terminal) error {
	return change(ctx, c, t, fmt.Sprintf("PI %s may sign for %s", cmd.User, cmd.Study), func(o *outbox.Outbox) error {
		return o.Accounts().GrantPI(ctx, console.Operator(), cmd.User, cmd.Study)
	})
}

type piRevoke struct {
	User  string `arg:"" help:"User name."`
	Study string `arg:"" help:"Study id."`
}

func (cmd *piRevoke) Run(ctx context.Context, c *common, t console.Terminal) error {
	return change(ctx, c, t, fmt.Sprintf("PI %s may no longer sign for %s", cmd.User, cmd.Study), func(o *outbox.Outbox) error {
		return o.Accounts().RevokePI(ctx, console.Operator(), cmd.User, cmd.Study)
	})
}

type piPassword struct {
	User string `arg:"" help:"User name."`
	console.PasswordFlag
	NewPasswordFile string `env:"-" help:"File whose first line is the new password. Asked for twice when absent." placeholder:"F"`
}

// Validate returns a UsageError if both passwords are to be read from standard input.
func (cmd *piPassword) Validate() error {
	if cmd.PasswordFile == "-" && cmd.NewPasswordFile == "-" {
		return console.UsageError("--password-file and --new-password-file cannot both be standard input")
	}
	return nil
}

func (cmd *piPassword) Run(ctx context.Context, c *common, t console.Terminal) error {
	present, err := cmd.Read(ctx, t, cmd.User)
	if err != nil {
		return err
	}
	password, err := console.PasswordFlag{PasswordFile: cmd.NewPasswordFile}.ReadNew(ctx, t, cmd.User, accounts.MinPassword)
	if err != nil {
		return err
	}
	return change(ctx, c, t, "PI "+cmd.User+" has a new password", func(o *outbox.Outbox) error {
		return o.Accounts().ChoosePassword(ctx, cmd.User, present, password, localAddress)
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
