package main

import (
	"context"
	"strconv"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
)

// asked is what the arguments of a sign-off name: ids, each with the version
// that is meant if one is given, as in 790@5.2.
type asked struct {
	ids      []string
	expected map[string]outbox.Expected
}

func parseAsked(args []string) (a asked, err error) {
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
				return a, usageError(strconv.Quote(arg) + ": the version is the case revision, a dot and the revision, as in 790@5.2")
			}
			if twice && before != e {
				return a, usageError("assessment " + id + " is named in two versions")
			}
			a.expected[id] = e
		}
		if _, named := a.expected[id]; named && plain[id] {
			return a, usageError("assessment " + id + " is named with a version and without")
		}
	}
	return a, nil
}

// parseVersion reads a version as in 5.2: case revision 5, revision 2.
func parseVersion(text string) (e outbox.Expected, ok bool) {
	first, second, dotted := strings.Cut(text, ".")
	caseRevision, err := strconv.ParseInt(first, 10, 32)
	revision, err2 := strconv.ParseInt(second, 10, 32)
	e.Version = events.Version{CaseRevision: int32(caseRevision), Revision: int32(revision)}
	return e, dotted && err == nil && err2 == nil && caseRevision > 0 && revision > 0
}

// selection says what to sign: what is named together, else what waits, case
// by case, in exactly the versions that wait now.
func (cmd *signCommand) selection(ctx context.Context, o *outbox.Outbox) ([]outbox.SignOff, error) {
	if len(cmd.ID) > 0 {
		a, err := parseAsked(cmd.ID)
		return []outbox.SignOff{{IDs: a.ids, Expected: a.expected}}, err
	}
	waiting, err := o.Waiting(ctx, outbox.WaitingFilter{Study: cmd.Study, Case: cmd.Case})
	if err != nil {
		return nil, err
	}
	if len(waiting) == 0 {
		return nil, events.Errorf(events.NotFound, "nothing waits for a signature there")
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
