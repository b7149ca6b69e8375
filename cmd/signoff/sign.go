package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/retry"
	"github.com/seed-e88a4ece/signoff/outbox"
)

// localAddress is the address under which failed sign-ins on the command line are counted.
const localAddress = "local"

// signCommand signs off assessments, one transaction per case.
type signCommand struct {
	ID      []string `arg:"" optional:"" help:"Assessment ids. With a version, as in 790@5.2 (case revision 5, revision 2), only that version is signed, and signing it again changes nothing; without, the version that waits is signed."`
	Study   string   `help:"With --case or --all: the study." placeholder:"S"`
	Case    int32    `help:"Sign everything that waits in this case of the study now; what is registered meanwhile is not signed." placeholder:"N"`
	All     bool     `help:"Sign everything that waits in the study now."`
	As      string   `required:"" help:"User name of the PI." placeholder:"USER"`
	Meaning string   `required:"" help:"What the signature means." placeholder:"\"…\""`
	console.PasswordFlag
}

// Validate refuses selections that contradict each other.
func (cmd *signCommand) Validate() error {
	switch {
	case len(cmd.ID) > 0 && cmd.Study == "" && cmd.Case == 0 && !cmd.All:
		_, err := parseSelected(cmd.ID)
		return err
	case cmd.Case < 0:
		return console.UsageError("--case must be the number of a case, from 1 on")
	case len(cmd.ID) == 0 && cmd.Study != "" && (cmd.Case > 0) != cmd.All:
		return nil
	default:
		return console.UsageError("name what to sign: either ids, or --study with --case N, or --study with --all")
	}
}

func (cmd *signCommand) Run(ctx context.Context, c *common, t console.Terminal) error {
	password, err := cmd.Read(t, cmd.As, false)
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
		if err := console.PrintFacts(t, signed, func(w io.Writer) { printSigned(w, signed) }); err != nil {
			return err
		}
		if refused > 0 {
			fmt.Fprintf(t.Err, "%s not signed\n", console.Plural(refused, "case"))
			return console.ErrPartly
		}
		return nil
	})
}

// sign signs case after case. A refused case is printed and does not stop the others;
// cases that are not reached when ctx ends count as refused.
func (cmd *signCommand) sign(ctx context.Context, t console.Terminal, o *outbox.Outbox, cases []outbox.SignOff) (signed []outbox.Signed, refused int) {
	bar := console.NewProgress(t, "signing cases", int64(len(cases)))
	var complaints []error
	signed = []outbox.Signed{}
	for i, request := range cases {
		request.User, request.Meaning = cmd.As, cmd.Meaning
		some, err := o.SignOff(ctx, request)
		signed = append(signed, some...)
		if err != nil {
			complaints = append(complaints, err)
		}
		bar.To(int64(i+1), int64(len(cases)))
		rest := len(cases) - i - 1
		if rest > 0 && yieldLock(ctx) != nil {
			complaints = append(complaints, fmt.Errorf("interrupted: %s not reached", console.Plural(rest, "case")))
			refused = rest - 1
			break
		}
	}
	bar.End()
	for _, err := range complaints {
		fmt.Fprintln(t.Err, "refused:", err)
	}
	return signed, refused + len(complaints)
}

// yieldLock leaves the database to other processes for a moment. SQLite has no queue for
// its write lock: without this pause a running server would hardly get the lock, and
// would publish nothing before the last case is signed.
func yieldLock(ctx context.Context) error { return retry.Sleep(ctx, 2*time.Millisecond) }

// printSigned lists what was signed; if that is much, it prints only the number.
func printSigned(w io.Writer, signed []outbox.Signed) {
	const few = 20
	if len(signed) <= few {
		rows := make([][]string, len(signed))
		for i, s := range signed {
			rows[i] = []string{s.ID, s.Study, fmt.Sprint(s.Case), s.Version.String(), fmt.Sprint(s.Sequence), events.FormatTime(s.Time)}
		}
		console.Table(w, []string{"ASSESSMENT", "STUDY", "CASE", "VERSION", "EVENT", "TIME"}, rows)
	}
	withdrawn := 0
	for _, s := range signed {
		if s.Withdrawn {
			withdrawn++
		}
	}
	if withdrawn < len(signed) || len(signed) == 0 {
		fmt.Fprintln(w, console.Plural(len(signed)-withdrawn, "assessment"), "signed off")
	}
	if withdrawn > 0 {
		fmt.Fprintln(w, console.Plural(withdrawn, "assessment"), "signed before and withdrawn since: partners do not get it until a higher version is signed")
	}
}

// selected holds the ids that the arguments name, and the version of those that have one,
// as in 790@5.2.
type selected struct {
	ids      []string
	expected map[string]outbox.Expected
}

func parseSelected(args []string) (a selected, err error) {
	a.expected = make(map[string]outbox.Expected)
	plain := make(map[string]bool)
	for _, arg := range args {
		id, text, versioned := strings.Cut(arg, "@")
		a.ids = append(a.ids, id)
		before, twice := a.expected[id]
		if !versioned {
			plain[id] = true
		} else {
			e, ok := parseVersion(text)
			if !ok {
				return a, console.UsageError(strconv.Quote(arg) + ": the version is the case revision, a dot and the revision, as in 790@5.2")
			}
			if twice && before != e {
				return a, console.UsageError("assessment " + id + " is named with two versions")
			}
			a.expected[id] = e
		}
		if _, named := a.expected[id]; named && plain[id] {
			return a, console.UsageError("assessment " + id + " is named with and without a version")
		}
	}
	return a, nil
}

// parseVersion parses a version such as 5.2: case revision 5, revision 2.
func parseVersion(text string) (e outbox.Expected, ok bool) {
	first, second, dotted := strings.Cut(text, ".")
	caseRevision, err := strconv.ParseInt(first, 10, 32)
	revision, err2 := strconv.ParseInt(second, 10, 32)
	e.Version = events.Version{CaseRevision: int32(caseRevision), Revision: int32(revision)}
	return e, dotted && err == nil && err2 == nil && caseRevision > 0 && revision > 0
}

// selection returns what to sign: the named assessments together, or what waits, case by
// case, in exactly the versions that wait now.
func (cmd *signCommand) selection(ctx context.Context, o *outbox.Outbox) ([]outbox.SignOff, error) {
	if len(cmd.ID) > 0 {
		a, err := parseSelected(cmd.ID)
		return []outbox.SignOff{{IDs: a.ids, Expected: a.expected}}, err
	}
	waiting, err := o.Waiting(ctx, outbox.WaitingFilter{Study: cmd.Study, Case: cmd.Case})
	if err != nil {
		return nil, err
	}
	if len(waiting) == 0 {
		return nil, events.Errorf(events.NotFound, "no assessment waits for a signature there")
	}
	var cases []outbox.SignOff
	for i, w := range waiting {
		if i == 0 || w.Assessment.Case.ID != waiting[i-1].Assessment.Case.ID {
			cases = append(cases, outbox.SignOff{Expected: make(map[string]outbox.Expected)})
		}
		last := &cases[len(cases)-1]
		last.IDs = append(last.IDs, w.Assessment.ID)
		last.Expected[w.Assessment.ID] = outbox.Expected{Version: w.Assessment.Version(), Registration: w.Registration}
	}
	return cases, nil
}
