package recist

import (
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
)

// targetResponse returns the response of the target lesions at a visit after the
// baseline.
func (c *series) targetResponse(v *visit) verdict {
	missing := v.members.missing()
	unknown := func(format string, args ...any) verdict {
		return verdict{response: Unknown, why: fmt.Sprintf(format, args...), source: sourceTargets}
	}
	switch {
	case len(c.targets) == 0:
		return verdict{}
	case v.bare:
		return unknown("no lesion is recorded")
	case c.normalAtBaseline():
		return unknown("no target was abnormal at the baseline")
	case len(missing) > 0:
		return v.withMissing(missing)
	case v.members.normal():
		return verdict{CR, "all targets have disappeared or are nodes below 10 mm", memberIDs(v.members.all), sourceTargets}
	case !v.compared:
		return unknown("the sum is over other lesions than the baseline's")
	case v.sum == nil:
		return unknown("%s cannot be added up with the target of which it is a part", names(v.members.overlapping))
	}
	r := v.compareSum(v.sum)
	return verdict{r, v.whyOfSum(r), memberIDs(v.members.all), sourceTargets}
}

// normalAtBaseline reports whether all targets of the baseline were normal there, so that
// neither a response nor progression can be measured by them.
func (c *series) normalAtBaseline() bool {
	b := c.visits[0]
	return b.isBaseline && len(c.targets) > 0 && len(b.members.missing()) == 0 && b.members.normal()
}

// normal reports whether nothing is left of the targets but nodes of normal size. All must
// have a diameter.
func (m members) normal() bool {
	for _, one := range m.all {
		if !one.normal() {
			return false
		}
	}
	return true
}

// withMissing returns the response where targets are missing: Progressive Disease if the
// others alone are enough for it, or else Not Evaluable. If the others are normal, they
// are not enough, because with the missing ones still gone the response would be complete.
func (v *visit) withMissing(missing []member) verdict {
	abnormal := false
	for _, m := range v.members.all {
		abnormal = abnormal || m.diameter != nil && !m.normal()
	}
	sum := v.members.sum()
	countedOnce := v.compared && len(v.members.overlapping) == 0
	if abnormal && countedOnce && v.grown(sum) {
		why := fmt.Sprintf("the other targets alone add up to %s, %s, whatever %s would add", sum, v.fromNadir(sum), names(memberIDs(missing)))
		return verdict{PD, why, memberIDs(v.members.all), sourceMissing}
	}
	return verdict{NE, missingText(missing), memberIDs(missing), sourceMissing}
}

// missingText returns which targets have no diameter, and why.
func missingText(missing []member) string {
	text := fmt.Sprintf("target %s %s", printable(missing[0].id), missing[0].why)
	switch more := len(missing) - 1; more {
	case 0:
		return text
	case 1:
		return fmt.Sprintf("%s, and %s %s", text, printable(missing[1].id), missing[1].why)
	default:
		return fmt.Sprintf("%s, and %d other targets have no diameter", text, more)
	}
}

// grown reports whether the sum is at least 5 mm and at least 20 % above the nadir.
func (v *visit) grown(sum *Length) bool {
	if v.nadir == nil {
		return false
	}
	growth := sum.minus(v.nadir)
	return !growth.less(millimetres(5)) && !growth.times(5, 1).less(v.nadir)
}

// compareSum returns the response by the sum alone. Progression against the nadir comes
// before partial response against the baseline.
func (v *visit) compareSum(sum *Length) Response {
	switch {
	case v.grown(sum):
		return PD
	case v.baseline == nil:
		return Unknown
	case sum.IsPartial(*v.baseline):
		return PR
	default:
		return SD
	}
}

// whyOfSum returns why the sum has the response r.
func (v *visit) whyOfSum(r Response) string {
	switch r {
	case PD:
		return fmt.Sprintf("the sum is %s, %s", v.sum, v.fromNadir(v.sum))
	case PR:
		return fmt.Sprintf("the sum is %s, %s from the baseline's %s", v.sum, Percent(*v.baseline, *v.sum), v.baseline)
	case SD:
		text := fmt.Sprintf("the sum is %s, %s from the baseline's %s", v.sum, Percent(*v.baseline, *v.sum), v.baseline)
		if v.nadir != nil && !v.nadir.equal(v.baseline) {
			text += " and " + v.fromNadir(v.sum)
		}
		return text
	default:
		return "the baseline has no sum to compare with"
	}
}

// fromNadir returns how far the sum is from the nadir.
func (v *visit) fromNadir(sum *Length) string {
	change := sum.minus(v.nadir).signed()
	if percent := Percent(*v.nadir, *sum); percent != events.NoChange {
		change += " (" + percent + ")"
	}
	return fmt.Sprintf("%s from the smallest before, %s %s", change, v.nadir, v.nadirAt)
}

// argued returns the response that the targets of the i-th visit have whether each missing
// one is half or twice as large as when it was last measured, or, if it was gone then, 0 or
// 10 mm. It also returns the ids of the missing ones, and whether one of them was gone. The
// response is Unknown if the two differ, if one was never measured, and where it would be
// complete. These bounds are not in the guideline, which only asks for a convincing
// argument.
func (c *series) argued(i int) (r Response, missing []string, wasGone bool) {
	v := c.visits[i]
	if v.target.response != NE || !v.compared || len(v.members.overlapping) > 0 {
		return Unknown, nil, false
	}
	var small, large members
	for _, m := range v.members.all {
		low, high := m, m
		if m.diameter == nil {
			last := c.lastDiameter(i, m.id)
			switch {
			case last == nil:
				return Unknown, nil, false
			case last.isZero():
				low.diameter, high.diameter, wasGone = millimetres(0), millimetres(10), true
			default:
				low.diameter, high.diameter = last.times(1, 2), last.times(2, 1)
			}
		}
		small.all, large.all = append(small.all, low), append(large.all, high)
	}
	if r = v.compareSum(small.sum()); r != v.compareSum(large.sum()) || small.normal() || large.normal() {
		return Unknown, nil, false
	}
	return r, memberIDs(v.members.missing()), wasGone
}

// lastDiameter returns the diameter of a target, or of its parts together, at the last
// visit before the i-th that has it; nil if there is none.
func (c *series) lastDiameter(i int, id string) *Length {
	for j := i - 1; j >= 0; j-- {
		at := c.visits[j].members.diameters
		if d := at[id]; d != nil {
			return d
		}
		var parts *Length
		complete := true
		for part := range c.parts[id] {
			d, recorded := at[part]
			switch {
			case !recorded:
			case d == nil:
				complete = false
			case parts == nil:
				parts = d
			default:
				parts = parts.plus(d)
			}
		}
		if parts != nil && complete {
			return parts
		}
	}
	return nil
}
