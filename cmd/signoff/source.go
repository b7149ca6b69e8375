package main

import (
	"context"
	"fmt"
	"io"

	"github.com/seed-e88a4ece/signoff/outbox"
)

// sourceCommand administers the source systems that hand in assessments.
type sourceCommand struct {
	Add    sourceAdd    `cmd:"" help:"Add a source system and print its secret, once."`
	Rotate sourceRotate `cmd:"" help:"Give a source system a new secret and print it, once."`
	Remove sourceRemove `cmd:"" help:"Remove a source system."`
	List   sourceList   `cmd:"" help:"List source systems."`
}

type sourceAdd struct {
	ID string `arg:"" help:"Name of the source system."`
}

func (cmd *sourceAdd) Run(ctx context.Context, c *common, t terminal) error {
	return withNewOutbox(ctx, c, func(o *outbox.Outbox) error {
		secret, err := o.AddSource(ctx, operator(), cmd.ID)
		if err != nil {
			return err
		}
		return printCredentials(c, t, cmd.ID, secret)
	})
}

type sourceRotate struct {
	ID string `arg:"" help:"Name of the source system."`
}

func (cmd *sourceRotate) Run(ctx context.Context, c *common, t terminal) error {
	return withOutbox(ctx, c, func(o *outbox.Outbox) error {
		secret, err := o.RotateSource(ctx, operator(), cmd.ID)
		if err != nil {
			return err
		}
		return printCredentials(c, t, cmd.ID, secret)
	})
}

type sourceRemove struct {
	ID string `arg:"" help:"Name of the source system."`
}

func (cmd *sourceRemove) Run(ctx context.Context, c *common, t terminal) error {
	return change(ctx, c, t, "source "+cmd.ID+" is removed", func(o *outbox.Outbox) error {
		return o.RemoveSource(ctx, operator(), cmd.ID)
	})
}

type sourceList struct{}

func (cmd *sourceList) Run(ctx context.Context, c *common, t terminal) error {
	return withOutbox(ctx, c, func(o *outbox.Outbox) error {
		sources, err := o.Sources(ctx)
		if err != nil {
			return err
		}
		return printFacts(c, t, sources, func(w io.Writer) {
			rows := make([][]string, len(sources))
			for i, s := range sources {
				rows[i] = []string{s.ID, enabled(!s.Removed)}
			}
			table(w, []string{"SOURCE", "STATE"}, rows)
		})
	})
}

// credentials are shown once: only their digest is kept.
type credentials struct {
	ID     string `json:"client_id"`
	Secret string `json:"client_secret"`
}

func printCredentials(c *common, t terminal, id, secret string) error {
	return printFacts(c, t, credentials{id, secret}, func(w io.Writer) { printSecret(w, id, secret) })
}

func printSecret(w io.Writer, id, secret string) {
	fmt.Fprintf(w, "client_id      %s\nclient_secret  %s\nThe secret is shown this once; only its digest is kept.\n", id, secret)
}
