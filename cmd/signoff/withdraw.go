package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// withdrawCommand withdraws a signed assessment. What is withdrawn is the version that was
// signed last when the command started, which it prints before it asks for the password.
type withdrawCommand struct {
	ID      string `arg:"" help:"Assessment id."`
	As      string `env:"-" required:"" help:"User name of the PI." placeholder:"USER"`
	Meaning string `env:"-" required:"" help:"What this signature means; partners see it." placeholder:"\"…\""`
	Reason  string `env:"-" required:"" help:"Why; partners see it." placeholder:"\"…\""`
	console.PasswordFlag
}

// Validate returns a UsageError for an id with a version. Only sign accepts one.
func (cmd *withdrawCommand) Validate() error {
	if id, _, versioned := strings.Cut(cmd.ID, "@"); versioned {
		return console.UsageError("name the assessment without a version, as " + strconv.Quote(id) + ": the version that was signed last is withdrawn")
	}
	return nil
}

func (cmd *withdrawCommand) Run(ctx context.Context, c *common, t console.Terminal) error {
	if err := cmp.Or(events.ValidMeaning(cmd.Meaning), events.ValidReason(cmd.Reason)); err != nil {
		return console.UsageError("--" + err.Error())
	}
	if err := cmd.Check(t); err != nil {
		return err
	}
	return withOutbox(ctx, c, func(o *outbox.Outbox) error {
		versions, err := o.Reviews().Versions(ctx, cmd.ID)
		if err != nil {
			return err
		}
		last := lastSigned(versions)
		if last == nil {
			return events.Errorf(events.Conflict, "assessment %s was never signed, so there is nothing to withdraw", cmd.ID)
		}
		fmt.Fprintln(t.Err, "To be withdrawn:")
		printWaiting(t.Err, []review.Waiting{last.Waiting})
		password, err := cmd.Read(ctx, t, cmd.As)
		if err != nil {
			return err
		}
		credential, err := authenticate(ctx, t, o, cmd.As, password)
		if err != nil {
			return err
		}
		signed, err := o.Withdraw(ctx, outbox.Withdrawal{
			User: cmd.As, Credential: credential, ID: cmd.ID, Meaning: cmd.Meaning, Reason: cmd.Reason, Registration: last.Registration,
		})
		if err != nil {
			return err
		}
		err = console.PrintFacts(t, signed, func(w io.Writer) {
			fmt.Fprintf(w, "assessment %s, %s, is withdrawn: event %d of study %s\n", signed.ID, signed.Version, signed.Sequence, signed.Study)
		})
		warnUnpublished(ctx, c, t) // it is withdrawn, even if that could not be printed
		return err
	})
}

// lastSigned returns the version that was signed last, or nil.
func lastSigned(versions []review.Version) *review.Version {
	var last *review.Version
	for i := range versions {
		v := &versions[i]
		if v.Signature != nil && (last == nil || v.Number > last.Number) {
			last = v
		}
	}
	return last
}
