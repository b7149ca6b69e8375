package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/check"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/retry"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// localAddress is the address under which failed sign-ins on the command line are counted.
const localAddress = "local"

// signCommand signs off assessments: those with the ids together in one transaction, those
// of --case and --all in one transaction per case. What is signed comes from the command
// line only, never from environment variables.
type signCommand struct {
	ID      []string `arg:"" optional:"" help:"Assessment ids. With a version, as 790@5.2 (case revision 5, revision 2), only that is signed, and signing it again changes nothing; with #DIGEST behind it (see show), only with that content. Without, whatever waits when the command starts."`
	Study   string   `env:"-" help:"With --case or --all: the study." placeholder:"S"`
	Case    caseFlag `env:"-" help:"Sign all that waits in this case of the study, as it is now; what is registered meanwhile is not signed." placeholder:"N"`
	All     bool     `env:"-" help:"Sign all that waits in the study, likewise."`
	Yes     bool     `env:"-" help:"With --password-file and --case or --all: sign without having seen what is signed."`
	As      string   `env:"-" required:"" help:"User name of the PI." placeholder:"USER"`
	Meaning string   `env:"-" required:"" help:"What the signature means." placeholder:"\"…\""`
	Reason  []string `env:"-" sep:"none" help:"Why assessment ID is signed although it contradicts RECIST 1.1 (see check). Each that does needs one; repeat for more. It is recorded in the audit trail and not published." placeholder:"ID=\"…\""`
	console.PasswordFlag
}

// Validate returns a UsageError for selections that contradict each other. It also does so
// if the PI would not see what is signed: with --password-file, versions need their
// digests, or --yes must be set.
func (cmd *signCommand) Validate() error {
	switch {
	case len(cmd.ID) > 0 && cmd.Study == "" && cmd.Case == 0 && !cmd.All:
		return cmd.validateIDs()
	case len(cmd.ID) > 0 || cmd.Study == "" || (cmd.Case > 0) == cmd.All:
		return console.UsageError("name what to sign: either ids, or --study with --case N, or --study with --all")
	case cmd.PasswordFile != "" && !cmd.Yes:
		return console.UsageError("with --password-file nobody sees what is signed: add --yes to sign all that waits there, or name ids with their digests")
	}
	_, err := parseReasons(cmd.Reason)
	return err
}

// validateIDs returns a UsageError if an id is malformed or, with --password-file, if it has
// no digest.
func (cmd *signCommand) validateIDs() error {
	a, err := parseSelected(cmd.ID)
	if err != nil {
		return err
	}
	if _, err := parseReasons(cmd.Reason); err != nil || cmd.PasswordFile == "" { // without a password file, the PI sees what is signed
		return err
	}
	for _, id := range a.ids {
		if a.expected[id].Digest == "" {
			return console.UsageError("with --password-file each id needs the digest of what is signed, as " + id + "@1.1#DIGEST: signoff show " + id + " prints it")
		}
	}
	return nil
}

func (cmd *signCommand) Run(ctx context.Context, c *common, t console.Terminal) error {
	if err := events.ValidMeaning(cmd.Meaning); err != nil {
		return console.UsageError("--" + err.Error())
	}
	if err := cmd.Check(t); err != nil {
		return err
	}
	return withOutbox(ctx, c, func(o *outbox.Outbox) error {
		cases, shown, err := cmd.selection(ctx, o)
		if err != nil {
			return err
		}
		if len(shown) > 0 {
			fmt.Fprintln(t.Err, "To be signed:")
			printWaiting(t.Err, shown)
		}
		if err := cmd.remark(ctx, t, o, cases, shown); err != nil {
			return err
		}
		password, err := cmd.Read(ctx, t, cmd.As)
		if err != nil {
			return err
		}
		credential, err := authenticate(ctx, t, o, cmd.As, password)
		if err != nil {
			return err
		}
		for i := range cases {
			cases[i].Credential = credential
		}
		signed, refused := cmd.sign(ctx, t, o, cases)
		if err := console.PrintFacts(t, signed, func(w io.Writer) { printSigned(w, signed) }); err != nil {
			return err
		}
		if len(signed) > 0 {
			warnUnpublished(ctx, c, t)
		}
		if refused > 0 {
			fmt.Fprintf(t.Err, "%s not signed\n", console.Plural(refused, "case"))
			return console.ErrPartly
		}
		return nil
	})
}

