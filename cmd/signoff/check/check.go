// Package check compares the responses that an outbox has with those that RECIST 1.1
// gives, and prints what differs. It changes nothing and refuses nothing.
package check

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/events/recist"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// Contradictions returns how many of the visits contradict RECIST 1.1.
func Contradictions(checked []review.CheckedVersion) (n int) {
	for _, v := range checked {
		if v.Result.Contradicts() {
			n++
		}
	}
	return n
}

// visitFacts is what is printed of a visit as JSON.
type visitFacts struct {
	Study      string `json:"study"`
	Case       int32  `json:"case"`
	Assessment string `json:"assessment"`
	review.Result
}

// Print prints the visits of one study: as JSON one object a line, or else the number of
// findings of each code and every visit that contradicts RECIST 1.1.
func Print(t console.Terminal, checked []review.CheckedVersion) error {
	if t.JSON {
		lines := json.NewEncoder(t.Out)
		lines.SetEscapeHTML(false)
		for _, v := range checked {
			a := v.Assessment
			if err := lines.Encode(visitFacts{a.Study, a.Case.ID, a.ID, review.ResultOf(v.Result)}); err != nil {
				return err
			}
		}
		return nil
	}
	printCounts(t.Out, checked)
	for _, v := range checked {
		if v.Result.Contradicts() {
			PrintVisit(t.Out, v)
		}
	}
	return nil
}

// printCounts prints how many visits there are, and how many of them have a finding of
// each code.
func printCounts(w io.Writer, checked []review.CheckedVersion) {
	cases := map[int32]bool{}
	for _, v := range checked {
		cases[v.Assessment.Case.ID] = true
	}
	contradicts := "none contradicts RECIST 1.1"
	switch n := Contradictions(checked); n {
	case 0:
	case 1:
		contradicts = "1 contradicts RECIST 1.1"
	default:
		contradicts = fmt.Sprintf("%d contradict RECIST 1.1", n)
	}
	fmt.Fprintf(w, "study %s: %s, %s; %s\n", checked[0].Assessment.Study,
		console.Plural(len(cases), "case"), console.Plural(len(checked), "visit"), contradicts)
	counts := review.CountFindings(checked)
	if len(counts) == 0 {
		return
	}
	rows := make([][]string, len(counts))
	for i, c := range counts {
		rows[i] = []string{string(c.Level), c.Code, fmt.Sprint(c.Visits)}
	}
	fmt.Fprintln(w)
	console.Table(w, []string{"LEVEL", "FINDING", "VISITS"}, rows)
}

// PrintVisit prints a visit that contradicts RECIST 1.1, with its contradictions and where
// their rules stand.
func PrintVisit(w io.Writer, v review.CheckedVersion) {
	a, r := v.Assessment, v.Result
	fmt.Fprintln(w)
	console.Wrap(w, "assessment", fmt.Sprintf("%s, %s, of case %d, %s", a.ID, a.Version(), a.Case.ID, v.State))
	console.Wrap(w, "visit", fmt.Sprintf("%s of subject %s", a.Name, a.Subject))
	console.Wrap(w, "recorded", string(r.Recorded))
	console.Wrap(w, "RECIST 1.1", derived(r))
	for _, f := range r.Findings {
		if f.Level != recist.Contradiction {
			continue
		}
		text := f.Text
		if f.Source != "" {
			text += " (" + f.Source + ")"
		}
		console.Wrap(w, "why", text)
	}
}

// derived returns the response of a visit by RECIST 1.1 with the others that it admits.
func derived(r recist.Visit) string {
	switch {
	case r.Derived == recist.None:
		return "none at a baseline"
	case len(r.Admissible) == 0:
		return string(r.Derived)
	}
	others := make([]string, len(r.Admissible))
	for i, other := range r.Admissible {
		others[i] = string(other)
	}
	return string(r.Derived) + "; also admissible: " + strings.Join(others, ", ")
}
