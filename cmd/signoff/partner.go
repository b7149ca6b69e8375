package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/outbox"
)

// partnerCommand administers partners. Each command returns once a running
// server has applied the change, so that what it prints holds.
type partnerCommand struct {
	Add    partnerAdd    `cmd:"" help:"Add a partner and print its client_id and client_secret, once, and a quick start."`
	Grant  partnerGrant  `cmd:"" help:"Let a partner see a study."`
	Revoke partnerRevoke `cmd:"" help:"Let a partner no longer see a study."`
	Rotate partnerRotate `cmd:"" help:"Give a partner a new secret and print it, once."`
	Remove partnerRemove `cmd:"" help:"Remove a partner for ever; the id is never used again."`
	List   partnerList   `cmd:"" help:"List partners and their studies."`

	Quickstart partnerQuickstart `cmd:"" help:"Print a partner's quick start again, without the secret."`
}

type partnerAdd struct {
	ID    string   `arg:"" help:"Partner id: letters, digits, - and _, at most 64."`
	Name  string   `help:"Name of the organisation."`
	Study []string `sep:"none" placeholder:"S" help:"Study the partner may see; repeat for more."`
}

func (cmd *partnerAdd) Run(ctx context.Context, c *common, t console.Terminal) error {
	return withNewOutbox(ctx, c, func(o *outbox.Outbox) error {
		return withinRoom(ctx, c, t, o, "partner "+cmd.ID, func() error {
			secret, err := o.Accounts().AddPartner(ctx, console.Operator(), cmd.ID, cmd.Name, cmd.Study)
			if err != nil {
				return err
			}
			if err := printNewPartner(ctx, c, t, o, cmd.ID, secret); err != nil {
				return err
			}
			return awaitApplied(ctx, c, t, o)
		})
	})
}

type partnerGrant struct {
	ID    string `arg:"" help:"Partner id."`
	Study string `arg:"" help:"Study number."`
}

func (cmd *partnerGrant) Run(ctx context.Context, c *common, t console.Terminal) error {
	return withOutbox(ctx, c, func(o *outbox.Outbox) error {
		return withinRoom(ctx, c, t, o, fmt.Sprintf("partner %s in study %s", cmd.ID, cmd.Study), func() error {
			if err := o.Accounts().GrantPartner(ctx, console.Operator(), cmd.ID, cmd.Study); err != nil {
				return err
			}
			fmt.Fprintf(t.Out, "partner %s may see %s\n", cmd.ID, cmd.Study)
			return awaitApplied(ctx, c, t, o)
		})
	})
}

// withinRoom runs a grant, and says so when partners then need more consumers on
// NATS than the running server lets them have. The grant is recorded all the same,
// because the read API serves it.
func withinRoom(ctx context.Context, c *common, t console.Terminal, o *outbox.Outbox, who string, grant func() error) error {
	before, err := consumersNeeded(ctx, o)
	if err != nil {
		return err
	}
	if err := grant(); err != nil {
		return err
	}
	after, err := consumersNeeded(ctx, o)
	if err != nil {
		return err
	}
	if s, ok := c.dir().Running(); ok && s.MaxConsumers > 0 && after > s.MaxConsumers && after > before {
		fmt.Fprintf(t.Err, "%s is beyond the limit and cannot subscribe to all of that: partners need %d consumers on NATS and may have %d. "+
			"Start signoff serve with a higher --max-consumers, or revoke grants. The read API serves it all the same; "+
			"signoff status names who cannot subscribe\n", who, after, s.MaxConsumers)
	}
	return nil
}

// consumersNeeded counts the consumers that partners need: one for each and one for
// each of its grants.
func consumersNeeded(ctx context.Context, o *outbox.Outbox) (n int, err error) {
	partners, err := o.Accounts().Partners(ctx)
	for _, p := range partners {
		if p.Enabled {
			n += 1 + len(p.Studies)
		}
	}
	return n, err
}

type partnerRevoke struct {
	ID    string `arg:"" help:"Partner id."`
	Study string `arg:"" help:"Study number."`
}

