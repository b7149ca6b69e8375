package sdtm

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/intake"
)

// measure sets the sum of diameters and the changes of each of a subject's
// visits. A visit whose changes depend on a visit of unknown value is refused.
func measure(visits []*visit) {
	var baseline, previous, nadir *length
	var unknown *visit
	targets := comparison{baseline: visits[0].targets(), parts: map[string]bool{}}
	for i, v := range visits {
		if v.valueUnknown {
			unknown = v
			continue
		}
		sum, compared := v.sumOver(targets)
		v.assessment.Measurement = nil
		if sum == nil {
			continue
		}
		if unknown != nil {
			v.refuse(v.line, events.Fieldf("VISITNUM", "the changes of visit %s cannot be known while visit %s is refused (line %d)",
				v.name(), unknown.name(), unknown.refusal.Line))
			continue
		}
		m := &events.Measurement{
			Type: events.MeasurementType, Value: sum.text, Unit: events.Unit,
			ChangeFromPrevious: events.NoChange, ChangeFromBaseline: events.NoChange, ChangeFromNadir: events.NoChange,
		}
		v.assessment.Measurement = m
		if compared {
			m.ChangeFromPrevious, m.ChangeFromBaseline, m.ChangeFromNadir = sum.changeFrom(previous), sum.changeFrom(baseline), sum.changeFrom(nadir)
		}
		if i == 0 {
			m.ChangeFromBaseline = "0.0 mm"
		}
		if !compared || v.withdrawn() {
			continue
		}
		if i == 0 {
			baseline = sum
		}
		if nadir == nil || sum.compare(nadir) < 0 {
			nadir = sum
		}
		previous = sum
	}
}

// comparison is what the target lesions of a visit are compared with.
type comparison struct {
	baseline []string
	parts    map[string]bool // parts of the baseline's targets at earlier visits
}

// targets returns the ids of the target lesions, sorted.
func (v *visit) targets() []string {
	var ids []string
	for _, id := range slices.Sorted(maps.Keys(v.lesions)) {
		if v.lesions[id].category == categoryTarget {
			ids = append(ids, id)
		}
	}
	return ids
}

// sumOver returns the sum of diameters at the visit, and whether it can be
// compared with that of other visits: by RECIST 1.1 the sum is over all target
// lesions of the baseline. It is nil unless each of those was measured. SUMDIAM,
// where it is there, is used even if it is not the sum of the diameters.
func (v *visit) sumOver(c comparison) (sum *length, compared bool) {
	m := v.match(c)
	if len(m.missing) > 0 {
		v.noValue("target lesion " + strings.Join(m.missing, ", "))
		return nil, false
	}
	total, unmeasured := v.total()
	compared = len(m.added) == 0
	switch {
	case v.sum != nil && total != nil && len(unmeasured) == 0 && v.sum.compare(total) != 0:
		v.warnf(kindSum, "SUMDIAM is %s (line %d), but the diameters of the target lesions add up to %s", v.sum.text, v.sum.line, total.text)
	case v.sum != nil:
	case len(unmeasured) > 0:
		v.noValue("target lesion " + strings.Join(unmeasured, ", "))
		return nil, false
	case len(m.twice) > 0:
		v.noValue("without SUMDIAM it is unclear whether " + strings.Join(m.twice, ", "))
		return nil, false
	}
	if sum = v.sum; sum == nil {
		sum = total
	}
	if sum == nil {
		return nil, false
	}
	from := "SUMDIAM"
	if v.sum == nil {
		from = "the sum of the diameters"
	}
	if len(m.split) > 0 {
		v.warnf(kindSplit, "target lesions were split or merged since the baseline: %s; %s, %s mm, is compared", strings.Join(m.split, ", "), from, sum.text)
	}
	if !compared {
		v.warnf(kindTargets, "the baseline has no target lesion %s; %s, %s mm, is over different lesions and is not compared with other visits",
			strings.Join(m.added, ", "), from, sum.text)
	}
	return sum, compared
}

func (v *visit) noValue(why string) { v.warnf(kindNoValue, "no sum of diameters: %s", why) }

// total returns the sum of the diameters of the targets, nil if there is none,
// and the targets that have none.
func (v *visit) total() (total *length, unmeasured []string) {
	for _, id := range v.targets() {
		l := v.lesions[id]
		switch {
		case l.diameter != nil:
			total = total.add(l.diameter)
		case l.tooSmall:
			total = total.add(fiveMillimetres())
		default:
			unmeasured = append(unmeasured, l.reason(id))
		}
	}
	return total, unmeasured
}

