// Package queue makes the rows of the page of what waits: what waits in a case, what changed
// since it was signed last, its sums, and what RECIST 1.1 gives for it.
//
// Texts of the assessments are in the rows as they were registered; who prints them makes
// their invisible characters visible.
package queue

import (
	"fmt"
	"html/template"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/recist"
	"github.com/seed-e88a4ece/signoff/outbox/desk/casetable"
	"github.com/seed-e88a4ece/signoff/outbox/desk/changes"
	"github.com/seed-e88a4ece/signoff/outbox/desk/chart"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// Bounds of what a row names.
const (
	maxNames   = 4 // visits
	maxLines   = 3 // visits whose changes are listed
	maxChanges = 3 // of a visit
	maxLesions = 3
)

// Row is a case in which something waits.
type Row struct {
	Case    review.QueuedCase
	Waits   string   // names of the visits that wait
	Changed []string // since they were signed last

	// Of the visit that waits, the latest one if there are several.
	Spark     template.HTML
	Sum       string // empty for none
	NoSum     string // why there is no sum, if that is known
	FromNadir string // empty for none
	Recorded  recist.Response

	Verdict       Verdict
	Contradicting int // how many of the visits that wait contradict RECIST 1.1
}

// Contradicting returns the number of visits that wait and contradict RECIST 1.1. Those that
// cannot be signed are left out.
func Contradicting(c review.Case, checked map[string]recist.Visit) int {
	n := 0
	for _, v := range c.Visits {
		if c.Signable(v) && checked[v.ID].Contradicts() {
			n++
		}
	}
	return n
}

// NewRow returns the row of a case. Id begins the ids of its elements, and checked is the
// result of c.Check.
func NewRow(id string, c review.QueuedCase, checked map[string]recist.Visit) Row {
	r := Row{Case: c, Waits: names(c.Case), Changed: changed(c.Case), Verdict: verdict(c.Case, checked), Contradicting: Contradicting(c.Case, checked)}
	r.Spark = chart.Spark(id+"-sums", casetable.Visits(c.Case, checked))
	if shown := latest(c.Case); shown != nil {
		r.measure(shown.Assessment)
	}
	return r
}

// latest returns the latest version that waits and can be signed, or any that waits if none
// can be.
func latest(c review.Case) (version *review.Version) {
	for _, v := range c.Visits {
		if c.Signable(v) {
			version = v.Waiting
		}
	}
	for _, v := range c.Visits {
		if version == nil {
			version = v.Waiting
		}
	}
	return version
}

// measure sets the sum and the response that an assessment records.
func (r *Row) measure(a events.Assessment) {
	r.Recorded = recist.Response(a.Conclusion)
	if m := a.Measurement; m != nil {
		r.Sum = string(m.Value) + " " + m.Unit
		if m.ChangeFromNadir != events.NoChange {
			r.FromNadir = m.ChangeFromNadir
		}
		return
	}
	var missing []string
	for _, l := range a.Lesions {
		if l.Category == "Target" && !recist.Diameter(l).Known() {
			text := l.ID + " " + strings.ToLower(l.State)
			if l.State == "" || l.State == "Present" {
				text = l.ID + " without a diameter"
			}
			missing = append(missing, text)
		}
	}
	r.NoSum = list(missing, maxLesions)
}

// names returns the names of the visits that wait.
func names(c review.Case) string {
	var all []string
	for _, v := range c.Visits {
		if v.Waiting != nil {
			all = append(all, v.Waiting.Assessment.Name)
		}
	}
	return list(all, maxNames)
}

// list joins words. Of many it has the first few and the number of the others.
func list(words []string, most int) string {
	if len(words) <= most+1 {
		return strings.Join(words, ", ")
	}
	return strings.Join(words[:most], ", ") + " and " + strconv.Itoa(len(words)-most) + " more"
}

// changed returns in lines what waits and was not there, or was otherwise, when the case was
// signed last.
func changed(c review.Case) []string {
	waiting := slices.DeleteFunc(slices.Clone(c.Visits), func(v review.Visit) bool { return v.Waiting == nil })
	signed := slices.ContainsFunc(c.Visits, func(v review.Visit) bool { return v.Signed != nil })
	if !signed && !slices.ContainsFunc(waiting, func(v review.Visit) bool { return !c.Signable(v) }) {
		return []string{unsigned(waiting)}
	}
	var lines []string
	var fresh []string // names of visits of which nothing was signed
	for _, v := range waiting {
		name := ""
		if len(waiting) > 1 {
			name = v.Waiting.Assessment.Name + ": "
		}
		switch {
		case !c.Signable(v):
			lines = append(lines, name+"cannot be signed: "+c.CannotSign(v))
		case v.Signed == nil:
			fresh = append(fresh, v.Waiting.Assessment.Name)
		default:
			lines = append(lines, name+since(*v.Signed, v.Waiting.Assessment))
		}
	}
	if more := len(lines) - maxLines; more > 1 {
		lines = append(lines[:maxLines], fmt.Sprintf("and %d more visits that changed", more))
	}
	switch {
	case len(waiting) == 1 && len(fresh) == 1:
		lines = append(lines, "New visit")
	case len(fresh) > 0:
		lines = append(lines, "New: "+list(fresh, maxNames))
	}
	return lines
}

// unsigned returns the line of a case in which nothing was signed.
func unsigned(waiting []review.Visit) string {
	revision := int32(0)
	for _, v := range waiting {
		revision = max(revision, v.Waiting.Assessment.Case.Revision)
	}
	if revision > 1 {
		return fmt.Sprintf("Case revision %d; nothing signed yet", revision)
	}
	return "Nothing signed yet"
}

// since returns what changed from the version signed last to the one that waits.
func since(signed review.Version, a events.Assessment) string {
	text := ""
	if signed.Withdrawal != nil {
		text = "The signed version is withdrawn. "
	}
	var numbers []string
	if a.Case.Revision != signed.Assessment.Case.Revision {
		numbers = append(numbers, fmt.Sprintf("case revision %d", a.Case.Revision))
	}
	if a.Revision != signed.Assessment.Revision {
		numbers = append(numbers, fmt.Sprintf("revision %d", a.Revision))
	}
	text += upperFirst(strings.Join(numbers, ", ")) + ": "
	differences := changes.Between(signed.Assessment, a)
	switch more := len(differences) - maxChanges; {
	case len(differences) == 0:
		return text + "nothing else changed"
	case more > 0:
		return fmt.Sprintf("%s%s, and %d more", text, strings.Join(differences[:maxChanges], "; "), more)
	default:
		return text + strings.Join(differences, "; ")
	}
}

func upperFirst(text string) string {
	if text == "" {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}