// parseReasons parses arguments such as 790="…" to reasons by assessment id.
func parseReasons(args []string) (map[string]string, error) {
	reasons := make(map[string]string, len(args))
	for _, arg := range args {
		id, text, ok := strings.Cut(arg, "=")
		if !ok || !events.ValidFHIRID(id) {
			return nil, console.UsageError("--reason is an assessment id, = and the reason, as in 790=\"T02 is a cyst\", not " + strconv.Quote(arg))
		}
		if err := events.ValidReason(text); err != nil {
			return nil, console.UsageError("--reason of assessment " + id + ": " + err.Error())
		}
		if before, twice := reasons[id]; twice && before != text {
			return nil, console.UsageError("assessment " + id + " has two different reasons")
		}
		reasons[id] = text
	}
	return reasons, nil
}

// remark prints what contradicts RECIST 1.1 among the versions that are shown and wait, and
// adds it to the requests with the reasons for signing it. The error names those that need
// a reason and have none.
func (cmd *signCommand) remark(ctx context.Context, t console.Terminal, o *outbox.Outbox, cases []outbox.SignOff, shown []review.Waiting) error {
	reasons, err := parseReasons(cmd.Reason)
	if err != nil {
		return err
	}
	contradicting, err := contradictions(ctx, o, shown)
	if err != nil {
		return err
	}
	remarks := make(map[string]outbox.Remark, len(reasons))
	for id, reason := range reasons {
		remarks[id] = outbox.Remark{Reason: reason}
	}
	var without []string
	for i, v := range contradicting {
		if i == 0 {
			fmt.Fprintf(t.Err, "\n%s RECIST 1.1:\n", map[bool]string{true: "This contradicts", false: "These contradict"}[len(contradicting) == 1])
		}
		check.PrintVisit(t.Err, v)
		id := v.Assessment.ID
		if reasons[id] == "" {
			without = append(without, id)
		}
		remarks[id] = outbox.Remark{Reason: reasons[id], Findings: v.Contradictions()}
	}
	if len(without) > 0 {
		return events.Errorf(events.Required, "nothing was signed: what contradicts RECIST 1.1 is signed with a reason only; add --reason %s=\"…\"%s", without[0], others(without[1:]))
	}
	for i := range cases {
		cases[i].Remarks = make(map[string]outbox.Remark)
		for _, id := range cases[i].IDs {
			if r, ok := remarks[id]; ok {
				cases[i].Remarks[id] = r
				delete(remarks, id)
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(remarks)) {
		return console.UsageError("--reason names assessment " + id + ", which is not among those to be signed")
	}
	return nil
}

// others returns the rest of a sentence that has named one assessment already.
func others(ids []string) string {
	if len(ids) == 0 {
		return ""
	}
	const few = 20
	more := ""
	if n := len(ids) - few; n > 0 {
		ids, more = ids[:few], fmt.Sprintf(" and %d more", n)
	}
	return ", and one each for " + strings.Join(ids, ", ") + more
}

// contradictions returns the visits that contradict RECIST 1.1, of the versions that are
// shown and wait, by study, case and timepoint. A version that a sign-off would not accept
// is not checked.
func contradictions(ctx context.Context, o *outbox.Outbox, shown []review.Waiting) ([]review.CheckedVersion, error) {
	cases := make(map[review.WaitingFilter]bool)
	registrations := make(map[int64]bool)
	for _, w := range shown {
		cases[review.WaitingFilter{Study: w.Assessment.Study, Case: w.Assessment.Case.ID}] = true
		registrations[w.Registration] = true
	}
	order := slices.SortedFunc(maps.Keys(cases), func(a, b review.WaitingFilter) int {
		return cmp.Or(cmp.Compare(a.Study, b.Study), cmp.Compare(a.Case, b.Case))
	})
	var found []review.CheckedVersion
	for _, one := range order {
		checked, err := o.Reviews().Check(ctx, one)
		if err != nil {
			return nil, err
		}
		for _, v := range checked {
			if v.State == review.VersionWaiting && registrations[v.Registration] && v.Result.Contradicts() {
				found = append(found, v)
			}
		}
	}
	return found, nil
}

// authenticate checks the PI's password and returns the PI's credential. It prints when the
// PI signed in last, and when an operator set a one-time password last, so that the PI
// notices what somebody else did.
func authenticate(ctx context.Context, t console.Terminal, o *outbox.Outbox, user, password string) (credential string, err error) {
	pi, err := o.Accounts().Authenticate(ctx, user, password, localAddress)
	if err != nil {
		return "", err
	}
	last, reset := "never", "not recorded"
	if s := pi.LastSignIn; !s.Time.IsZero() {
		last = events.FormatTime(s.Time) + " from " + s.Address
	}
	if !pi.LastReset.IsZero() {
		reset = events.FormatTime(pi.LastReset)
	}
	fmt.Fprintf(t.Err, "Last sign-in of %s: %s. Last one-time password of an operator: %s.\n", user, last, reset)
	return pi.Credential, nil
}

// atOnce is how many cases are signed at the same time, so that they share
// commits.
const atOnce = 64

// sign signs cases, atOnce of them at the same time. A refused case does not stop the
// others; the reasons are printed at the end. When ctx ends, the cases that were begun are
// finished, and those not reached count as refused.
func (cmd *signCommand) sign(ctx context.Context, t console.Terminal, o *outbox.Outbox, cases []outbox.SignOff) (signed []outbox.Signed, refused int) {
	bar := console.NewProgress(t, "signing cases", int64(len(cases)))
	var refusals []error
	signed = []outbox.Signed{}
	for start := 0; start < len(cases); start += atOnce {
		some := cases[start:min(start+atOnce, len(cases))]
		answers, errs := make([][]outbox.Signed, len(some)), make([]error, len(some))
		var group sync.WaitGroup
		for i, request := range some {
			request.User, request.Meaning = cmd.As, cmd.Meaning
			group.Go(func() { answers[i], errs[i] = o.SignOff(context.WithoutCancel(ctx), request) })
		}
		group.Wait()
		signed = append(signed, slices.Concat(answers...)...)
		refusals = append(refusals, slices.DeleteFunc(errs, func(err error) bool { return err == nil })...)
		bar.To(int64(start+len(some)), int64(len(cases)))
		rest := len(cases) - start - len(some)
		if rest > 0 && yieldLock(ctx) != nil {
			refusals = append(refusals, fmt.Errorf("interrupted: %s not reached", console.Plural(rest, "case")))
			refused = rest - 1 // the refusal just added counts for one
			break
		}
	}
	bar.End()
	printRefusals(t.Err, refusals)
	return signed, refused + len(refusals)
}

// printRefusals prints why cases were refused. If successive cases have the same reason,
// it prints that once, with their number.
func printRefusals(w io.Writer, refusals []error) {
	for len(refusals) > 0 {
		text, n := refusals[0].Error(), 0
		for n < len(refusals) && refusals[n].Error() == text {
			n++
		}
		if refusals = refusals[n:]; n > 1 {
			text += " (" + console.Plural(n, "case") + ")"
		}
		fmt.Fprintln(w, "refused:", text)
	}
}

// yieldLock waits for a moment, in which other processes can write to the database. SQLite
// has no queue for its write lock: without this pause a running server would hardly get
// the lock, and would publish nothing before the last case is signed. It returns an error
// if ctx has ended.
func yieldLock(ctx context.Context) error { return retry.Sleep(ctx, 2*time.Millisecond) }

// printSigned prints what was signed: a table if it is not much, and the number. It counts
// separately what the outbox returned again because it was signed before, and which was
// withdrawn since.
func printSigned(w io.Writer, signed []outbox.Signed) {
	const few = 20 // so many fit a screen
	if len(signed) > 0 && len(signed) <= few {
		rows := make([][]string, len(signed))
		for i, s := range signed {
			version := fmt.Sprintf("%s@%d.%d", s.ID, s.Version.CaseRevision, s.Version.Revision)
			rows[i] = []string{version, s.Study, fmt.Sprint(s.Case), fmt.Sprint(s.Sequence), events.FormatTime(s.Time)}
		}
		console.Table(w, []string{"VERSION", "STUDY", "CASE", "EVENT", "TIME"}, rows)
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

// selected holds the ids that the arguments name.
type selected struct {
	ids      []string                   // as named; one may be there twice
	expected map[string]outbox.Expected // by id: the version, of ids with one, as in 790@5.2
}

// parseSelected parses arguments such as 790, 790@5.2 and 790@5.2#DIGEST. An id may be
// named twice, but not with different versions, nor with and without one.
func parseSelected(args []string) (a selected, err error) {
	a.expected = make(map[string]outbox.Expected)
	plain := make(map[string]bool) // ids that are named without a version
	for _, arg := range args {
		id, text, versioned := strings.Cut(arg, "@")
		a.ids = append(a.ids, id)
		before, twice := a.expected[id]
		if strings.Contains(id, "#") {
			return a, console.UsageError(strconv.Quote(arg) + ": a digest stands behind the version, as in 790@5.2#DIGEST")
		}
		if !versioned {
			plain[id] = true
		} else {
			e, ok := parseVersion(text)
			if !ok {
				return a, console.UsageError(strconv.Quote(arg) + ": the version is the case revision, a dot and the revision, as in 790@5.2; a digest behind it is # and 64 hexadecimal digits")
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

var digestForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

// parseVersion parses a version, such as 5.2 for case revision 5 and revision 2. The
// digest of its content may follow behind a #.
func parseVersion(text string) (e outbox.Expected, ok bool) {
	text, digest, withDigest := strings.Cut(text, "#")
	e.Digest = digest
	first, second, dotted := strings.Cut(text, ".")
	caseRevision, err := strconv.ParseInt(first, 10, 32)
	revision, err2 := strconv.ParseInt(second, 10, 32)
	e.Version = events.Version{CaseRevision: int32(caseRevision), Revision: int32(revision)}
	return e, dotted && err == nil && err2 == nil && caseRevision > 0 && revision > 0 && withDigest == digestForm.MatchString(digest)
}

// selection returns the requests to sign, and the versions to show to the PI before. The
// requests are pinned to what is shown. With ids there is one request, else one per case
// that has waiting versions.
func (cmd *signCommand) selection(ctx context.Context, o *outbox.Outbox) (cases []outbox.SignOff, shown []review.Waiting, err error) {
	if len(cmd.ID) > 0 {
		return named(ctx, o, cmd.ID)
	}
	shown, err = o.Reviews().Waiting(ctx, review.WaitingFilter{Study: cmd.Study, Case: int32(cmd.Case)})
	if err != nil {
		return nil, nil, err
	}
	if len(shown) == 0 {
		return nil, nil, events.Errorf(events.NotFound, "nothing waits for a signature there; signoff waiting lists what waits in any study")
	}
	for i, w := range shown {
		if i == 0 || w.Assessment.Case.ID != shown[i-1].Assessment.Case.ID {
			cases = append(cases, outbox.SignOff{Expected: make(map[string]outbox.Expected)})
		}
		pin(&cases[len(cases)-1], w)
	}
	return cases, shown, nil
}

// named returns one request for the versions that the arguments name, and the versions to
// show. A named version waits, or was signed before: then the outbox returns its first
// answer again. A version that does not exist is in the request too, so that the outbox
// refuses it with the reason. It does so even if the version is registered meanwhile,
// because nobody saw that.
func named(ctx context.Context, o *outbox.Outbox, args []string) ([]outbox.SignOff, []review.Waiting, error) {
	a, err := parseSelected(args)
	if err != nil {
		return nil, nil, err
	}
	request := outbox.SignOff{Expected: make(map[string]outbox.Expected)}
	var shown []review.Waiting
	for _, id := range a.ids {
		if slices.Contains(request.IDs, id) {
			continue
		}
		versions, err := o.Reviews().Versions(ctx, id)
		if err != nil {
			return nil, nil, err
		}
		e, versioned := a.expected[id]
		v := chosen(versions, e, versioned)
		if v == nil {
			request.IDs = append(request.IDs, id)
			e.Registration = noRegistration
			request.Expected[id] = e
			continue
		}
		pin(&request, v.Waiting)
		if v.State == review.VersionReplaced {
			continue // not shown, because the outbox refuses it
		}
		shown = append(shown, v.Waiting)
	}
	slices.SortStableFunc(shown, func(a, b review.Waiting) int { return cmp.Compare(a.Assessment.Study, b.Assessment.Study) })
	return []outbox.SignOff{request}, shown, nil
}

// noRegistration is the Registration of no version. With it the outbox refuses to sign
// whatever is registered.
const noRegistration = -1

// pin adds a version to the request, with its registration and digest, so that the outbox
// signs exactly this content or nothing.
func pin(request *outbox.SignOff, v review.Waiting) {
	id := v.Assessment.ID
	request.IDs = append(request.IDs, id)
	request.Expected[id] = outbox.Expected{Version: v.Assessment.Version(), Registration: v.Registration, Digest: v.Digest}
}
