// Package source has the commands that administer source systems, which hand in
// assessments over HTTP. A change takes effect at once, because the server looks up the
// grants of a source with each request.
package source

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/accounts"
)

// Command administers source systems.
type Command struct {
	Add    add    `cmd:"" help:"Add a source and print its secret, once."`
	Grant  grant  `cmd:"" help:"Let a source hand in assessments of a study."`
	Revoke revoke `cmd:"" help:"No longer let a source hand in assessments of a study; what it has handed in stays."`
	Rotate rotate `cmd:"" help:"Make a new secret for a source and print it, once; the former one ends at once."`
	Remove remove `cmd:"" help:"Remove a source permanently; the id is never used again."`
	List   list   `cmd:"" help:"List sources and their studies."`
}

type add struct {
	ID    string   `arg:"" help:"Source id: letters, digits, - and _, at most 64."`
	Study []string `required:"" sep:"none" placeholder:"S" help:"Study of which the source hands in assessments; repeat for more."`
}

func (cmd *add) Run(ctx context.Context, dir datadir.Dir, t console.Terminal) error {
	if err := dir.Create(); err != nil {
		return err
	}
	return dir.WithOutbox(ctx, func(o *outbox.Outbox) error {
		secret, err := o.Accounts().AddSource(ctx, console.Operator(), cmd.ID, cmd.Study)
		if err != nil {
			return err
		}
		return printSecret(t, cmd.ID, secret)
	})
}

type grant struct {
	ID    string `arg:"" help:"Source id."`
	Study string `arg:"" help:"Study id."`
}

func (cmd *grant) Run(ctx context.Context, dir datadir.Dir, t console.Terminal) error {
	return change(ctx, dir, t, fmt.Sprintf("source %s may hand in assessments of %s", cmd.ID, cmd.Study), func(acc *accounts.Accounts) error {
		return acc.GrantSource(ctx, console.Operator(), cmd.ID, cmd.Study)
	})
}

type revoke struct {
	ID    string `arg:"" help:"Source id."`
	Study string `arg:"" help:"Study id."`
}

func (cmd *revoke) Run(ctx context.Context, dir datadir.Dir, t console.Terminal) error {
	return change(ctx, dir, t, fmt.Sprintf("source %s may no longer hand in assessments of %s", cmd.ID, cmd.Study), func(acc *accounts.Accounts) error {
		return acc.RevokeSource(ctx, console.Operator(), cmd.ID, cmd.Study)
	})
}

type rotate struct {
	ID string `arg:"" help:"Source id."`
}

func (cmd *rotate) Run(ctx context.Context, dir datadir.Dir, t console.Terminal) error {
	return with(ctx, dir, func(acc *accounts.Accounts) error {
		secret, err := acc.RotateSource(ctx, console.Operator(), cmd.ID)
		if err != nil {
			return err
		}
		return printSecret(t, cmd.ID, secret)
	})
}

type remove struct {
	ID string `arg:"" help:"Source id."`
}

func (cmd *remove) Run(ctx context.Context, dir datadir.Dir, t console.Terminal) error {
	return change(ctx, dir, t, "source "+cmd.ID+" is removed", func(acc *accounts.Accounts) error {
		return acc.RemoveSource(ctx, console.Operator(), cmd.ID)
	})
}

type list struct{}

func (cmd *list) Run(ctx context.Context, dir datadir.Dir, t console.Terminal) error {
	return with(ctx, dir, func(acc *accounts.Accounts) error {
		sources, err := acc.Sources(ctx)
		if err != nil {
			return err
		}
		return console.PrintFacts(t, sources, func(w io.Writer) {
			text := make([][]string, len(sources))
			for i, s := range sources {
				state := "enabled"
				if s.Removed {
					state = "removed"
				}
				text[i] = []string{s.ID, state, strings.Join(s.Studies, " ")}
			}
			console.Table(w, []string{"SOURCE", "STATE", "STUDIES"}, text)
		})
	})
}

// with calls fn with the accounts of an existing data directory.
func with(ctx context.Context, dir datadir.Dir, fn func(*accounts.Accounts) error) error {
	if err := dir.MustExist(); err != nil {
		return err
	}
	return dir.WithOutbox(ctx, func(o *outbox.Outbox) error { return fn(o.Accounts()) })
}

// change does what with does, and then prints done.
func change(ctx context.Context, dir datadir.Dir, t console.Terminal, done string, fn func(*accounts.Accounts) error) error {
	return with(ctx, dir, func(acc *accounts.Accounts) error {
		if err := fn(acc); err != nil {
			return err
		}
		fmt.Fprintln(t.Out, done)
		return nil
	})
}

// Credentials are those of a source. They are printed only when the secret is made,
// because the program stores just a digest of it.
type Credentials struct {
	ID            string `json:"id"`
	Secret        string `json:"secret"`
	Authorization string `json:"authorization"` // the header of its requests
}

func printSecret(t console.Terminal, id, secret string) error {
	c := Credentials{id, secret, "Bearer " + id + "." + secret}
	return console.PrintFacts(t, c, func(w io.Writer) {
		fmt.Fprintf(w, "id      %s\nsecret  %s\nIts requests have the header  Authorization: %s\nThe secret is shown only now; the program stores just its digest.\n", c.ID, c.Secret, c.Authorization)
	})
}
