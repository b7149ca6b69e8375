package sdtm

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/recist"
	"github.com/seed-e88a4ece/signoff/outbox/intake"
)

// measure sets the sum of diameters and the changes of each of a subject's visits,
// which are in their order. The first visit is the baseline. A visit without a sum
// has no measurement. After a refused visit whose sum is unknown, the changes are
// unknown too, and each visit with a sum is refused.
func measure(visits []*visit) {
	var baseline, previous, nadir *length // sums to compare with; nadir is the lowest so far
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
		if !compared || v.withdrawn() { // later visits are not compared with it
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

// comparison holds the target lesions with which those of a visit are compared.
type comparison struct {
	baseline []string        // ids of the target lesions of the baseline, sorted
	parts    map[string]bool // ids of parts, such as T02.1 of T02, seen at any visit so far
}

// targets returns the ids of the target lesions of the visit, sorted.
func (v *visit) targets() []string {
	var ids []string
	for _, id := range slices.Sorted(maps.Keys(v.lesions)) {
		if v.lesions[id].category == categoryTarget {
			ids = append(ids, id)
		}
	}
	return ids
}

// sumOver returns the sum of diameters at the visit, or nil if a target lesion of the
// baseline was not measured. By RECIST 1.1 the sum is over all target lesions of the
// baseline; compared is false if the visit has further ones. SUMDIAM is preferred to
// the sum of the single diameters, with a warning if they differ.
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
	case v.sum != nil: // SUMDIAM does not need the single diameters
	case len(unmeasured) > 0:
		v.noValue("target lesion " + strings.Join(unmeasured, ", "))
		return nil, false
	case len(m.overlapping) > 0:
		v.noValue("without SUMDIAM it is unclear whether " + strings.Join(m.overlapping, ", "))
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

// noValue warns that the visit has no sum of diameters.
func (v *visit) noValue(why string) { v.warnf(kindNoValue, "no sum of diameters: %s", why) }

// total returns the sum of the diameters of the target lesions, nil if none of them
// has a diameter. Unmeasured says of each other target why it has none.
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

// isMeasured reports whether the lesion is part of a sum of diameters. A lesion of an
// absent visit is, even without a diameter, because the sum itself is registered.
func (l *lesion) isMeasured() bool {
	return !l.notDone && (l.diameter != nil || l.tooSmall || l.registered)
}

// match is how the target lesions of a visit correspond to those of the baseline.
// A part (T02.1 of T02) or a merged lesion (T01/T02 of T01 and T02) stands in for
// the target of the baseline.
type match struct {
	missing     []string // targets of the baseline without a diameter here, each with the reason
	added       []string // targets here that do not correspond to any of the baseline
	split       []string // parts and merged lesions, each with its targets of the baseline
	overlapping []string // parts and merged lesions of a target that is itself a target here
}

// match finds each target lesion of the baseline at the visit: by its id, or by the
// lesions that stand in for it. It adds the parts at the visit to c.parts.
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
				m.overlapping = append(m.overlapping, fmt.Sprintf("%s counts beside %s", intake.Printable(id), intake.Printable(target)))
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

// missing returns why a target of the baseline has no diameter at the visit; nil if
// it has one. If it is not a target here, all its standIns must have a diameter. A
// part of it at an earlier visit must still be there, unless a merged lesion stands
// in.
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
		if !merger && slices.Contains(recist.Wholes(part), id) && !slices.Contains(standIns, part) {
			out = append(out, intake.Printable(part)+" has no row")
		}
	}
	return out
}

// originals returns the targets of the baseline for which a lesion stands in. They
// are the targets that it is a part of, was merged from, or is the whole of. Ok is
// false if one of the lesions that it was merged from corresponds to no target.
func originals(id string, inBaseline map[string]bool, baseline []string) (of []string, ok bool) {
	for _, component := range recist.MergedFrom(id) {
		found := false
		for _, whole := range append([]string{component}, recist.Wholes(component)...) {
			if inBaseline[whole] {
				of, found = append(of, whole), true
				break
			}
		}
		for _, target := range baseline { // the whole of what was split or merged at the baseline
			if !found && (slices.Contains(recist.Wholes(target), component) || slices.Contains(recist.MergedFrom(target), component) && target != component) {
				of = append(of, target)
			}
		}
		if !found && !slices.ContainsFunc(of, func(target string) bool {
			return slices.Contains(recist.Wholes(target), component) || slices.Contains(recist.MergedFrom(target), component)
		}) {
			return nil, false
		}
	}
	slices.Sort(of)
	return slices.Compact(of), true
}
