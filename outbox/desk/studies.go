package desk

import (
	"cmp"
	"html/template"
	"net/http"
	"slices"
	"strconv"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/recist"
	"github.com/seed-e88a4ece/signoff/outbox/desk/chart"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// Bounds of the page of a study.
const (
	maxPlotted        = 2000 // cases; a study with more has no plots and counts
	maxContradictions = 50   // that are listed
)

// studies answers with the studies that are granted.
func (d *Desk) studies(w http.ResponseWriter, q *request) error {
	var sizes []review.StudySize
	for _, study := range q.pi.Studies {
		size, err := d.outbox.Reviews().StudySize(q.Context(), study)
		if err != nil {
			return err
		}
		sizes = append(sizes, size)
	}
	return pages.Write(w, http.StatusOK, "studies", d.frame(q, "studies", "Studies", sizes))
}

// studyPage is what the page of a study shows.
type studyPage struct {
	review.StudySize
	TooLarge bool // to be plotted and counted
	Visits   int  // follow-ups in force

	Waterfall, Spider []template.HTML // wide and narrow
	Responses         []responseCount
	Findings          []findingCount
	Contradictions    []contradictingVisit
	More              int // visits with contradictions that are not listed
}

// responseCount is how many follow-ups have a response.
type responseCount struct {
	Response          recist.Response
	Recorded, Derived int
}

// findingCount is how many visits have a finding.
type findingCount struct {
	review.FindingCount
	Text string
}

// contradictingVisit is a visit that contradicts RECIST 1.1.
type contradictingVisit struct {
	review.CheckedVersion
	Address string // of the case
	Waits   bool
}

// study answers with one study.
func (d *Desk) study(w http.ResponseWriter, q *request) error {
	study, ok := events.StudyWithKey(q.pi.Studies, q.PathValue("key"))
	if !ok {
		return errNoStudy
	}
	size, err := d.outbox.Reviews().StudySize(q.Context(), study)
	if err != nil {
		return err
	}
	p := studyPage{StudySize: size, TooLarge: size.Cases > maxPlotted}
	if !p.TooLarge && size.Cases > 0 {
		checked, err := d.outbox.Reviews().Check(q.Context(), review.WaitingFilter{Study: size.Study})
		if err != nil {
			return err
		}
		p.fill(checked)
	}
	return pages.Write(w, http.StatusOK, "study", d.frame(q, "studies", "Study "+size.Study, p))
}

// fill sets the plots and the counts from the versions in force, which are in the order of
// cases and timepoints.
func (p *studyPage) fill(checked []review.CheckedVersion) {
	var cases []chart.Case
	counts := map[recist.Response]*responseCount{}
	count := func(r recist.Response) *responseCount {
		if counts[r] == nil {
			counts[r] = &responseCount{Response: r}
		}
		return counts[r]
	}
	number := int32(0)
	for _, v := range checked {
		if v.Assessment.Case.ID != number {
			number = v.Assessment.Case.ID
			cases = append(cases, chart.Case{Label: strconv.Itoa(int(number))})
		}
		of := &cases[len(cases)-1]
		waits := v.State == review.VersionWaiting
		of.Visits = append(of.Visits, chart.Visit{Assessment: v.Assessment, Result: v.Result, Waits: waits})
		if v.Result.Derived != recist.None {
			p.Visits++
			count(v.Result.Recorded).Recorded++
			count(v.Result.Derived).Derived++
		}
		if v.Result.Contradicts() {
			if len(p.Contradictions) == maxContradictions {
				p.More++
				continue
			}
			p.Contradictions = append(p.Contradictions, contradictingVisit{v, casePath(p.Study, number), waits})
		}
	}
	for _, c := range counts {
		p.Responses = append(p.Responses, *c)
	}
	order := []recist.Response{recist.CR, recist.PR, recist.SD, recist.NonCRNonPD, recist.PD, recist.NE}
	place := func(r recist.Response) int {
		if i := slices.Index(order, r); i >= 0 {
			return i
		}
		return len(order)
	}
	slices.SortFunc(p.Responses, func(a, b responseCount) int {
		return cmp.Or(cmp.Compare(place(a.Response), place(b.Response)), cmp.Compare(a.Response, b.Response))
	})
	p.Findings = findings(checked)
	for _, of := range []struct {
		name string
		size chart.Size
	}{{"wide", chart.Wide}, {"narrow", chart.Narrow}} {
		p.Waterfall = append(p.Waterfall, chart.Waterfall("waterfall-"+of.name, of.size, cases))
		p.Spider = append(p.Spider, chart.Spider("spider-"+of.name, of.size, cases))
	}
}

// findings returns how many visits have each finding, by level, the most frequent first.
func findings(checked []review.CheckedVersion) []findingCount {
	counts := make([]findingCount, 0)
	for _, c := range review.CountFindings(checked) {
		counts = append(counts, findingCount{c, cmp.Or(findingTexts[c.Code], c.Code)})
	}
	slices.SortStableFunc(counts, func(a, b findingCount) int {
		if a.Level != b.Level {
			return 0 // in order already
		}
		return cmp.Compare(b.Visits, a.Visits)
	})
	return counts
}

// findingTexts are the findings of package recist in few words.
var findingTexts = map[string]string{
	"overall-differs":        "the recorded response is another than RECIST 1.1 gives",
	"sum-differs":            "the recorded sum is not that of the targets",
	"sum-without-target":     "a sum is recorded although a target has no diameter",
	"change-differs":         "a recorded change is not that of the sums",
	"disease-after-cr":       "disease is seen after a complete response",
	"continued-pr":           "a partial response may continue",
	"pd-earlier":             "progression was recorded earlier",
	"missing-target-argued":  "a response may be argued although a target is missing",
	"non-target-sd":          "stable disease is recorded with non-target disease only",
	"new-confirmed":          "a doubtful new lesion is certain later",
	"not-enough":             "not enough is recorded to check",
	"equivocal-new":          "a new lesion is doubtful and counts as none",
	"not-all-evaluated":      "not all non-target lesions were evaluated",
	"markers-unknown":        "a complete response also needs normal tumour markers",
	"lesions-differ":         "the sum is over other lesions than the baseline’s",
	"response-undefined":     "no response of RECIST 1.1 is recorded",
	"baseline-has-response":  "a response is recorded at the baseline",
	"history-incomplete":     "an earlier visit of the case is missing",
	"cr-not-met":             "a complete response is recorded that RECIST 1.1 does not give",
	"baseline-normal":        "no target is abnormal at the baseline",
	"disappeared-with-value": "a lesion that disappeared has a diameter",
	"node-normal":            "a non-target node below 10 mm counts as gone",
	"target-small":           "a target is below 10 mm at the baseline",
	"node-small":             "a target node is below 15 mm at the baseline",
	"many-targets":           "there are more than 5 targets",
	"many-per-organ":         "there are more than 2 targets in one organ",
}
