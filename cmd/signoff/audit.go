package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
)

// auditCommand prints the audit trail, with --json as one JSON object a line. Its filters
// come from the command line only, never from environment variables: whoever types the
// command must know what it leaves out.
type auditCommand struct {
	Study      string `env:"-" help:"Only lines about this study, and about those who may sign or read it or once could." placeholder:"S"`
	Assessment string `env:"-" help:"Only lines about this assessment." placeholder:"ID"`
	Actor      string `env:"-" help:"Only what this PI, source or operator did." placeholder:"NAME"`
	Action     string `env:"-" help:"Only this action, such as pi.added, or all that begin with this word, such as pi." placeholder:"ACTION"`
	Since      string `env:"-" help:"Only lines of this time and later: YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm:ssZ; without a zone it is UTC." placeholder:"TIME"`
	Until      string `env:"-" help:"Only lines of this time and earlier, in the same form; a day is meant to its end." placeholder:"TIME"`
	Head       bool   `env:"-" help:"Check the whole trail and the triggers that protect it, and print the number and the hash of the last line."`
}

// Validate returns a UsageError if --head is combined with filters, which it would ignore.
func (cmd *auditCommand) Validate() error {
	if cmd.Head && (cmd.Study+cmd.Assessment+cmd.Actor+cmd.Action+cmd.Since+cmd.Until) != "" {
		return console.UsageError("--head is about the whole trail: leave the other flags out")
	}
	return nil
}

// filter returns the filter that the flags describe.
func (cmd *auditCommand) filter() (f outbox.AuditFilter, err error) {
	f = outbox.AuditFilter{
		Study: cmd.Study, People: true, Assessment: cmd.Assessment, Actor: cmd.Actor, Action: cmd.Action,
	}
	if cmd.Since != "" {
		since, err := events.ParsePeriod(cmd.Since)
		if err != nil {
			return f, console.UsageError("--since " + err.Error())
		}
		f.From = since.From
	}
	if cmd.Until != "" {
		until, err := events.ParsePeriod(cmd.Until)
		if err != nil {
			return f, console.UsageError("--until " + err.Error())
		}
		f.Until = until.Until
	}
	return f, nil
}

func (cmd *auditCommand) Run(ctx context.Context, c *common, t console.Terminal) error {
	filter, err := cmd.filter()
	if err != nil {
		return err
	}
	return withOutbox(ctx, c, func(o *outbox.Outbox) error {
		if cmd.Head {
			return printHead(ctx, o, t)
		}
		if c.JSON {
			lines := json.NewEncoder(t.Out)
			lines.SetEscapeHTML(false)
			return o.Audit(ctx, filter, func(e outbox.AuditEntry) error { return lines.Encode(e) })
		}
		return printTrail(ctx, o, filter, t.Out)
	})
}

// linesAtOnce is how many lines printTrail prints as one table. A trail may be too long to
// be kept in memory.
const linesAtOnce = 500

// printTrail prints the trail as tables of linesAtOnce lines, each with its own heading, or
// that no line matches.
func printTrail(ctx context.Context, o *outbox.Outbox, filter outbox.AuditFilter, w io.Writer) error {
	heading := []string{"LINE", "TIME", "ACTOR", "ACTION", "STUDY", "SUBJECT", "FROM", "DETAIL"}
	var rows [][]string
	printed := false
	err := o.Audit(ctx, filter, func(e outbox.AuditEntry) error {
		rows = append(rows, []string{
			fmt.Sprint(e.Number), events.FormatTime(e.Time), dash(e.Actor), e.Action, dash(e.Study), dash(e.Subject), from(e), string(e.Detail),
		})
		if len(rows) == linesAtOnce {
			console.Table(w, heading, rows)
			rows, printed = nil, true
		}
		return nil
	})
	switch {
	case len(rows) > 0:
		console.Table(w, heading, rows)
	case err == nil && !printed:
		fmt.Fprintln(w, "no line of the audit trail matches")
	}
	return err
}

// from returns where a line of the trail was written: account of the operating system,
// host, process and, if there is one, the address of the client. For a line that has
// recorded none of these it returns "-".
func from(e outbox.AuditEntry) string {
	if e.Host == "" && e.Account == "" {
		return "-"
	}
	text := fmt.Sprintf("%s@%s/%d", e.Account, e.Host, e.Process)
	if e.Address != "" {
		text += " for " + e.Address
	}
	return text
}

// headFacts is what audit --head prints.
type headFacts struct {
	outbox.TrailHead
	Published *outbox.TrailHead `json:"published,omitempty"` // the last one in an event, with the event's time; nil: none yet
}

// printHead verifies the whole trail, and prints its last line and the last one that was
// published as an event. It returns an error if the trail was changed.
func printHead(ctx context.Context, o *outbox.Outbox, t console.Terminal) error {
	head, published, err := o.VerifyTrail(ctx)
	if err != nil {
		return err
	}
	facts := headFacts{TrailHead: head}
	if published.Line > 0 {
		facts.Published = &published
	}
	return console.PrintFacts(t, facts, func(w io.Writer) {
		if head.Line == 0 {
			fmt.Fprintln(w, "the audit trail is empty")
			return
		}
		fmt.Fprintf(w, "the audit trail is complete and unchanged, and protected\nlast line  %d of %s\nhash       %s\n", head.Line, events.FormatTime(head.Time), head.Hash)
		if facts.Published == nil {
			fmt.Fprintln(w, "published  nothing yet; a server publishes it each minute, if it changed")
			return
		}
		fmt.Fprintf(w, "published  line %d at %s\n", published.Line, events.FormatTime(published.Time))
	})
}

// dash returns the text, or "-" in place of an empty one.
func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// clockCommand is about the clock by which is signed.
type clockCommand struct {
	Accept clockAccept `cmd:"" help:"Record that the clock is right, although it is far from the last event. Run it only after you have checked the clock."`
}

type clockAccept struct{}

func (cmd *clockAccept) Run(ctx context.Context, c *common, t console.Terminal) error {
	return withOutbox(ctx, c, func(o *outbox.Outbox) error {
		now, err := o.AcceptClock(ctx, console.Operator())
		if err != nil {
			return err
		}
		facts := struct {
			Clock time.Time `json:"clock"`
		}{now}
		return console.PrintFacts(t, facts, func(w io.Writer) {
			fmt.Fprintf(w, "the clock is taken to be right: %s\n", events.FormatTime(now))
		})
	})
}
