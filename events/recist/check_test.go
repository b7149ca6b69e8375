package recist_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/recist"
)

// caseOf returns the visits of a case in a short notation. Visits are split by "|", and
// lesions by ",". At the baseline, "t 40" is a target, "n 18" a target that is a lymph
// node, "x here" a non-target and "xn 12" a non-target lymph node; a lesion without a
// letter is of the kind of the one before. Later visits have the lesions in the same
// order, then new lesions, as "w here". The responses are not recorded.
func caseOf(text string) []events.Assessment {
	var visits []events.Assessment
	var lesions []events.Lesion // of the baseline, without what the visit records
	for i, visit := range strings.Split(text, "|") {
		a := events.Assessment{ID: fmt.Sprint(100 + i), Name: events.Baseline, Timepoint: int32(i), Conclusion: "Undefined"}
		if i > 0 {
			a.Name = events.FollowUp(i)
		}
		words := strings.Split(visit, ",")
		for j, word := range words {
			word = strings.TrimSpace(word)
			kind, rest, ok := strings.Cut(word, " ")
			if !ok || !slices.Contains([]string{"t", "n", "x", "xn", "w"}, kind) {
				kind, rest = "", word
			}
			var l events.Lesion
			switch {
			case i == 0 && kind == "":
				l = lesions[len(lesions)-1]
				l.ID = fmt.Sprintf("L%02d", j)
				lesions = append(lesions, l)
			case i == 0:
				l = lesionOf(kind, j)
				lesions = append(lesions, l)
			case kind == "w":
				l = lesionOf(kind, j)
			default:
				l = lesions[j]
			}
			if record(&l, rest) {
				a.Lesions = append(a.Lesions, l)
			}
		}
		visits = append(visits, a)
	}
	return visits
}

func lesionOf(kind string, n int) events.Lesion {
	l := events.Lesion{ID: fmt.Sprintf("L%02d", n), Category: map[string]string{
		"t": "Target", "n": "Target", "x": "Non-target", "xn": "Non-target", "w": "New lesion"}[kind]}
	if strings.HasSuffix(kind, "n") {
		l.Organ = "Lymph node"
	}
	return l
}

// record sets what a visit records of a lesion. It reports false for a lesion without a
// row.
func record(l *events.Lesion, text string) bool {
	word, value, _ := strings.Cut(text, "=")
	states := map[string]string{
		"gone": "Disappeared", "here": "Present", "ne": "Not evaluable", "na": "Not assessed", "pd": "Uneqv. prog.",
		"equivocal": "Undefined", "too small": "Too small", "stable": "Stable/Improved", "none": "",
	}
	state, isState := states[word]
	switch {
	case text == "(no row)":
		return false
	case isState:
		l.State = state
	default:
		l.State, value = "Present", text
	}
	if value != "" {
		l.Value, l.Unit = events.Decimal(value), "mm"
	}
	return true
}

var responses = map[string]recist.Response{
	"–": recist.None, "?": recist.Unknown, "CR": recist.CR, "PR": recist.PR, "SD": recist.SD, "PD": recist.PD, "NE": recist.NE, "Non": recist.NonCRNonPD,
}

// short returns T / NT / overall and the admissible others, such as "SD / – / SD +PR".
func short(v recist.Visit) string {
	words := map[recist.Response]string{}
	for word, r := range responses {
		words[r] = word
	}
	text := words[v.Target] + " / " + words[v.NonTarget] + " / " + words[v.Derived]
	for _, r := range v.Admissible {
		text += " +" + words[r]
	}
	return text
}