// reason returns why a lesion has no diameter.
func (l *lesion) reason(id string) string {
	if l.notDone && !l.registered {
		return fmt.Sprintf("%s is NOT DONE (line %d)", intake.Printable(id), l.deciding().line)
	}
	return intake.Printable(id) + " " + cmp.Or(l.why, "is NOT DONE")
}

// isMeasured reports whether the lesion counts in a sum. Of a lesion that is
// registered the diameter may be missing; the sum is there then.
func (l *lesion) isMeasured() bool {
	return !l.notDone && (l.diameter != nil || l.tooSmall || l.registered)
}

// match is how the targets of a visit correspond to those of the baseline.
type match struct {
	missing []string // of the baseline, without a diameter here, with the reason
	added   []string // here and not in the baseline
	split   []string // parts and merged lesions, with what they were
	twice   []string // parts of a lesion, or merged lesions, beside the lesion itself
}

// match compares the visit's targets with the baseline's: a lesion is found by
// its id, else by its parts, as T02.1 is one of T02, or in what it was merged
// into, as T01/T02 is both.
func (v *visit) match(c comparison) match {
	var m match
	inBaseline := map[string]bool{}
	for _, id := range c.baseline {
		inBaseline[id] = true
	}
	standIns := map[string][]string{} // by target of the baseline
	for _, id := range v.targets() {
		if inBaseline[id] {
			continue
		}
		of, ok := originals(id, inBaseline, c.baseline)
		if !ok {
			m.added = append(m.added, intake.Printable(id))
			continue
		}
		m.split = append(m.split, fmt.Sprintf("%s of %s", intake.Printable(id), intake.Printable(strings.Join(of, " and "))))
		for _, target := range of {
			standIns[target] = append(standIns[target], id)
			if l := v.lesions[target]; l != nil && l.category == categoryTarget {
				m.twice = append(m.twice, fmt.Sprintf("%s counts beside %s", intake.Printable(id), intake.Printable(target)))
			}
			if !strings.Contains(id, "/") {
				c.parts[id] = true
			}
		}
	}
	for _, id := range c.baseline {
		m.missing = append(m.missing, v.missing(id, standIns[id], c.parts)...)
	}
	return m
}

// missing returns why a target of the baseline has no diameter: its own row, or
// one of those that stand in for it.
func (v *visit) missing(id string, standIns []string, parts map[string]bool) []string {
	if l := v.lesions[id]; l != nil && l.category == categoryTarget {
		if l.isMeasured() {
			return nil
		}
		return []string{l.reason(id)}
	}
	if l := v.lesions[id]; l != nil && len(standIns) == 0 {
		return []string{fmt.Sprintf("%s is %s here (line %d)", intake.Printable(id), l.category, l.first.line)}
	}
	if len(standIns) == 0 {
		return []string{intake.Printable(id) + " has no row"}
	}
	var out []string
	merger := false
	for _, part := range standIns {
		merger = merger || strings.Contains(part, "/")
		if l := v.lesions[part]; !l.isMeasured() {
			out = append(out, l.reason(part))
		}
	}
	for _, part := range slices.Sorted(maps.Keys(parts)) {
		if !merger && slices.Contains(ancestors(part), id) && !slices.Contains(standIns, part) {
			out = append(out, intake.Printable(part)+" has no row")
		}
	}
	return out
}

// originals returns the targets of the baseline that a lesion is a part of, or
// was merged from. It reports false if any of it is in no target of the baseline.
func originals(id string, inBaseline map[string]bool, baseline []string) (of []string, ok bool) {
	for _, component := range merged(id) {
		found := false
		for _, whole := range append([]string{component}, ancestors(component)...) {
			if inBaseline[whole] {
				of, found = append(of, whole), true
				break
			}
		}
		for _, target := range baseline { // the whole of what was split or merged at the baseline
			if !found && (slices.Contains(ancestors(target), component) || slices.Contains(merged(target), component) && target != component) {
				of = append(of, target)
			}
		}
		if !found && !slices.ContainsFunc(of, func(target string) bool {
			return slices.Contains(ancestors(target), component) || slices.Contains(merged(target), component)
		}) {
			return nil, false
		}
	}
	slices.Sort(of)
	return slices.Compact(of), true
}
