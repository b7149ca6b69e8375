package sdtm

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
)

// measure sets the sum of diameters and the changes of each of a subject's
// visits. A visit whose changes depend on a visit of unknown value is refused.
func measure(visits []*visit) {
	var baseline, previous, nadir *length
	var unknown *visit
	targets := visits[0].targets()
	for i, v := range visits {
		if v.valueUnknown {
			unknown = v
			continue
		}
		sum := v.sumOver(targets)
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
			ChangeFromPrevious: sum.changeFrom(previous),
			ChangeFromBaseline: sum.changeFrom(baseline),
			ChangeFromNadir:    sum.changeFrom(nadir),
		}
		if i == 0 {
			m.ChangeFromBaseline, baseline = "0.0 mm", sum
		}
		if nadir == nil || sum.compare(nadir) < 0 {
			nadir = sum
		}
		v.assessment.Measurement, previous = m, sum
	}
}

// targets returns the ids of the target lesions, sorted.
func (v *visit) targets() []string {
	var ids []string
	for _, id := range slices.Sorted(maps.Keys(v.lesions)) {
		if v.lesions[id].category == "Target" {
			ids = append(ids, id)
		}
	}
	return ids
}

// sumOver returns the sum of diameters at the visit. It is nil unless each of
// the baseline's targets was measured: by RECIST 1.1 the sum is over all of
// them. SUMDIAM, where it is there, is used even if it is not the sum of the
// diameters.
func (v *visit) sumOver(targets []string) *length {
	if missing := v.notMeasured(targets); len(missing) > 0 {
		v.warnf("no sum of diameters: target lesion %s", strings.Join(missing, ", "))
		return nil
	}
	var total *length
	for _, l := range v.lesions {
		if l.category == "Target" && l.diameter != nil {
			total = total.add(l.diameter)
		}
	}
	if v.sum == nil {
		return total
	}
	if total != nil && v.sum.compare(total) != 0 {
		v.warnf("SUMDIAM is %s (line %d), but the diameters of the target lesions add up to %s", v.sum.text, v.sum.line, total.text)
	}
	return v.sum
}

// notMeasured returns the targets that have no diameter here, each with the
// reason.
func (v *visit) notMeasured(targets []string) []string {
	var missing []string
	for _, id := range targets {
		l, ok := v.lesions[id]
		switch {
		case !ok:
			missing = append(missing, fmt.Sprintf("%s has no row", id))
		case l.notDone():
			missing = append(missing, fmt.Sprintf("%s is NOT DONE (line %d)", id, l.deciding().line))
		case l.diameter == nil:
			missing = append(missing, fmt.Sprintf("%s has no DIAMETER", id))
		}
	}
	return missing
}
