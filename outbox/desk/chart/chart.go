// Package chart draws the plots of the desk as SVG: the sums of a case over time, small
// trends for tables, and the waterfall and the spider plot of a study.
//
// A plot is a pure function of the assessments and of what events/recist computed from
// them. It has a title and a description in sentences. Its ids begin with the id that the
// caller chose, so several plots can stand in one page. There is no style attribute and no
// script in it: the classes get their colours from CSS, the style sheet of the package,
// which needs the colour variables of the page. Colour never stands alone for a meaning.
//
// The package does not decide what a response is. It draws what was recorded and what
// events/recist returned.
package chart

import (
	_ "embed" // for the style sheet
	"math/big"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/recist"
)

// CSS is the style sheet for the classes of the plots. It uses the variables --ink, --soft,
// --hair, --card, --sans, --cr, --pr, --sd, --pd and --ne of the page.
//
//go:embed chart.css
var CSS string

// Visit is a visit of a case in the version that counts.
type Visit struct {
	Assessment events.Assessment
	Result     recist.Visit // of this assessment, as recist.Check returned it
	Waits      bool         // for its sign-off; otherwise it is signed
}

// Case is a case of a study.
type Case struct {
	Label  string  // such as the case number
	Visits []Visit // by timepoint
}

// comparable reports whether the sum is over the target lesions of the first visit, so
// that it can be joined with the other sums.
func (v Visit) comparable() bool {
	return !v.Result.Has("lesions-differ")
}

// sumText returns the sum as it was recorded where that is what was computed: 50.0 stays
// 50.0. Otherwise it returns the computed sum, "" for none. The unit is left out.
func (v Visit) sumText(sum amount) string {
	if !sum.known() {
		return ""
	}
	computed := sum.String()
	m := v.Assessment.Measurement
	if m == nil || string(m.Value) == computed {
		return computed
	}
	if recorded, ok := new(big.Rat).SetString(string(m.Value)); ok && recorded.Cmp(sum.exact) == 0 {
		return visible(string(m.Value))
	}
	return computed
}

// response returns the recorded response, or the computed one where no response of RECIST
// 1.1 is recorded.
func (v Visit) response() recist.Response {
	if r := v.Result.Recorded; abbreviations[r] != "" {
		return r
	}
	return v.Result.Derived
}

// name returns the name of the visit for sentences.
func (v Visit) name() string { return visible(v.Result.Name) }

// shortName returns the name of the visit for an axis: BL or FU 3.
func (v Visit) shortName() string {
	if v.Result.Name == events.Baseline {
		return "BL"
	}
	if n, ok := strings.CutPrefix(v.Result.Name, "Follow-up "); ok {
		return "FU " + clip(visible(n), 3)
	}
	return clip(v.name(), 8)
}

// abbreviations of the responses of RECIST 1.1.
var abbreviations = map[recist.Response]string{
	recist.CR: "CR", recist.PR: "PR", recist.SD: "SD", recist.PD: "PD", recist.NE: "NE", recist.NonCRNonPD: "Non-CR/Non-PD",
}

// shortNonCRNonPD abbreviates Non-CR/Non-PD where there is little room.
const shortNonCRNonPD = "N/N"

// classOf returns the class that colours a response.
func classOf(r recist.Response) string {
	switch r {
	case recist.CR, recist.PR, recist.SD, recist.PD, recist.NE:
		return strings.ToLower(abbreviations[r])
	case recist.NonCRNonPD:
		return "sd"
	default:
		return "un"
	}
}

// amount is a length in mm: exact for texts, and as a number for coordinates. The zero
// value is none.
type amount struct {
	exact *big.Rat
	mm    float64
}

func amountOf(l recist.Length) amount {
	if !l.Known() {
		return amount{}
	}
	r, ok := new(big.Rat).SetString(strings.TrimSuffix(l.String(), " "+events.Unit))
	if !ok { // cannot be
		return amount{}
	}
	return exactly(r)
}

func exactly(r *big.Rat) amount {
	mm, _ := r.Float64()
	return amount{r, mm}
}

func (a amount) known() bool { return a.exact != nil }

// less reports whether a is less than b. Numbers are rounded from the exact lengths, so
// that numbers that differ order the lengths too.
func (a amount) less(b amount) bool {
	if a.mm != b.mm {
		return a.mm < b.mm
	}
	return a.exact.Cmp(b.exact) < 0
}

// equal reports whether a and b are the same length. None is equal to nothing.
func (a amount) equal(b amount) bool {
	return a.known() && b.known() && a.mm == b.mm && a.exact.Cmp(b.exact) == 0
}

// String returns the length in decimal with all its digits and without the unit.
func (a amount) String() string {
	digits, _ := a.exact.FloatPrec()
	return a.exact.FloatString(digits)
}

// partialLimit returns the sum at and below which the response is partial: 0.7 times the
// baseline's. It returns none where the baseline has no sum, or one of 0.
func partialLimit(baseline amount) amount {
	if !baseline.known() || baseline.exact.Sign() == 0 {
		return amount{}
	}
	return exactly(new(big.Rat).Mul(baseline.exact, big.NewRat(7, 10)))
}

// progressionLimit returns the sum at and above which the targets progress: 1.2 times the
// nadir, and at least 5 mm more than it.
func progressionLimit(nadir amount) amount {
	relative := new(big.Rat).Mul(nadir.exact, big.NewRat(6, 5))
	absolute := new(big.Rat).Add(nadir.exact, big.NewRat(5, 1))
	if relative.Cmp(absolute) < 0 {
		return exactly(absolute)
	}
	return exactly(relative)
}
