package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/check"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// waitingCommand lists what waits for a signature.
type waitingCommand struct {
	Study string   `env:"-" help:"Only of this study." placeholder:"S"`
	Case  caseFlag `env:"-" help:"Only of this case of the study." placeholder:"N"`
}

// caseFlag is the number of a case, or 0 if the flag is absent.
type caseFlag int32

func (n *caseFlag) UnmarshalText(text []byte) error {
	number, err := strconv.ParseInt(string(text), 10, 32)
	if err != nil || number < 1 || strconv.FormatInt(number, 10) != string(text) {
		return fmt.Errorf("%q is not the number of a case, from 1 on", text)
	}
	*n = caseFlag(number)
	return nil
}

// Validate returns a UsageError for a case without its study.
func (cmd *waitingCommand) Validate() error {
	if cmd.Case > 0 && cmd.Study == "" {
		return console.UsageError("--case needs --study: cases are numbered in each study")
	}
	return nil
}

func (cmd *waitingCommand) Run(ctx context.Context, c *common, t console.Terminal) error {
	return withOutbox(ctx, c, func(o *outbox.Outbox) error {
		waiting, err := o.Reviews().Waiting(ctx, review.WaitingFilter{Study: cmd.Study, Case: int32(cmd.Case)})
		if err != nil {
			return err
		}
		return console.PrintFacts(t, waiting, func(w io.Writer) {
			if len(waiting) == 0 {
				fmt.Fprintln(w, "nothing waits for a signature")
				return
			}
			printWaiting(w, waiting)
			fmt.Fprintf(w, "\nTo see one whole: signoff show %s\n", pinned(waiting[0], false))
		})
	})
}

// printWaiting prints the versions, one table for each study. They must be sorted by study.
func printWaiting(w io.Writer, waiting []review.Waiting) {
	for len(waiting) > 0 {
		study := waiting[0].Assessment.Study
		var rows [][]string
		for len(waiting) > 0 && waiting[0].Assessment.Study == study {
			a := waiting[0].Assessment
			rows = append(rows, []string{pinned(waiting[0], false), fmt.Sprint(a.Case.ID), a.Subject, a.Name, sum(a), a.Conclusion})
			waiting = waiting[1:]
		}
		fmt.Fprintf(w, "study %s: %s\n", study, console.Plural(len(rows), "assessment"))
		console.Table(w, []string{"VERSION", "CASE", "SUBJECT", "VISIT", "SUM", "CONCLUSION"}, rows)
	}
}

// pinned returns the argument by which sign selects the version, with or without its
// digest, such as 790@5.2#DIGEST.
func pinned(v review.Waiting, withDigest bool) string {
	text := fmt.Sprintf("%s@%d.%d", v.Assessment.ID, v.Assessment.Case.Revision, v.Assessment.Revision)
	if withDigest {
		text += "#" + v.Digest
	}
	return text
}

// sum returns the sum of diameters as it is signed, or "--".
func sum(a events.Assessment) string {
	if a.Measurement == nil {
		return events.NoChange
	}
	return string(a.Measurement.Value) + " " + a.Measurement.Unit
}

// showCommand prints one version of an assessment as a PI signs it, what was done with it,
// and a table of all versions if there are several.
type showCommand struct {
	ID string `arg:"" help:"Assessment id, for what waits or was signed last; with a version, as 790@5.2 (case revision 5, revision 2), that one."`
}

// versionFacts is what the command prints.
type versionFacts struct {
	Shown    review.Version   `json:"shown"`
	Versions []review.Version `json:"versions"` // all, in the order of registration
}

func (cmd *showCommand) Run(ctx context.Context, c *common, t console.Terminal) error {
	asked, err := parseSelected([]string{cmd.ID})
	if err != nil {
		return err
	}
	return withOutbox(ctx, c, func(o *outbox.Outbox) error {
		id := asked.ids[0]
		versions, err := o.Reviews().Versions(ctx, id)
		if err != nil {
			return err
		}
		facts := versionFacts{Versions: versions}
		e, named := asked.expected[id]
		shown := chosen(versions, e, named)
		if shown == nil {
			return events.Errorf(events.NotFound, "assessment %s has no %s; signoff show %s lists its versions", id, expectedText(e), id)
		}
		facts.Shown = *shown
		return console.PrintFacts(t, facts, facts.print)
	})
}

