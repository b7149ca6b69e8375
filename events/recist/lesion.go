package recist

import (
	"cmp"
	"slices"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
)

const (
	categoryTarget    = "Target"
	categoryNonTarget = "Non-target"
	categoryNew       = "New lesion"

	stateDisappeared  = "Disappeared"
	stateUndefined    = "Undefined"
	stateProgressed   = "Uneqv. prog."
	stateNotEvaluable = "Not evaluable"
	stateNotAssessed  = "Not assessed"
	stateTooSmall     = "Too small"

	labelLongAxis  = "Long axis"
	labelShortAxis = "Short axis"
)

// nodeLimit is the short axis below which a lymph node is normal.
func nodeLimit() *Length { return millimetres(10) }

// diameter returns the diameter that counts for a lesion; nil if it has none. A lesion too
// small to measure, without a value, counts 5 mm.
func diameter(l events.Lesion) *Length {
	if notEvaluated(l) {
		return nil
	}
	if value := parseLength(l.Value); value != nil {
		return value
	}
	switch l.State {
	case stateDisappeared:
		return millimetres(0)
	case stateTooSmall:
		return millimetres(5)
	default:
		return nil
	}
}

// Diameter returns the diameter that counts for a lesion in a sum. One that has disappeared
// counts 0 mm, one that is too small to measure 5 mm. The zero value is none.
func Diameter(l events.Lesion) Length { return diameter(l).value() }

// notEvaluated reports whether the state of the lesion is that it was not evaluated.
func notEvaluated(l events.Lesion) bool {
	return l.State == stateNotEvaluable || l.State == stateNotAssessed
}

// isNode reports whether the lesion is measured as a lymph node, by its short axis. What
// the visit does not record of it, the label or the organ, is that of the first visit.
func (c *series) isNode(l events.Lesion) bool {
	whole := c.first[l.ID]
	for _, id := range Wholes(l.ID) {
		if whole.ID == "" {
			whole = c.first[id]
		}
	}
	switch cmp.Or(l.Label, whole.Label) {
	case labelShortAxis:
		return true
	case labelLongAxis:
		return false
	default:
		return IsLymphNode(cmp.Or(l.Organ, whole.Organ))
	}
}

// IsLymphNode reports whether an organ is a lymph node: "Lymph node, axillary" or
// LYMPH_NODES, for example.
func IsLymphNode(organ string) bool {
	_, after, found := strings.Cut(strings.ToUpper(organ), "LYMPH")
	return found && strings.HasPrefix(strings.TrimLeft(after, " _-"), "NOD")
}

// member is a target lesion at a visit, or one that is missing there.
type member struct {
	id       string
	diameter *Length // nil if it is missing
	node     bool
	why      string // it is missing
}

// normal reports whether nothing is left of the lesion, or it is a node of normal size.
// The member must have a diameter.
func (m member) normal() bool {
	return m.diameter.isZero() || m.node && m.diameter.less(nodeLimit())
}

// members are the target lesions at a visit.
type members struct {
	all         []member // sorted by id; the missing ones are among them
	added       []string // ids of targets that the first visit lacks
	overlapping []string // ids of parts of a target that is recorded beside them

	diameters map[string]*Length // of all, by id; nil where there is none
}

// missing returns the members without a diameter.
func (m members) missing() []member {
	return slices.DeleteFunc(slices.Clone(m.all), func(one member) bool { return one.diameter != nil })
}

// sum returns the sum of the diameters that there are.
func (m members) sum() *Length {
	sum := millimetres(0)
	for _, one := range m.all {
		if one.diameter != nil {
			sum = sum.plus(one.diameter)
		}
	}
	return sum
}

