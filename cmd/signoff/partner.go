package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/outbox"
)

// partnerCommand administers partners. The commands that change access wait until the
// running server has carried out the change; see awaitApplied and awaitEnded.
type partnerCommand struct {
	Add    partnerAdd    `cmd:"" help:"Add a partner and print its client_id and client_secret, once, and a quick start."`
	Grant  partnerGrant  `cmd:"" help:"Let a partner see a study."`
	Revoke partnerRevoke `cmd:"" help:"No longer let a partner see a study. Status 1 if that is not in force after 2 s."`
	Rotate partnerRotate `cmd:"" help:"Make a new secret for a partner and print it, once."`
	Remove partnerRemove `cmd:"" help:"Remove a partner permanently; the id is never used again. Status 1 if that is not in force after 2 s."`
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
		return withLimitWarning(ctx, c, t, o, "partner "+cmd.ID, func() error {
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
	Study string `arg:"" help:"Study id."`
}

func (cmd *partnerGrant) Run(ctx context.Context, c *common, t console.Terminal) error {
	return withOutbox(ctx, c, func(o *outbox.Outbox) error {
		return withLimitWarning(ctx, c, t, o, fmt.Sprintf("partner %s in study %s", cmd.ID, cmd.Study), func() error {
			if err := o.Accounts().GrantPartner(ctx, console.Operator(), cmd.ID, cmd.Study); err != nil {
				return err
			}
			fmt.Fprintf(t.Out, "partner %s may see %s\n", cmd.ID, cmd.Study)
			if err := warnUnknownStudy(ctx, t, o, cmd.ID, cmd.Study); err != nil {
				return err
			}
			return awaitApplied(ctx, c, t, o)
		})
	})
}

// warnUnknownStudy prints a warning if no assessment of the study is registered. That is no
// error, because access may be granted first.
func warnUnknownStudy(ctx context.Context, t console.Terminal, o *outbox.Outbox, partner, study string) error {
	status, err := o.Status(ctx)
	if err != nil {
		return err
	}
	var known []string
	for _, s := range status.Studies {
		if s.Study == norm.NFC.String(study) {
			return nil
		}
		if !s.Internal {
			known = append(known, s.Study)
		}
	}
	there := "none has any yet"
	if len(known) > 0 {
		const most = 20
		there = "those with assessments are " + strings.Join(known[:min(most, len(known))], ", ")
		if more := len(known) - most; more > 0 {
			there += fmt.Sprintf(" and %d more", more)
		}
	}
	fmt.Fprintf(t.Err, "study %s has no assessments yet, and the grant counts once it has; %s. If the id is mistyped, revoke the grant: signoff partner revoke %s %s\n", study, there, partner, study)
	return nil
}

// withLimitWarning calls grant, which records a grant. Afterwards it prints a warning if
// partners need more consumers on NATS than the running server allows. The grant is kept,
// because the read API serves it. Who names the partner, and the study if there is one.
func withLimitWarning(ctx context.Context, c *common, t console.Terminal, o *outbox.Outbox, who string, grant func() error) error {
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
		fmt.Fprintf(t.Err, "%s is beyond the limit and cannot subscribe to everything granted: partners need %d consumers on NATS and may have %d. "+
			"Start signoff serve with a higher --max-consumers, or revoke grants. The read API serves it nevertheless; "+
			"signoff status names who cannot subscribe\n", who, after, s.MaxConsumers)
	}
	return nil
}

// consumersNeeded returns the number of consumers on NATS that partners need: one for each
// partner and one for each of its grants. Removed partners need none.
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
	Study string `arg:"" help:"Study id."`
}

func (cmd *partnerRevoke) Run(ctx context.Context, c *common, t console.Terminal) error {
	return changeAccess(ctx, c, t, fmt.Sprintf("partner %s may no longer see %s", cmd.ID, cmd.Study), func(o *outbox.Outbox) error {
		return o.Accounts().RevokePartner(ctx, console.Operator(), cmd.ID, cmd.Study)
	})
}

