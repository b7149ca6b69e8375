package recist

import (
	"fmt"
	"slices"

	"github.com/seed-e88a4ece/signoff/events"
)

// nonTargetResponse returns the response of the non-target lesions at a visit after the
// baseline.
func (c *series) nonTargetResponse(v *visit) verdict {
	progressed, open, left := c.nonTargetsOf(v.assessment)
	switch {
	case len(progressed) > 0:
		return verdict{PD, fmt.Sprintf("non-target %s progressed unequivocally", names(progressed)), progressed, sourceNonTargets}
	case len(c.nonTargets) == 0:
		return verdict{}
	case v.bare:
		return verdict{response: Unknown, why: "no lesion is recorded", source: sourceNonTargets}
	case len(open) > 0:
		return verdict{NE, fmt.Sprintf("non-target %s %s not evaluated", names(open), was(open)), open, sourceNonTargets}
	case len(left) > 0:
		return verdict{NonCRNonPD, fmt.Sprintf("non-target %s %s left", names(left), is(left)), left, sourceNonTargets}
	default:
		return verdict{CR, "all non-targets have disappeared or are nodes below 10 mm", slices.Clone(c.nonTargets), sourceNonTargets}
	}
}

// nonTargetsOf returns the ids of the non-target lesions of a visit that progressed
// unequivocally, and those of the first visit's that are open, because they were not
// evaluated or have no row, and that are left. One that progressed counts also if the
// first visit lacks it.
func (c *series) nonTargetsOf(a events.Assessment) (progressed, open, left []string) {
	found := map[string]bool{} // ids of lesions of the first visit
	for _, l := range a.Lesions {
		if l.Category != categoryNonTarget {
			continue
		}
		of := c.nonTargetIDs.originals(l.ID)
		for _, id := range of {
			found[id] = true
		}
		switch {
		case c.isNormalNode(l), l.State == stateDisappeared:
		case l.State == stateProgressed:
			progressed = append(progressed, l.ID)
		case len(of) == 0:
		case l.State == "", notEvaluated(l):
			open = append(open, l.ID)
		default:
			left = append(left, l.ID)
		}
	}
	for _, id := range c.nonTargets {
		if !found[id] {
			open = append(open, id)
		}
	}
	return distinct(progressed), distinct(open), distinct(left)
}

// isNormalNode reports whether the lesion is a lymph node whose short axis is recorded and
// below 10 mm. It counts as gone, whatever its state.
func (c *series) isNormalNode(l events.Lesion) bool {
	axis := parseLength(l.Value)
	return axis != nil && !notEvaluated(l) && axis.less(nodeLimit()) && c.isNode(l)
}

// certainty is how certain it is that a new lesion is one.
type certainty int

const (
	unequivocal certainty = iota
	equivocal
)

// NewLesions returns the ids of the unequivocal new lesions of an assessment, sorted.
func NewLesions(a events.Assessment) []string { return newLesions(a, unequivocal) }

// newLesions returns the ids of the new lesions of an assessment that have this certainty,
// sorted. One that is too small, or of undefined or no state, is equivocal. One that has
// disappeared or was not evaluated is neither.
func newLesions(a events.Assessment, want certainty) []string {
	var ids []string
	for _, l := range a.Lesions {
		if l.Category != categoryNew || l.State == stateDisappeared || notEvaluated(l) {
			continue
		}
		is := unequivocal
		if l.State == stateUndefined || l.State == stateTooSmall || l.State == "" {
			is = equivocal
		}
		if is == want {
			ids = append(ids, l.ID)
		}
	}
	return distinct(ids)
}

// distinct returns the ids sorted, each once.
func distinct(ids []string) []string {
	slices.Sort(ids)
	return slices.Compact(ids)
}
