package sdtm

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
)

// maxVisits is how many visits of a subject are ordered; a case has place for
// fewer.
const maxVisits = 1000

// order orders a subject's visits by VISITNUM, and those without one, which were
// registered otherwise, before them. Where dates certainly contradict that, the
// dates decide if each is known to the day; else the visits whose order is
// unclear are refused. It returns what was reordered, for a warning, and its line.
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
	case slices.ContainsFunc(visits, func(v *visit) bool { return v.coarse || !v.effective.isSet() }):
		refuseUnordered(visits, pairs)
		return "", 0
	}
	orderByDate(visits)
	const longest = 3
	var words []string
	pairs = slices.DeleteFunc(pairs, contradiction.bothAbsent)
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
	earlier, later *visit // by number
	i, j           int    // their indexes
}

// bothAbsent reports whether both visits are registered already in the order that
// they have.
func (c contradiction) bothAbsent() bool { return c.earlier.absent && c.later.absent }

// contradictions returns, for each visit that is certainly before one with a
// lower number, the lowest such.
func contradictions(visits []*visit) []contradiction {
	var pairs []contradiction
	for j, v := range visits {
		for i, u := range visits[:min(j, maxVisits)] {
			if v.effective.isBefore(u.effective) {
				pairs = append(pairs, contradiction{u, v, i, j})
				break
			}
		}
	}
	return pairs
}

// refuseUnordered refuses the visits of which it is unclear which comes first,
// and those between them. Without a baseline, all are refused.
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

// orderByDate orders the visits so that each comes after all that are certainly
// before it, and otherwise by number.
func orderByDate(visits []*visit) {
	left := slices.Clone(visits)
	for i := range visits {
		ends := slices.MinFunc(left, func(a, b *visit) int { return a.effective.period.Until.Compare(b.effective.period.Until) })
		first := slices.IndexFunc(left, func(v *visit) bool { return !ends.effective.isBefore(v.effective) })
		visits[i] = left[first]
		left = slices.Delete(left, first, first+1)
	}
}