func (cmd *partnerRevoke) Run(ctx context.Context, c *common, t console.Terminal) error {
	return changeAccess(ctx, c, t, fmt.Sprintf("partner %s may no longer see %s", cmd.ID, cmd.Study), func(o *outbox.Outbox) error {
		return o.Accounts().RevokePartner(ctx, console.Operator(), cmd.ID, cmd.Study)
	})
}

type partnerRotate struct {
	ID    string        `arg:"" help:"Partner id."`
	Grace time.Duration `help:"How long the secret before stays good, such as 24h. Without it, what it has opened ends at once." placeholder:"DURATION"`
}

func (cmd *partnerRotate) Run(ctx context.Context, c *common, t console.Terminal) error {
	return withOutbox(ctx, c, func(o *outbox.Outbox) error {
		secret, err := o.Accounts().RotatePartner(ctx, console.Operator(), cmd.ID, cmd.Grace)
		if err != nil {
			return err
		}
		if err := printCredentials(t, cmd.ID, secret); err != nil {
			return err
		}
		return awaitApplied(ctx, c, t, o)
	})
}

type partnerRemove struct {
	ID string `arg:"" help:"Partner id."`
}

func (cmd *partnerRemove) Run(ctx context.Context, c *common, t console.Terminal) error {
	return changeAccess(ctx, c, t, "partner "+cmd.ID+" is removed", func(o *outbox.Outbox) error {
		return o.Accounts().RemovePartner(ctx, console.Operator(), cmd.ID)
	})
}

// changeAccess is change that waits for the read model.
func changeAccess(ctx context.Context, c *common, t console.Terminal, done string, fn func(*outbox.Outbox) error) error {
	return withOutbox(ctx, c, func(o *outbox.Outbox) error {
		if err := fn(o); err != nil {
			return err
		}
		fmt.Fprintln(t.Out, done)
		return awaitApplied(ctx, c, t, o)
	})
}

type partnerList struct{}

func (cmd *partnerList) Run(ctx context.Context, c *common, t console.Terminal) error {
	return withOutbox(ctx, c, func(o *outbox.Outbox) error {
		partners, err := o.Accounts().Partners(ctx)
		if err != nil {
			return err
		}
		type row struct {
			ID      string   `json:"id"`
			Name    string   `json:"name,omitempty"`
			Enabled bool     `json:"enabled"`
			Studies []string `json:"studies"`
		}
		rows := make([]row, len(partners))
		for i, p := range partners {
			rows[i] = row{p.ID, p.Name, p.Enabled, p.Studies}
		}
		return console.PrintFacts(t, rows, func(w io.Writer) {
			text := make([][]string, len(rows))
			for i, r := range rows {
				text[i] = []string{r.ID, r.Name, enabled(r.Enabled), strings.Join(r.Studies, " ")}
			}
			console.Table(w, []string{"PARTNER", "NAME", "STATE", "STUDIES"}, text)
		})
	})
}

// credentials are shown once: only their digest is kept.
type credentials struct {
	ID     string `json:"client_id"`
	Secret string `json:"client_secret"`
}

func printCredentials(t console.Terminal, id, secret string) error {
	return console.PrintFacts(t, credentials{id, secret}, func(w io.Writer) { printSecret(w, id, secret) })
}

func printSecret(w io.Writer, id, secret string) {
	fmt.Fprintf(w, "client_id      %s\nclient_secret  %s\nThe secret is shown this once; only its digest is kept.\n", id, secret)
}

// awaitApplied returns once a running server's read model has applied the
// access events recorded so far. When it takes longer, or no server is
// running, it says what will happen.
func awaitApplied(ctx context.Context, c *common, t console.Terminal, o *outbox.Outbox) error {
	server, ok := c.dir().Running()
	if !ok {
		fmt.Fprintln(t.Err, "no server is running: it takes effect when signoff serve starts")
		return nil
	}
	if server.Outside != nil {
		fmt.Fprintln(t.Err, "on NATS, what is new begins when the servers have reloaded: signoff nats-config")
	}
	applied, err := datadir.AppliedInTime(ctx, c.dir(), o)
	if err == nil && !applied {
		fmt.Fprintf(t.Err, "recorded, but not in effect yet: the server has not applied it within %s; see signoff status\n", datadir.AppliedTimeout)
	}
	return err
}
