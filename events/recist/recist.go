// Package recist computes tumour responses by RECIST 1.1 from the lesions that a case
// records, and compares them with the responses that were recorded.
//
// Check takes the visits of a case and returns for each one the response that RECIST 1.1
// gives, the other responses that it admits, and findings: sentences about what differs
// from the record or is open. The arithmetic is exact. A response contradicts RECIST 1.1
// only if it is neither the computed one nor an admissible other, so that a finding of
// level Contradiction needs an explanation.
//
// The package changes nothing and refuses nothing. It computes responses at a visit, not
// the best overall response, and needs no confirmation. Tumour markers, and criteria other
// than RECIST 1.1, are not in the record.
package recist

import (
	"cmp"
	"slices"

	"github.com/seed-e88a4ece/signoff/events"
)

// Response is a response of the target lesions, of the non-target lesions, or of a visit
// as a whole, in the words of a conclusion.
type Response string

// The responses. None is that of lesions that the case does not have, and the overall one
// of the baseline. Unknown is one that cannot be computed from what is recorded.
const (
	None       Response = ""
	Unknown    Response = "Unknown"
	CR         Response = "Complete Response"
	PR         Response = "Partial Response"
	SD         Response = "Stable Disease"
	PD         Response = "Progressive Disease"
	NE         Response = "Not Evaluable"
	NonCRNonPD Response = "Non-CR/Non-PD"
)

// Short returns the abbreviation of a response, or the response itself if it has none.
func (r Response) Short() string {
	switch r {
	case CR:
		return "CR"
	case PR:
		return "PR"
	case SD:
		return "SD"
	case PD:
		return "PD"
	case NE:
		return "NE"
	}
	return string(r)
}

// comparable reports whether r is a response of RECIST 1.1. Undefined, No and Yes are
// conclusions, but no such response.
func (r Response) comparable() bool { return r.evaluable() || r == NE }

// evaluable reports whether r is a response of RECIST 1.1 other than Not Evaluable.
func (r Response) evaluable() bool {
	return r == CR || r == PR || r == SD || r == PD || r == NonCRNonPD
}

// Visit is what RECIST 1.1 gives for one visit of a case.
type Visit struct {
	Assessment string // id
	Name       string // of the visit, such as Follow-up 1
	Timepoint  int32

	Target    Response // of the target lesions
	NonTarget Response // of the non-target lesions
	New       bool     // whether there is an unequivocal new lesion

	// Progressed has the ids of the non-target lesions that progressed unequivocally, sorted.
	Progressed []string

	Recorded   Response   // the conclusion as it is recorded
	Derived    Response   // the response of the visit; None at the baseline
	Admissible []Response // others that may be recorded; each is explained by a judgement

	// Sum of the diameters of the target lesions, that of the baseline, and the smallest
	// one before the visit, with which it is compared. The zero value is none.
	Sum, Baseline, Nadir Length

	Findings []Finding // contradictions first, then judgements, what is unknown, and notes
}

// Contradicts reports whether the visit has a finding of level Contradiction.
func (v Visit) Contradicts() bool {
	return slices.ContainsFunc(v.Findings, func(f Finding) bool { return f.Level == Contradiction })
}

// Has reports whether the visit has a finding with this code.
func (v Visit) Has(code string) bool {
	return slices.ContainsFunc(v.Findings, func(f Finding) bool { return f.Code == code })
}

// Check returns what RECIST 1.1 gives for each of the visits of one case, by timepoint.
// Each visit is there once, in the version that counts. The order of visits and lesions
// does not matter.
//
// What a later visit records changes the result of an earlier one in one respect only: an
// equivocal new lesion that is unequivocal later makes Progressive Disease admissible
// where it was seen first.
func Check(visits []events.Assessment) []Visit {
	sorted := slices.Clone(visits)
	slices.SortStableFunc(sorted, func(a, b events.Assessment) int {
		return cmp.Or(cmp.Compare(a.Timepoint, b.Timepoint), cmp.Compare(a.ID, b.ID))
	})
	c := &series{parts: map[string]map[string]bool{}}
	for i, a := range sorted {
		c.add(i, a)
	}
	out := make([]Visit, len(c.visits))
	for i, v := range c.visits {
		c.judge(i)
		c.noteVisit(i)
		slices.SortStableFunc(v.result.Findings, func(a, b Finding) int {
			return cmp.Compare(order[a.Level], order[b.Level])
		})
		out[i] = v.result
	}
	return out
}

// series is the visits of a case while they are checked.
type series struct {
	visits []*visit

	// The lesions of the first visit: of the baseline, or of the earliest visit if the
	// baseline is not there. The later ones are followed against these.
	targets, nonTargets     []string // ids, sorted
	targetIDs, nonTargetIDs idIndex
	first                   map[string]events.Lesion

	parts map[string]map[string]bool // by target: ids of its parts, such as T02.1 of T02, at any visit so far
}

// visit is a visit while it is checked.
type visit struct {
	assessment events.Assessment
	isBaseline bool
	gap        bool // a visit up to this one is missing
	bare       bool // no lesion is recorded, though a sum is

	members  members // the target lesions
	recorded *Length // the sum as it is recorded; nil for none
	added    *Length // the sum of the diameters; nil if one is missing
	sum      *Length // what counts as the sum: added, or recorded where that cannot be computed
	compared bool    // whether the sum is over the same lesions as the others

	baseline, nadir *Length // nil for none
	nadirAt         string  // the visit of the nadir

	target, nonTarget verdict
	result            Visit
}

// verdict is a response with the reason for it.
type verdict struct {
	response Response
	why      string
	lesions  []string
	source   string
}

// add appends the i-th visit of the series, with the responses of its target and
// non-target lesions. They depend on earlier visits only.
func (c *series) add(i int, a events.Assessment) {
	v := &visit{assessment: a, isBaseline: i == 0 && a.Timepoint == 0, compared: true}
	v.result = Visit{Assessment: a.ID, Name: a.Name, Timepoint: a.Timepoint, Recorded: Response(a.Conclusion)}
	v.gap = int64(a.Timepoint) != int64(i) || i > 0 && c.visits[i-1].gap
	if i == 0 {
		c.begin(a)
	}
	c.visits = append(c.visits, v)
	c.measure(i)
	if v.isBaseline {
		return
	}
	v.target = c.targetResponse(v)
	v.nonTarget = c.nonTargetResponse(v)
	v.result.Target, v.result.NonTarget = v.target.response, v.nonTarget.response
	v.result.New = len(newLesions(a, unequivocal)) > 0
	if v.nonTarget.response == PD {
		v.result.Progressed = v.nonTarget.lesions
	}
}

// begin takes the lesions of the first visit.
func (c *series) begin(a events.Assessment) {
	c.first = map[string]events.Lesion{}
	for _, l := range a.Lesions {
		if _, twice := c.first[l.ID]; twice {
			continue
		}
		c.first[l.ID] = l
		switch l.Category {
		case categoryTarget:
			c.targets = append(c.targets, l.ID)
		case categoryNonTarget:
			c.nonTargets = append(c.nonTargets, l.ID)
		}
	}
	slices.Sort(c.targets)
	slices.Sort(c.nonTargets)
	c.targetIDs, c.nonTargetIDs = newIndex(c.targets), newIndex(c.nonTargets)
}
