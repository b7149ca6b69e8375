// Package signform makes the forms by which PIs sign visits of a case, withdraw what they
// signed, and return what waits to its source: their fields, what was typed before, and what
// is wrong with it. A password is never in a form that is shown again.
//
// The package reads and signs nothing. Templates of package desk print the forms.
package signform

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/seed-e88a4ece/signoff/events/recist"
	"github.com/seed-e88a4ece/signoff/outbox/desk/page"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// Form is the form by which visits of a case are signed, and the one by which a visit is
// returned to its source.
type Form struct {
	Case     review.Case
	Path     string // of the case
	Visits   []Visit
	Several  bool   // whether the PI chooses among the visits
	Revision int32  // of the case, that is signed
	Closed   string // why nothing can be signed; empty if something can be

	TakenBack string // what is taken back by the sign-off, because the case revision rises
	ElseToo   bool   // also what of the visits the PI does not choose

	// Both are not known to New.
	Partners int  // that the study is granted to; -1 if that cannot be read
	Parked   bool // whether the study's events are not published at the moment

	Meaning     Meaning
	Credentials Credentials
	Problem     *page.Problem

	Returns       []review.Visit // that wait
	Returned      string         // the id that was chosen to be returned
	ReturnReason  string
	ReturnProblem string
}

// Visit is a visit that can be signed.
type Visit struct {
	review.Visit
	Chosen         bool
	Contradictions []recist.Finding
	Reason         string // typed before
	Problem        string // about the reason
}

// Self returns path and query of the page with the chosen visits.
func (f Form) Self() string {
	chosen := url.Values{}
	for _, v := range f.Visits {
		if v.Chosen {
			chosen.Add("sign", v.ID)
		}
	}
	return strings.TrimSuffix(f.Path+"?"+chosen.Encode(), "?")
}

// Until returns until when something stays taken back, as part of a sentence.
func (f Form) Until() string {
	if f.ElseToo || strings.Contains(f.TakenBack, " and ") {
		return "they are signed"
	}
	return "it is signed"
}

// Title returns what the sign-off is of.
func (f Form) Title() string {
	if len(f.Visits) == 1 {
		return f.Visits[0].Waiting.Assessment.Name
	}
	return "the chosen visits"
}

// New returns the form for a case. The check of the case is checked. Chosen has the ids of
// the visits to be signed, or "all"; without any it is the earliest visit that can be. Typed
// is the form that was sent and refused with the problem p, or nil.
func New(c review.Case, path string, checked map[string]recist.Visit, chosen []string, credentials Credentials, p *page.Problem, typed url.Values) Form {
	f := Form{
		Case: c, Path: path, Meaning: meaningOf(Prefix, meanings, p, typed), Credentials: credentials, Problem: p,
		Returned: typed.Get("return"), ReturnReason: typed.Get("return-reason"), ReturnProblem: p.At("return-reason"),
	}
	for _, v := range c.Visits {
		if v.Waiting != nil {
			f.Returns = append(f.Returns, v)
		}
	}
	offered := Signable(c)
	if len(offered) == 0 {
		f.Closed = whyClosed(c)
		return f
	}
	if typed.Has("stamp") {
		chosen = typed["sign"]
	} else if !slices.ContainsFunc(offered, func(v review.Visit) bool { return slices.Contains(chosen, v.ID) || slices.Contains(chosen, "all") }) {
		chosen = []string{offered[0].ID}
	}
	for _, v := range offered {
		s := Visit{Visit: v, Chosen: len(offered) == 1 || slices.Contains(chosen, "all") || slices.Contains(chosen, v.ID)}
		for _, finding := range checked[v.ID].Findings {
			if finding.Level == recist.Contradiction {
				s.Contradictions = append(s.Contradictions, finding)
			}
		}
		s.Reason, s.Problem = typed.Get("reason."+v.ID), p.At("reason-"+v.ID)
		f.Visits = append(f.Visits, s)
	}
	f.Several, f.Revision = len(offered) > 1, offered[0].Waiting.Assessment.Case.Revision
	if c.Revision > 0 && f.Revision > c.Revision {
		f.TakenBack, f.ElseToo = takenBack(c, offered)
	}
	return f
}

// Chosen returns the ids of the visits that the PI is about to sign, by timepoint: those that
// were asked for, all of them for "all", and otherwise the earliest. They are of one case
// revision, the highest, because signing that takes back the lower ones. One that cannot be
// signed is left out.
func Chosen(c review.Case, asked []string) (chosen []string) {
	all := slices.Contains(asked, "all")
	for _, only := range []bool{true, false} {
		highest := int32(0)
		for _, v := range c.Visits {
			if !c.Signable(v) || only && !all && !slices.Contains(asked, v.ID) {
				continue
			}
			if r := v.Waiting.Assessment.Case.Revision; r > highest {
				highest, chosen = r, nil
			} else if r < highest {
				continue
			}
			chosen = append(chosen, v.ID)
		}
		if only && len(chosen) > 0 {
			return chosen
		}
	}
	return chosen[:min(1, len(chosen))]
}

// Signable returns the visits that are offered for a sign-off: those that the outbox would
// sign together, of the highest case revision.
func Signable(c review.Case) (visits []review.Visit) {
	var revision int32
	for _, v := range c.Visits {
		if c.Signable(v) {
			revision = max(revision, v.Waiting.Assessment.Case.Revision)
		}
	}
	for _, v := range c.Visits {
		if c.Signable(v) && v.Waiting.Assessment.Case.Revision == revision {
			visits = append(visits, v)
		}
	}
	return visits
}

// whyClosed returns why nothing of the case can be signed.
func whyClosed(c review.Case) string {
	for _, v := range c.Visits {
		if reason := c.CannotSign(v); reason != "" {
			return fmt.Sprintf("%s (%s) cannot be signed: %s. Its source has to register it again.", v.Waiting.Assessment.Name, v.ID, reason)
		}
	}
	return "Nothing of this case waits for a signature."
}

// takenBack returns the visits of the case that are available and that a sign-off of those
// offered, in a higher case revision, takes back; and whether some of those offered are
// taken back too if they are not chosen.
func takenBack(c review.Case, offered []review.Visit) (list string, elseToo bool) {
	var names []string
	for _, v := range c.Visits {
		switch {
		case v.Signed == nil || !v.Signed.Available:
		case slices.ContainsFunc(offered, func(o review.Visit) bool { return o.ID == v.ID }):
			elseToo = len(offered) > 1
		default:
			names = append(names, fmt.Sprintf("%s (%s)", v.Signed.Assessment.Name, v.ID))
		}
	}
	return Join(names), elseToo
}

// Join returns a list as part of a sentence.
func Join(names []string) string {
	if n := len(names); n > 1 {
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
	return strings.Join(names, "")
}