func TestWorkedExamples(t *testing.T) {
	for _, e := range []struct{ visits, want, about string }{
		{"t 100 | 70", "PR / – / PR", "exactly -30 %"},
		{"t 84.5 | 59.18", "SD / – / SD", "-29.964 %, which is not -30 %"},
		{"t 23.0 | 16.1", "PR / – / PR", "exactly -30 %, which a float64 misses"},
		{"t 60 | 27.0 | 32.4", "PD / – / PD", "exactly +20 %, which a float64 misses"},
		{"t 100 | 20 | 24.9", "PR / – / PR", "+24.5 %, but 4.9 mm"},
		{"t 60 | 50.2 | 60.1", "SD / – / SD", "+9.9 mm, but 19.7 %"},
		{"t 25 | 30", "PD / – / PD", "the baseline is the nadir; exactly 20 % and 5 mm"},
		{"t 73 | 40 | 50", "PD / – / PD", "less than the baseline by 31.5 % and more than the nadir by 25 %"},
		{"t 165 | 63 | 65", "PR / – / PR", "a little growth after a response"},
		{"t 100 | 70 | 80", "SD / – / SD +PR", "a response may be read as continuing"},
		{"t 100 | 70 | 70 | 80 | 80", "SD / – / SD +PR", "also later"},
		{"t 40, x here | gone, gone", "CR / CR / CR", ""},
		{"t 40, x here | gone, here", "CR / Non / PR", ""},
		{"t 40, x here | gone, ne", "CR / NE / PR", ""},
		{"t 40, n 18 | gone, 9.9", "CR / – / CR", "the sum is 9.9 mm"},
		{"t 40, n 18 | gone, 10", "PR / – / PR", "10 is not below 10"},
		{"n 16, 16 | 6, 6 | 9, 9", "CR / – / CR", "nodes grow within the normal size"},
		{"t 20, 20 | 10, too small", "PR / – / PR", "10 + 5"},
		{"t 20, 20 | 23, too small", "PR / – / PR", "23 + 5, exactly -30 %"},
		{"t 20, 20 | 10, too small=3", "PR / – / PR", "10 + 3"},
		{"t 30, 20 | 10, ne", "NE / – / NE", ""},
		{"t 30, 20 | 10, (no row)", "NE / – / NE", ""},
		{"t 20, 20, 10 | 50, 30, ne", "PD / – / PD", "the guideline's own: from 50 to at least 80 mm"},
		{"t 30, x here | ne, pd", "NE / PD / PD", ""},
		{"t 100, x here | 60, ne", "PR / NE / PR", ""},
		{"t 100, x here | 90, gone", "SD / CR / SD", ""},
		{"t 100 | 50, w here", "PR / – / PD", ""},
		{"t 100 | 50, w equivocal", "PR / – / PR", ""},
		{"x here, here | here, gone", "– / Non / Non +SD", "SD is a preference only"},
		{"x here | gone", "– / CR / CR", ""},
		{"x here, here | here, ne", "– / NE / NE", ""},
		{"x here | pd", "– / PD / PD", ""},
		{"t 40 | gone | 4", "PR / – / PD +PR", "after a complete response, below 5 mm"},
		{"t 40 | gone | 5", "PD / – / PD", "the nadir is 0"},
		{"t 40, 30 | gone, 20 | 4, 20", "PR / – / PR", "it is seen again without a complete response before"},
		{"t 30, 30 | 10, ne | 20, 20", "PR / – / PR", "an incomplete sum is no nadir"},
		{"t 50 | 70 | 30", "PR / – / PR +PD", "progression before"},
		{"t 1E2 | 7E1", "PR / – / PR", "the digits as they are signed"},

		// A missing target that was gone may still be gone.
		{"t 30, n 18, 16 | gone, 5, 6 | ne, 9, 9.5", "NE / – / NE", "with the missing one still gone it would be CR"},
		{"t 30, 20 | gone, 4 | ne, 12", "PD / – / PD", "what is present is not normal"},
		// A missing target may be argued about.
		{"t 80, 11 | 30, ne", "NE / – / NE +PR", "35.5 to 52 of 91 mm"},
		{"t 21, 14, 12 | 32, 24, ne", "NE / – / NE +PD", "62 to 80, against 47 mm"},
		{"t 50, 50 | 48, ne", "NE / – / NE", "SD at half, PD at twice"},
		{"t 40, 40 | 40, gone | 40, ne", "NE / – / NE", "PR at 0, PD at 10 mm"},
		{"t 90, 40 | 52, gone | 52, ne", "NE / – / NE +PR", "what was gone is 0 or 10 mm: 62 is 19.2 % more than 52"},
		{"t 40, 40 | gone, 40 | gone, ne", "NE / – / NE", "PR at half, PD at twice"},
		{"t 30, n 18 | gone, 12 | gone, ne", "NE / – / NE", "CR at half is never argued"},
		{"t 80, 11, x here | 30, ne, pd", "NE / PD / PD", "nothing is to be argued"},
		// A non-target node of normal size is gone.
		{"t 40, xn 12 | gone, stable=9.9", "CR / CR / CR", ""},
		{"t 40, xn 12 | gone, stable=10", "CR / Non / PR", ""},
		{"t 40, xn 12 | gone, none=8", "CR / CR / CR", ""},
		{"t 40, xn 12 | gone, pd=8", "CR / CR / CR", "whatever its state says"},
		{"t 40, xn 12 | gone, ne=8", "CR / NE / PR", "what was not evaluated has no diameter"},
		// Small size makes a new lesion equivocal.
		{"t 100 | 50, w too small", "PR / – / PR", ""},
		// Disease after a complete response has to be seen.
		{"t 40, x here | gone, gone | gone, ne", "CR / NE / PR", "a non-target that was not evaluated is not seen"},
		{"t 40, x here | gone, gone | gone, here", "CR / Non / PD +PR", ""},
		{"x here | gone | here", "– / Non / PD +Non", ""},
		// A new lesion that is certain later dates progression.
		{"t 100 | 50, w equivocal | 50, w here", "PR / – / PD", ""},
		// A baseline without abnormal targets.
		{"n 8 | 7", "? / – / ?", ""},
		{"n 8, x here | 7, pd", "? / PD / PD", ""},
		{"n 8 | 7, w here", "? / – / PD", ""},
	} {
		t.Run(e.visits, func(t *testing.T) {
			result := recist.Check(caseOf(e.visits))
			if got := short(result[len(result)-1]); got != e.want {
				t.Errorf("%s, want %s (%s)\n%+v", got, e.want, e.about, result[len(result)-1].Findings)
			}
		})
	}
}