type partnerRotate struct {
	ID    string        `arg:"" help:"Partner id."`
	Grace time.Duration `help:"How long the previous secret stays valid, such as 24h. Without it, its access tokens and connections end at once; status 1 if they have not after 2 s." placeholder:"DURATION"`
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
		return awaitEnded(ctx, c, t, o)
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

// changeAccess does what change does, and then calls awaitEnded.
func changeAccess(ctx context.Context, c *common, t console.Terminal, done string, fn func(*outbox.Outbox) error) error {
	return withOutbox(ctx, c, func(o *outbox.Outbox) error {
		if err := fn(o); err != nil {
			return err
		}
		fmt.Fprintln(t.Out, done)
		return awaitEnded(ctx, c, t, o)
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

// credentials are those of a partner. They are printed only when the secret is made,
// because the program stores just a digest of it.
type credentials struct {
	ID     string `json:"client_id"`
	Secret string `json:"client_secret"`
}

func printCredentials(t console.Terminal, id, secret string) error {
	return console.PrintFacts(t, credentials{id, secret}, func(w io.Writer) { printSecret(w, id, secret) })
}

func printSecret(w io.Writer, id, secret string) {
	fmt.Fprintf(w, "client_id      %s\nclient_secret  %s\nThe secret is shown only now; the program stores just its digest.\n", id, secret)
}

// awaitApplied waits until the running server has applied what was granted. If that takes
// longer than AppliedTimeout, or no server runs, it prints that the change is not in effect
// yet, and returns nil. With outside NATS servers it also prints which of them do not answer:
// there the change takes effect later.
func awaitApplied(ctx context.Context, c *common, t console.Terminal, o *outbox.Outbox) error {
	if !c.dir().Served() {
		fmt.Fprintln(t.Err, notRunning)
		return nil
	}
	p, err := datadir.AwaitAccess(ctx, c.dir(), o, func(p datadir.Progress) bool { return p.Refused && p.Applied })
	if err == nil && (p.Failure != nil || !p.Refused || !p.Applied) {
		fmt.Fprintf(t.Err, "recorded, but not in effect yet: the server has not applied it within %s;\nsee signoff status\n", datadir.AppliedTimeout)
	}
	if len(p.Unanswered) > 0 {
		fmt.Fprintf(t.Err, "no answer from NATS server %s\n", strings.Join(p.Unanswered, ", "))
	}
	return err
}

const notRunning = "no server is running: the change takes effect when signoff serve starts"

// awaitEnded waits until the running server refuses everywhere what was withdrawn. If that
// takes longer than AppliedTimeout, it prints what holds by then and what does not, and
// returns console.ErrPartly. If no server runs, it prints when the change takes effect and
// returns nil, because then nobody is served.
func awaitEnded(ctx context.Context, c *common, t console.Terminal, o *outbox.Outbox) error {
	if !c.dir().Served() {
		fmt.Fprintln(t.Err, notRunning)
		return nil
	}
	p, err := datadir.AwaitAccess(ctx, c.dir(), o, datadir.Progress.Ended)
	if err != nil || p.Ended() {
		return err
	}
	fmt.Fprintf(t.Err, "recorded, but the running server has not carried it out within %s.\nIt goes on trying; see signoff status.\n", datadir.AppliedTimeout)
	if p.Failure != nil {
		fmt.Fprintf(t.Err, "It does not answer, so nothing is known of what it refuses:\n  %v\n", p.Failure)
		return console.ErrPartly
	}
	line := func(state, what string, why ...string) {
		fmt.Fprintf(t.Err, "%-8s %s\n", state, what)
		for _, reason := range why {
			fmt.Fprintf(t.Err, "           %s\n", reason)
		}
	}
	yesOrNo := map[bool]string{true: "yes", false: "no"}
	line(yesOrNo[p.Refused], "the read API, the token endpoint and new logins refuse it")
	var reasons []string // errors of several connections repeat each other
	for reason := range strings.Lines(p.Reason) {
		if reason = strings.TrimSpace(reason); !p.Withdrawn && !slices.Contains(reasons, reason) {
			reasons = append(reasons, reason)
		}
	}
	line(yesOrNo[p.Withdrawn], "on NATS the consumers, the accounts and the connections are ended", reasons...)
	switch {
	case len(p.Unanswered) > 0:
		line("no", "every NATS server has answered", p.Unanswered...)
	case !p.Withdrawn:
		line("unknown", "every NATS server has answered")
	default:
		line("yes", "every NATS server has answered")
	}
	return console.ErrPartly
}