// membersOf returns the target lesions of a visit: those that the visit records, and the
// targets of the first visit that are missing here. A part (T02.1 of T02) or a merged
// lesion (T01/T02 of T01 and T02) stands in for the targets of the first visit; a part
// that was there before must still be there, unless a merged lesion stands in.
func (c *series) membersOf(a events.Assessment) members {
	var m members
	here := map[string]bool{}
	standIns := map[string][]string{} // by target of the first visit
	for _, l := range a.Lesions {
		if l.Category == categoryTarget && !here[l.ID] {
			here[l.ID] = true
			m.all = append(m.all, member{l.ID, diameter(l), c.isNode(l), whyMissing(l)})
		}
	}
	for id := range here {
		if _, ok := slices.BinarySearch(c.targets, id); ok {
			continue
		}
		of, wholes := c.targetIDs.originals(id), Wholes(id)
		if len(of) == 0 {
			m.added = append(m.added, id)
		}
		for _, target := range of {
			standIns[target] = append(standIns[target], id)
			if here[target] {
				m.overlapping = append(m.overlapping, id)
			}
			if slices.Contains(wholes, target) {
				c.addPart(target, id)
			}
		}
	}
	for _, id := range c.targets {
		if !here[id] {
			m.all = append(m.all, c.absent(id, standIns[id], here)...)
		}
	}
	slices.SortFunc(m.all, func(a, b member) int { return cmp.Compare(a.id, b.id) })
	slices.Sort(m.added)
	slices.Sort(m.overlapping)
	m.overlapping = slices.Compact(m.overlapping)
	m.diameters = make(map[string]*Length, len(m.all))
	for _, one := range m.all {
		m.diameters[one.id] = one.diameter
	}
	return m
}

// absent returns what is missing of a target that is not recorded under its own id: the
// target itself if nothing stands in for it, or else those of its parts that were there
// before and are not now, unless a merged lesion stands in. Here has the ids of the
// targets that are recorded.
func (c *series) absent(id string, standIns []string, here map[string]bool) []member {
	if len(standIns) == 0 {
		return []member{{id: id, node: c.isNode(c.first[id]), why: "has no row"}}
	}
	var missing []member
	for part := range c.parts[id] {
		if !here[part] {
			missing = append(missing, member{id: part, node: c.isNode(events.Lesion{ID: part}), why: "has no row"})
		}
	}
	if slices.ContainsFunc(standIns, func(id string) bool { return strings.Contains(id, "/") }) {
		return nil
	}
	return missing
}

// addPart remembers a part of a target, which later visits must have as well.
func (c *series) addPart(target, id string) {
	if c.parts[target] == nil {
		c.parts[target] = map[string]bool{}
	}
	c.parts[target][id] = true
}

// whyMissing returns why a lesion has no diameter.
func whyMissing(l events.Lesion) string {
	switch l.State {
	case stateNotEvaluable:
		return "is not evaluable"
	case stateNotAssessed:
		return "was not assessed"
	default:
		return "has no diameter"
	}
}

// Wholes returns the ids of the lesions of which the lesion is a part, the nearest
// first: T02.1.3 is a part of T02.1 and of T02.
func Wholes(id string) []string {
	var out []string
	for {
		dot := strings.LastIndexByte(id, '.')
		if dot <= 0 || dot == len(id)-1 || strings.Trim(id[dot+1:], "0123456789") != "" {
			return out
		}
		id = id[:dot]
		out = append(out, id)
	}
}

// MergedFrom returns the ids of the lesions that a lesion was merged from: T01 and T02 for
// T01/T02. For any other lesion it returns the id itself.
func MergedFrom(id string) []string {
	parts := strings.Split(id, "/")
	for i := range parts {
		if parts[i] = strings.TrimSpace(parts[i]); parts[i] == "" {
			return []string{id}
		}
	}
	return parts
}

// idIndex finds lesions of the first visit by the ids under which a later visit may record
// them: their own id, those of which they are a part, and those that they were merged from.
type idIndex struct {
	byName map[string][]string
	found  map[string][]string // what originals has returned, by id
}

func newIndex(ids []string) idIndex {
	index := idIndex{map[string][]string{}, map[string][]string{}}
	for _, id := range ids {
		for _, name := range distinct(slices.Concat([]string{id}, Wholes(id), MergedFrom(id))) {
			index.byName[name] = append(index.byName[name], id)
		}
	}
	return index
}

// originals returns the lesions of the first visit for which a lesion stands in, sorted.
// They are those that it is, is a part of, was merged from, or is the whole of. It returns
// none if one of the lesions that it was merged from corresponds to none of them.
func (x idIndex) originals(id string) []string {
	of, known := x.found[id]
	if known {
		return of
	}
	for _, component := range distinct(MergedFrom(id)) {
		n := len(of)
		of = append(of, x.byName[component]...)
		for _, whole := range Wholes(component) {
			if _, is := slices.BinarySearch(x.byName[whole], whole); is {
				of = append(of, whole)
			}
		}
		if len(of) == n {
			of = nil
			break
		}
	}
	of = distinct(of)
	x.found[id] = of
	return of
}
