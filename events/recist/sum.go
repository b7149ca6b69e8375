package recist

import (
	"slices"

	"github.com/seed-e88a4ece/signoff/events"
)

// measure sets the target lesions of the i-th visit, its sum of diameters, and the sums of
// the baseline and of the nadir with which it is compared.
func (c *series) measure(i int) {
	v := c.visits[i]
	a := v.assessment
	v.members = c.membersOf(a)
	if a.Measurement != nil {
		v.recorded = parseLength(a.Measurement.Value)
	}
	v.bare = v.recorded != nil && !slices.ContainsFunc(a.Lesions, func(l events.Lesion) bool { return l.Category != "" })
	v.compared = len(v.members.added) == 0
	complete := len(c.targets) > 0 && !v.bare && len(v.members.missing()) == 0
	switch {
	case complete && v.compared && len(v.members.overlapping) == 0:
		v.added = v.members.sum()
		v.sum = v.added
	case complete, len(c.targets) == 0, v.bare:
		v.sum = v.recorded // what was added up cannot be known
	}
	c.compare(i)
	v.result.Sum, v.result.Baseline, v.result.Nadir = v.sum.value(), v.baseline.value(), v.nadir.value()
}

// compare sets the baseline's sum and the nadir of the i-th visit. Where an earlier visit
// is missing, what the history lacks is taken from the changes that the visit records.
func (c *series) compare(i int) {
	v := c.visits[i]
	if v.isBaseline {
		return
	}
	for _, earlier := range c.visits[:i] {
		if earlier.sum == nil || !earlier.compared {
			continue
		}
		if earlier.isBaseline {
			v.baseline = earlier.sum
		}
		if v.nadir == nil || earlier.sum.less(v.nadir) {
			v.nadir, v.nadirAt = earlier.sum, "at "+earlier.assessment.Name
		}
	}
	m := v.assessment.Measurement
	if !v.gap || m == nil || v.recorded == nil {
		return
	}
	if nadir := before(v.recorded, m.ChangeFromNadir); nadir != nil && (v.nadir == nil || nadir.less(v.nadir)) {
		v.nadir, v.nadirAt = nadir, "by the change from nadir that is recorded"
	}
	if v.baseline == nil {
		v.baseline = before(v.recorded, m.ChangeFromBaseline)
	}
}

// before returns the sum from which a recorded change leads to value; nil if the change is
// none, or no such sum can be.
func before(value *Length, change string) *Length {
	c := parseChange(change)
	if c == nil {
		return nil
	}
	sum := value.minus(c)
	if sum.less(millimetres(0)) {
		return nil
	}
	return sum
}

// changes are the changes of a sum; nil for one that cannot be computed.
type changes struct{ fromPrevious, fromBaseline, fromNadir *Length }

// changesOf returns the changes of the i-th visit to earlier ones. Sum returns the sum of
// a visit, nil for none.
func (c *series) changesOf(i int, sum func(*visit) *Length) (out changes) {
	here := sum(c.visits[i])
	if here == nil {
		return out
	}
	var previous, baseline, nadir *Length
	for _, earlier := range c.visits[:i] {
		s := sum(earlier)
		if s == nil || !earlier.compared {
			continue
		}
		previous = s
		if earlier.isBaseline {
			baseline = s
		}
		if nadir == nil || s.less(nadir) {
			nadir = s
		}
	}
	change := func(from *Length) *Length {
		if from == nil {
			return nil
		}
		return here.minus(from)
	}
	return changes{change(previous), change(baseline), change(nadir)}
}

// noteSum adds what is wrong with the sum of the i-th visit and with its changes.
func (c *series) noteSum(i int) {
	v := c.visits[i]
	if v.recorded == nil {
		return
	}
	switch missing := v.members.missing(); {
	case v.bare || len(c.targets) == 0:
	case len(missing) > 0:
		v.addf(sumWithoutTarget, memberIDs(missing), "%s is recorded as the sum, but %s", v.recorded, missingText(missing))
	case v.added != nil && !v.added.equal(v.recorded):
		v.addf(sumDiffers, memberIDs(v.members.all), "%s is recorded as the sum, but the diameters of the targets add up to %s", v.recorded, v.added)
	}
	c.noteChanges(i)
}

// noteChanges adds the recorded changes of the i-th visit that the sums do not give.
// Changes are not questioned after a missing visit, nor where the sum is over other lesions
// or lacks one.
func (c *series) noteChanges(i int) {
	v := c.visits[i]
	if v.gap || !v.compared || len(c.targets) > 0 && !v.bare && len(v.members.missing()) > 0 {
		return
	}
	byRecord := c.changesOf(i, func(v *visit) *Length { return v.recorded })
	bySum := c.changesOf(i, func(v *visit) *Length { return v.sum })
	m := v.assessment.Measurement
	previousIsNone := i > 0 && c.visits[i-1].recorded == nil
	if parseChange(m.ChangeFromPrevious) != nil || !previousIsNone {
		v.noteChange("the previous visit", m.ChangeFromPrevious, byRecord.fromPrevious, bySum.fromPrevious)
	}
	v.noteChange("baseline", m.ChangeFromBaseline, byRecord.fromBaseline, bySum.fromBaseline)
	v.noteChange("nadir", m.ChangeFromNadir, byRecord.fromNadir, bySum.fromNadir)
}

// noteChange adds that a recorded change is neither that of the recorded sums nor that of
// the computed ones. It may have been computed from either: where they differ, another
// finding says so. At the baseline a change is none or 0.
func (v *visit) noteChange(from, text string, byRecord, bySum *Length) {
	recorded := parseChange(text)
	switch {
	case recorded.equal(byRecord), recorded.equal(bySum), v.isBaseline && recorded.isZero():
	case v.isBaseline:
		v.addf(changeDiffers, nil, "%s is recorded as the change from %s, but nothing is before the baseline", text, from)
	case byRecord == nil:
		v.addf(changeDiffers, nil, "%s is recorded as the change from %s, but no sum before gives one", text, from)
	default:
		v.addf(changeDiffers, nil, "%s is recorded as the change from %s, but the sums give %s", text, from, byRecord.signed())
	}
}

func memberIDs(all []member) []string {
	ids := make([]string, len(all))
	for i, m := range all {
		ids[i] = m.id
	}
	return ids
}
