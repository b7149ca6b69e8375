package queue

import (
	"fmt"

	"github.com/seed-e88a4ece/signoff/events/recist"
	"github.com/seed-e88a4ece/signoff/outbox/desk/page"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// Grade is the kind of a verdict.
type Grade int

// Grades, by how much they ask of the PI.
const (
	Nothing       Grade = iota // there is no response to compare
	Agrees                     // the record and RECIST 1.1 agree
	NotComputed                // what is recorded is not enough
	Judgement                  // RECIST 1.1 leaves it to the PI
	Contradiction              // a sign-off needs a reason
)

// Contradicts reports whether the grade is Contradiction; for templates, like the following.
func (g Grade) Contradicts() bool { return g == Contradiction }

// IsJudgement reports whether the grade is Judgement.
func (g Grade) IsJudgement() bool { return g == Judgement }

// Agrees reports whether the grade is Agrees.
func (g Grade) Agrees() bool { return g == Agrees }

// Verdict is what the check says of the visits that wait, in few words.
type Verdict struct {
	Grade
	Visit string          // name of the visit that it is about; empty if that is the one shown
	Text  string          // a sentence without its period, which Gives may end
	Gives recist.Response // what RECIST 1.1 gives; empty if Text has it all
	More  string          // other visits of the same grade; empty for none
}

// verdict returns the verdict on the visits that wait: of those of the highest grade the
// latest one.
func verdict(c review.Case, checked map[string]recist.Visit) Verdict {
	var found Verdict
	var of string
	others := 0
	signable := false
	for _, v := range c.Visits {
		if !c.Signable(v) {
			continue
		}
		next := verdictOf(c, checked, v.ID)
		switch {
		case !signable || next.Grade > found.Grade:
			others = 0
			found, of = next, v.ID
		case next.Grade == found.Grade:
			others++
			found, of = next, v.ID
		}
		signable = true
	}
	if !signable {
		return Verdict{Text: "Not checked, because it cannot be signed"}
	}
	if shown := latest(c); shown.Assessment.ID != of {
		found.Visit = checked[of].Name
	}
	if others > 0 && found.Grade > Agrees {
		found.More = "and " + page.Count(others, "more visit")
	}
	return found
}

// contradictionTexts are the findings of level Contradiction other than overall-differs, in
// few words.
var contradictionTexts = map[string]string{
	"sum-differs":        "The recorded sum is not that of the targets",
	"sum-without-target": "A sum is recorded although a target has none",
	"change-differs":     "A recorded change is not that of the sums",
}

// judgementTexts are the findings of level Judgement other than pd-earlier, in few words.
var judgementTexts = map[string]string{
	"disease-after-cr":      "disease after a complete response",
	"continued-pr":          "PR may continue",
	"missing-target-argued": "a target is missing",
	"non-target-sd":         "SD with non-target disease only",
	"new-confirmed":         "a doubtful new lesion is certain later",
}

// verdictOf returns the verdict on the visit with this id.
func verdictOf(c review.Case, checked map[string]recist.Visit, id string) Verdict {
	v := checked[id]
	byLevel := map[recist.Level][]recist.Finding{}
	for _, f := range v.Findings {
		byLevel[f.Level] = append(byLevel[f.Level], f)
	}
	switch {
	case len(byLevel[recist.Contradiction]) > 0:
		return contradiction(v, byLevel[recist.Contradiction])
	case len(byLevel[recist.Judgement]) > 0:
		f := byLevel[recist.Judgement][0]
		text := judgementTexts[f.Code]
		if f.Code == "pd-earlier" {
			text = "PD earlier, at " + progression(c, checked)
		}
		if text == "" { // a finding that has no short text
			text = f.Text
		}
		return Verdict{Grade: Judgement, Text: "Your judgement: " + text}
	case len(byLevel[recist.NotComputed]) > 0:
		return Verdict{Grade: NotComputed, Text: "Not enough in the record to check"}
	case v.Derived == recist.None:
		return Verdict{Text: "No response at baseline"}
	case v.Has("response-undefined"):
		return Verdict{Text: "No response recorded; RECIST 1.1 gives", Gives: v.Derived}
	default:
		return Verdict{Grade: Agrees, Text: "Agrees"}
	}
}

func contradiction(v recist.Visit, findings []recist.Finding) Verdict {
	if v.Has("overall-differs") {
		return Verdict{Grade: Contradiction, Text: "RECIST 1.1 gives", Gives: v.Derived}
	}
	text := contradictionTexts[findings[0].Code]
	if text == "" { // a finding that has no short text
		text = findings[0].Text
	}
	if n := len(findings); n > 1 {
		text += fmt.Sprintf(", and %d more", n-1)
	}
	return Verdict{Grade: Contradiction, Text: text}
}

// progression returns the name of the first visit of the case with progression.
func progression(c review.Case, checked map[string]recist.Visit) string {
	for _, visit := range c.Visits {
		v := checked[visit.ID]
		if v.Derived == recist.None { // a baseline, or not in force
			continue
		}
		if v.Recorded == recist.PD || v.Derived == recist.PD && v.Has("response-undefined") {
			return v.Name
		}
	}
	return "an earlier visit"
}
