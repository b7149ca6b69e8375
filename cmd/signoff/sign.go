package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/retry"
	"github.com/seed-e88a4ece/signoff/outbox"
)

// localAddress is what failed sign-ins on this machine's command line are
// counted under.
const localAddress = "local"

// signCommand signs off assessments, one transaction per case.
type signCommand struct {
	ID      []string `arg:"" optional:"" help:"Assessment ids. With a version, as 790@5.2 (case revision 5, revision 2), only that is signed, and signing it again changes nothing; without, whatever waits."`
	Study   string   `help:"With --case or --all: the study." placeholder:"S"`
	Case    int32    `help:"Sign all that waits in this case of the study, as it is now; what is registered meanwhile is not signed." placeholder:"N"`
	All     bool     `help:"Sign all that waits in the study, likewise."`
	As      string   `required:"" help:"User name of the PI." placeholder:"USER"`
	Meaning string   `required:"" help:"What the signature means." placeholder:"\"…\""`
	passwordFlag
}

// Validate refuses selections that contradict each other.
func (cmd *signCommand) Validate() error {
	switch {
	case len(cmd.ID) > 0 && cmd.Study == "" && cmd.Case == 0 && !cmd.All:
		_, err := parseAsked(cmd.ID)
		return err
	case cmd.Case < 0:
		return usageError("--case must be the number of a case, from 1 on")
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
		if _, err := o.Accounts().Authenticate(ctx, cmd.As, password, localAddress); err != nil {
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

// sign signs case after case. A refused one is said and does not stop the
// others; those not reached when ctx ends count as refused.
func (cmd *signCommand) sign(ctx context.Context, t terminal, o *outbox.Outbox, cases []outbox.SignOff) (signed []outbox.Signed, refused int) {
	bar := newProgress(t, "signing cases", int64(len(cases)))
	var complaints []error
	signed = []outbox.Signed{}
	for i, request := range cases {
		request.User, request.Meaning = cmd.As, cmd.Meaning
		some, err := o.SignOff(ctx, request)
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
func giveWay(ctx context.Context) error { return retry.Sleep(ctx, 2*time.Millisecond) }

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
	withdrawn := 0
	for _, s := range signed {
		if s.Withdrawn {
			withdrawn++
		}
	}
	if withdrawn < len(signed) || len(signed) == 0 {
		fmt.Fprintln(w, plural(len(signed)-withdrawn, "assessment"), "signed off")
	}
	if withdrawn > 0 {
		fmt.Fprintln(w, plural(withdrawn, "assessment"), "signed before, and withdrawn since: partners do not get it until a higher version is signed")
	}
}