// expectedText returns the version, and the digest if there is one, for a message.
func expectedText(e outbox.Expected) string {
	if e.Digest != "" {
		return fmt.Sprintf("%s with digest %s", e.Version, e.Digest)
	}
	return e.Version.String()
}

// chosen returns the version e if named is true. A version may be registered several times
// with different content; then chosen returns the last of them that has the digest, if e
// has one. If named is false it returns the version that waits, else the one that was
// signed last, else the last. It returns nil if there is none.
func chosen(versions []review.Version, e outbox.Expected, named bool) *review.Version {
	var best *review.Version
	for i := range versions {
		v := &versions[i]
		switch {
		case named && (v.Assessment.Version() != e.Version || e.Digest != "" && e.Digest != v.Digest):
			// another version
		case named, best == nil, rank(v) >= rank(best):
			best = v
		}
	}
	return best
}

// rank returns how far the state of a version is preferred if none is named. The highest
// rank is chosen.
func rank(v *review.Version) int {
	switch v.State {
	case review.VersionWaiting:
		return 2
	case review.VersionSigned:
		return 1
	default:
		return 0
	}
}

func (f versionFacts) print(w io.Writer) {
	a := f.Shown.Assessment
	linef := func(label, format string, args ...any) {
		console.Wrap(w, label, fmt.Sprintf(format, args...))
	}
	linef("assessment", "%s, %s, of case %d of study %s", a.ID, a.Version(), a.Case.ID, a.Study)
	linef("subject", "%s", a.Subject)
	linef("visit", "%s (timepoint %d), %s", a.Name, a.Timepoint, a.Effective)
	if a.RevisionDate != "" {
		linef("revised", "%s", a.RevisionDate)
	}
	linef("trial", "%s, sponsor's study %s, %s", a.TrialName, a.SponsorStudy, a.Criteria)
	linef("registered", "%s by %s", events.FormatTime(f.Shown.Registered), f.Shown.By)
	fmt.Fprintln(w)
	f.printLesions(w)
	if m := a.Measurement; m != nil {
		linef("sum", "%s %s; from previous %s, from baseline %s, from nadir %s", m.Value, m.Unit, m.ChangeFromPrevious, m.ChangeFromBaseline, m.ChangeFromNadir)
	} else {
		linef("sum", "none; no change can be computed")
	}
	linef("conclusion", "%s", conclusion(a))
	fmt.Fprintln(w)
	linef("digest", "%s", f.Shown.Digest)
	f.printState(w)
	if len(f.Versions) > 1 {
		f.printVersions(w)
	}
}

// conclusion returns the conclusion as it is printed. "No" at a baseline is no response
// category, so conclusion explains it.
func conclusion(a events.Assessment) string {
	if a.Conclusion == "No" && a.Name == events.Baseline {
		return "No (a baseline has no response yet)"
	}
	return a.Conclusion
}

// printLesions prints every lesion whole: what is signed is not cut.
func (f versionFacts) printLesions(w io.Writer) {
	a := f.Shown.Assessment
	if len(a.Lesions) == 0 {
		console.Wrap(w, "lesions", "none")
		return
	}
	for i, l := range a.Lesions {
		label := ""
		if i == 0 {
			label = "lesions"
		}
		console.Wrap(w, label, lesion(l))
	}
}

