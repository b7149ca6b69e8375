package sdtm

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
)

// maxVisits is the limit on the visits of a subject that are ordered by date, because
// the work grows with their square. A case has ids for fewer.
const maxVisits = 1000

// order orders a subject's visits by VISITNUM. Visits without a VISITNUM, which were
// not imported from SDTM, come first. If the dates of two visits contradict their
// numbers, there are two cases: where the days of all visits are known, the visits
// are ordered by date; otherwise the visits whose order is unclear are refused.
// Order returns, for a warning, which visits it moved and the line of one of them.
// Pairs of absent visits are left out of that.
func order(visits []*visit) (reordered string, line int) {
	slices.SortStableFunc(visits, compareByNumber)
	pairs := contradictions(visits)
	switch {
	case len(pairs) == 0:
		return "", 0
	case len(visits) > maxVisits:
		for _, v := range visits {
			v.refuseValue(v.line, events.Fieldf("VISITNUM", "the subject has more than %d visits, and their dates contradict their order", maxVisits))
		}
		return "", 0
	case slices.ContainsFunc(visits, func(v *visit) bool { return v.dayUnknown || !v.effective.isSet() }):
		refuseUnordered(visits, pairs)
		return "", 0
	}
	orderByDate(visits)
	const longest = 3
	var words []string
	pairs = slices.DeleteFunc(pairs, contradiction.bothAbsent) // no news of this delivery
	for _, p := range pairs[:min(len(pairs), longest)] {
		words = append(words, fmt.Sprintf("visit %s (%s) before visit %s (%s)", p.later.name(), p.later.effective.text, p.earlier.name(), p.earlier.effective.text))
	}
	if len(pairs) > longest {
		words = append(words, fmt.Sprintf("and %d more", len(pairs)-longest))
	}
	for _, p := range pairs {
		line = cmp.Or(line, p.later.line, p.earlier.line)
	}
	return strings.Join(words, ", "), line
}

// compareByNumber orders visits by VISITNUM and date. Visits without a number are
// before all others, ordered by timepoint.
func compareByNumber(a, b *visit) int {
	if a.number == "" || b.number == "" {
		return cmp.Or(
			cmp.Compare(min(len(a.number), 1), min(len(b.number), 1)),
			cmp.Compare(a.assessment.Timepoint, b.assessment.Timepoint),
			cmp.Compare(a.assessment.ID, b.assessment.ID),
		)
	}
	return cmp.Or(compareNumbers(a.number, b.number), a.effective.compare(b.effective), cmp.Compare(a.date, b.date))
}

// contradiction is two visits whose dates are certainly not in the order of
// their numbers.
type contradiction struct {
	earlier, later *visit // by number; by date, later is before earlier
	i, j           int    // indexes of earlier and later in the visits
}

// bothAbsent reports whether the delivery has neither visit. Their contradiction was
// decided when they were registered.
func (c contradiction) bothAbsent() bool { return c.earlier.absent && c.later.absent }

// contradictions returns one contradiction for each visit whose date is certainly
// before that of a visit with a lower number: the one with the lowest number. The
// visits must be ordered by number.
func contradictions(visits []*visit) []contradiction {
	var pairs []contradiction
	for j, v := range visits {
		for i, u := range visits[:min(j, maxVisits)] { // bounds the work; order refuses more visits
			if v.effective.isBefore(u.effective) {
				pairs = append(pairs, contradiction{u, v, i, j})
				break
			}
		}
	}
	return pairs
}

// refuseUnordered refuses, for each contradiction, the two visits and those between
// them. If one of the two has the lowest number, it is unclear which visit is the
// baseline, and all visits are refused.
func refuseUnordered(visits []*visit, pairs []contradiction) {
	for _, p := range slices.DeleteFunc(pairs, contradiction.bothAbsent) {
		err := events.Fieldf("VISITNUM", "the order of visits %s (%s) and %s (%s) is unclear: their dates contradict their numbers, and not all dates of the subject are known to the day",
			p.earlier.name(), p.earlier.effective.text, p.later.name(), p.later.effective.text)
		end := p.j + 1
		if p.i == 0 {
			end = len(visits)
		}
		for _, v := range visits[p.i:end] {
			v.refuseValue(v.line, err)
		}
	}
}

// orderByDate orders the visits, which are ordered by number. Each comes after all
// visits whose dates are certainly before its own; apart from that, the order by
// number remains.
func orderByDate(visits []*visit) {
	left := slices.Clone(visits)
	for i := range visits {
		endsFirst := slices.MinFunc(left, func(a, b *visit) int { return a.effective.period.Until.Compare(b.effective.period.Until) })
		// If endsFirst is not before a visit, none of those left is.
		first := slices.IndexFunc(left, func(v *visit) bool { return !endsFirst.effective.isBefore(v.effective) })
		visits[i] = left[first]
		left = slices.Delete(left, first, first+1)
	}
}
