package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
)

// localAddress is what failed sign-ins on this machine's command line are
// counted under.
const localAddress = "local"

// signCommand signs off assessments, one transaction per case.
type signCommand struct {
	ID      []string `arg:"" optional:"" help:"Assessment ids."`
	Study   string   `help:"With --case or --all: the study." placeholder:"S"`
	Case    int32    `help:"Sign all that waits in this case of the study." placeholder:"N"`
	All     bool     `help:"Sign all that waits in the study."`
	As      string   `required:"" help:"User name of the PI." placeholder:"USER"`
	Meaning string   `required:"" help:"What the signature means." placeholder:"\"…\""`
	passwordFlag
}

// Validate refuses selections that contradict each other.
func (cmd *signCommand) Validate() error {
	switch {
	case len(cmd.ID) > 0 && cmd.Study == "" && cmd.Case == 0 && !cmd.All:
		return nil
	case len(cmd.ID) == 0 && cmd.Study != "" && (cmd.Case > 0) != cmd.All:
		return nil
	default:
		return usageError("say what to sign: either ids, or --study with --case N, or --study with --all")
	}
}

func (cmd *signCommand) Run(ctx context.Context, c *common, t terminal) error {
	password, err := cmd.read(t, cmd.As, false)
	if err != nil {
		return err
	}
	return withOutbox(ctx, c, func(o *outbox.Outbox) error {
		if _, err := o.Authenticate(ctx, cmd.As, password, localAddress); err != nil {
			return err
		}
		cases, err := cmd.selection(ctx, o)
		if err != nil {
			return err
		}
		signed, refused := cmd.sign(ctx, t, o, cases)
		if err := printFacts(c, t, signed, func(w io.Writer) { printSigned(w, signed) }); err != nil {
			return err
		}
		if refused > 0 {
			fmt.Fprintf(t.err, "%s not signed\n", plural(refused, "case"))
			return errPartly
		}
		return nil
	})
}

// selection gives the ids to sign, grouped as they are signed: by case where
// the outbox is asked, else together.
func (cmd *signCommand) selection(ctx context.Context, o *outbox.Outbox) ([][]string, error) {
	if len(cmd.ID) > 0 {
		return [][]string{cmd.ID}, nil
	}
	waiting, err := o.Waiting(ctx, outbox.WaitingFilter{Study: cmd.Study, Case: cmd.Case})
	if err != nil {
		return nil, err
	}
	if len(waiting) == 0 {
		return nil, events.Errorf(events.NotFound, "nothing waits for a signature there")
	}
	var cases [][]string
	for i, w := range waiting {
		if i == 0 || w.Assessment.Case.ID != waiting[i-1].Assessment.Case.ID {
			cases = append(cases, nil)
		}
		last := len(cases) - 1
		cases[last] = append(cases[last], w.Assessment.ID)
	}
	return cases, nil
}

// sign signs case after case. A refused one is said and does not stop the
// others; those not reached when ctx ends count as refused.
func (cmd *signCommand) sign(ctx context.Context, t terminal, o *outbox.Outbox, cases [][]string) (signed []outbox.Signed, refused int) {
	bar := newProgress(t, "signing cases", int64(len(cases)))
	var complaints []error
	signed = []outbox.Signed{}
	for i, ids := range cases {
		some, err := o.SignOff(ctx, outbox.SignOff{User: cmd.As, Meaning: cmd.Meaning, IDs: ids})
		signed = append(signed, some...)
		if err != nil {
			complaints = append(complaints, err)
		}
		bar.to(int64(i+1), int64(len(cases)))
		rest := len(cases) - i - 1
		if rest > 0 && giveWay(ctx) != nil {
			complaints = append(complaints, fmt.Errorf("interrupted: %s not reached", plural(rest, "case")))
			refused = rest - 1
			break
		}
	}
	bar.end()
	for _, err := range complaints {
		fmt.Fprintln(t.err, "refused:", err)
	}
	return signed, refused + len(complaints)
}

// giveWay leaves the database to others for a moment. SQLite has no queue for
// its write lock: without this a running server would hardly get it, and
// publish nothing, before the last case is signed.
func giveWay(ctx context.Context) error {
	timer := time.NewTimer(2 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// printSigned lists what was signed, and of many only how many.
func printSigned(w io.Writer, signed []outbox.Signed) {
	const few = 20
	if len(signed) <= few {
		rows := make([][]string, len(signed))
		for i, s := range signed {
			rows[i] = []string{s.ID, s.Study, fmt.Sprint(s.Case), s.Version.String(), fmt.Sprint(s.Sequence), events.FormatTime(s.Time)}
		}
		table(w, []string{"ASSESSMENT", "STUDY", "CASE", "VERSION", "EVENT", "TIME"}, rows)
	}
	fmt.Fprintln(w, plural(len(signed), "assessment"), "signed off")
}