// lesion returns a lesion as a list of its fields, without those that are absent.
func lesion(l events.Lesion) string {
	parts := []string{l.ID}
	add := func(format, value string) {
		if value != "" {
			parts = append(parts, fmt.Sprintf(format, value))
		}
	}
	add("%s", l.Category)
	add("%s", l.Organ)
	add("%s", l.State)
	if l.Value != "" {
		add("%s", string(l.Value)+" "+l.Unit)
	}
	add("%s", l.Label)
	add("%s", l.Modality)
	if l.SeriesNumber != nil {
		parts = append(parts, fmt.Sprintf("series %d", *l.SeriesNumber))
	}
	add("%q", l.SeriesDescription)
	if l.InstanceNumber != nil {
		parts = append(parts, fmt.Sprintf("image %d", *l.InstanceNumber))
	}
	add("from previous %s", l.ChangeFromPrevious)
	add("from baseline %s", l.ChangeFromBaseline)
	add("from nadir %s", l.ChangeFromNadir)
	return strings.Join(parts, ", ")
}

// printState prints what was done with the version, and how to sign it.
func (f versionFacts) printState(w io.Writer) {
	v := f.Shown
	switch v.State {
	case review.VersionWaiting:
		console.Wrap(w, "state", "waits for its signature")
		fmt.Fprintf(w, "\nTo sign exactly this:\n  signoff sign %s --as USER --meaning \"…\"\n", pinned(v.Waiting, true))
	case review.VersionReplaced:
		console.Wrap(w, "state", "replaced by a later registration before it was signed")
	default:
		s := v.Signature
		noDigest := ""
		if v.SignedDigest == "" { // signed by an older version of the program
			noDigest = ", before signatures had a digest"
		}
		console.Wrap(w, "signed", fmt.Sprintf("%s by %s (%s): %q, event %d%s", events.FormatTime(s.Time), s.Name, s.User, s.Meaning, v.Number, noDigest))
		if wd := v.Withdrawal; wd != nil {
			meaning := strconv.Quote(wd.Meaning)
			if wd.Meaning == "" { // withdrawn by an older version of the program
				meaning = "before withdrawals had a meaning"
			}
			console.Wrap(w, "withdrawn", fmt.Sprintf("%s by %s (%s): %s, because %q", events.FormatTime(wd.Time), wd.Name, wd.User, meaning, wd.Reason))
		}
		console.Wrap(w, "available", map[bool]string{true: "to the study's partners", false: "no longer"}[v.Available])
	}
}

// printVersions prints a table of all versions, with the time and the person of the
// signature or, of unsigned ones, of the registration.
func (f versionFacts) printVersions(w io.Writer) {
	fmt.Fprintln(w)
	rows := make([][]string, len(f.Versions))
	for i, v := range f.Versions {
		state, by := v.State, ""
		if v.Withdrawal != nil {
			state = "withdrawn"
		}
		at := v.Registered
		if v.Signature != nil {
			at, by = v.Signature.Time, v.Signature.User
		}
		rows[i] = []string{
			fmt.Sprintf("%d.%d", v.Assessment.Case.Revision, v.Assessment.Revision), state,
			at.UTC().Format("2006-01-02T15:04:05Z"), cmp.Or(by, v.By), v.Assessment.Conclusion, v.Digest[:8],
		}
	}
	console.Table(w, []string{"VERSION", "STATE", "SINCE", "BY", "CONCLUSION", "DIGEST"}, rows)
}

// checkCommand compares the recorded responses with those that RECIST 1.1 gives.
type checkCommand struct {
	Study string   `env:"-" required:"" help:"The study." placeholder:"S"`
	Case  caseFlag `env:"-" help:"Only this case of the study." placeholder:"N"`
	Fail  bool     `env:"-" help:"Exit with status 1 if what is recorded contradicts RECIST 1.1."`
}

func (cmd *checkCommand) Run(ctx context.Context, c *common, t console.Terminal) error {
	return withOutbox(ctx, c, func(o *outbox.Outbox) error {
		checked, err := o.Reviews().Check(ctx, review.WaitingFilter{Study: cmd.Study, Case: int32(cmd.Case)})
		if err != nil {
			return err
		}
		if len(checked) == 0 {
			return events.Errorf(events.NotFound, "no assessment of study %s is waiting or signed there", cmd.Study)
		}
		if err := check.Print(t, checked); err != nil {
			return err
		}
		if cmd.Fail && check.Contradictions(checked) > 0 {
			return console.ErrPartly // what contradicts is printed
		}
		return nil
	})
}
