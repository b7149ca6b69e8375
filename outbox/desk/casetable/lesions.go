package casetable

import (
	"cmp"
	"slices"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/recist"
)

// Categories of lesions that have a section each.
const (
	target    = "Target"
	nonTarget = "Non-target"
	newLesion = "New lesion"
)

// none is the text of a cell without a value.
const none = "–"

// lesionKey names a lesion. One that is recorded in two categories has two rows.
type lesionKey struct{ category, id string }

// lesionRow is a row while it is made.
type lesionRow struct {
	lesionKey
	at     []*events.Lesion // by column; nil where there is none
	before []*events.Lesion // by column, of the version with which the column is compared
}

// lesionSections returns the sections of the lesions, each sorted by id, with the sum below
// the targets.
func lesionSections(columns []Column) []Section {
	byCategory := rowsOf(columns)
	targets := Section{Heading: "Target lesions, mm", None: "None recorded"}
	for _, r := range byCategory[target] {
		targets.Rows = append(targets.Rows, r.row(columns))
	}
	if len(targets.Rows) > 0 || slices.ContainsFunc(columns, hasSum) {
		targets.Rows = append(targets.Rows, sumRows(columns)...)
	}
	sections := []Section{targets}
	for _, s := range []struct{ category, heading string }{
		{nonTarget, "Non-target lesions"}, {newLesion, "New lesions"}, {"", "Lesions without a category"},
	} {
		section := Section{Heading: s.heading, None: "None recorded"}
		for _, r := range byCategory[s.category] {
			section.Rows = append(section.Rows, r.row(columns))
		}
		if s.category != "" || len(section.Rows) > 0 {
			sections = append(sections, section)
		}
	}
	return sections
}

func hasSum(c Column) bool { return c.shown.Assessment.Measurement != nil }

// rowsOf returns the lesions of all visits by category, each sorted by id.
func rowsOf(columns []Column) map[string][]*lesionRow {
	rows := map[lesionKey]*lesionRow{}
	byCategory := map[string][]*lesionRow{}
	row := func(l events.Lesion) *lesionRow {
		key := lesionKey{l.Category, l.ID}
		switch l.Category {
		case target, nonTarget, newLesion:
		default:
			key.category = ""
		}
		r := rows[key]
		if r == nil {
			r = &lesionRow{key, make([]*events.Lesion, len(columns)), make([]*events.Lesion, len(columns))}
			rows[key] = r
			byCategory[key.category] = append(byCategory[key.category], r)
		}
		return r
	}
	for i, c := range columns {
		for j := range c.shown.Assessment.Lesions {
			l := &c.shown.Assessment.Lesions[j]
			row(*l).at[i] = l
		}
		if c.earlier == nil {
			continue
		}
		for j := range c.earlier.Lesions {
			l := &c.earlier.Lesions[j]
			row(*l).before[i] = l
		}
	}
	for _, of := range byCategory {
		slices.SortFunc(of, func(a, b *lesionRow) int { return compareIDs(a.id, b.id) })
	}
	return byCategory
}

// row returns the row of a lesion.
func (r *lesionRow) row(columns []Column) Row {
	first := r.first()
	row := Row{Kind: Lesion, ID: r.id, Name: first.Organ, Detail: r.detail(first), Cells: make([]Cell, len(columns))}
	if r.category == target {
		row.Trend = r.id
	}
	previous := -1 // the column before that counts
	counted := slices.IndexFunc(columns, func(c Column) bool { return c.checked != nil })
	for i, c := range columns {
		cell := r.cell(c, i, counted)
		if r.category == target && c.checked != nil {
			r.addMeasured(&cell, first, i, previous)
		}
		if c.earlier != nil {
			cell.compareLesion(r.at[i], r.before[i])
		}
		row.Cells[i] = cell
		if c.checked != nil {
			previous = i
		}
	}
	return row
}

// first returns what is recorded of the lesion that does not change from visit to visit,
// from the first visit that has it.
func (r *lesionRow) first() (first events.Lesion) {
	for _, l := range slices.Concat(r.at, r.before) {
		if l != nil {
			first.Organ, first.Label = cmp.Or(first.Organ, l.Organ), cmp.Or(first.Label, l.Label)
		}
	}
	return first
}

// detail returns what stands below the name of a lesion.
func (r *lesionRow) detail(first events.Lesion) string {
	details := []string{}
	if first.Label != "" {
		details = append(details, first.Label)
	}
	if wholes := recist.Wholes(r.id); len(wholes) > 0 {
		details = append(details, "part of "+wholes[0])
	}
	if parts := recist.MergedFrom(r.id); len(parts) > 1 {
		details = append(details, "merged from "+strings.Join(parts, " and "))
	}
	return strings.Join(details, " · ")
}

// cell returns the text of a lesion in the i-th column. Counted is the first column that
// counts; -1 for none.
func (r *lesionRow) cell(c Column, i, counted int) Cell {
	l := r.at[i]
	if l == nil {
		return r.absent(c, counted >= 0 && counted < i && r.at[counted] != nil)
	}
	cell := Cell{Text: lesionText(l)}
	switch l.State {
	case "Not evaluable", "Not assessed":
		cell.Tone = Warn
	case "Uneqv. prog.":
		cell.Tone = Bad
	}
	if l.Value != "" && l.State != "" && l.State != "Present" && l.State != "Defined" {
		cell.Notes = append(cell.Notes, Note{l.State, cell.Tone})
		if cell.Tone != Warn {
			cell.Tone = Ordinary
		}
	}
	if l.Value != "" && r.category != target {
		cell.Notes = append(cell.Notes, Note{string(l.Value) + " " + l.Unit, Quiet})
		cell.Text = cmp.Or(l.State, "Recorded")
		cell.Notes = slices.DeleteFunc(cell.Notes, func(n Note) bool { return n.Text == l.State })
	}
	return cell
}

// lesionText returns the value of a lesion as registered, or its state without one.
func lesionText(l *events.Lesion) string {
	if l == nil {
		return none
	}
	return cmp.Or(string(l.Value), l.State, "Recorded")
}

// absent returns the cell of a visit that does not record the lesion under its id. Followed
// reports whether the first visit has it, so that it is missed.
func (r *lesionRow) absent(c Column, followed bool) Cell {
	var in []string
	for _, l := range c.shown.Assessment.Lesions {
		if l.Category == r.category && (slices.Contains(recist.Wholes(l.ID), r.id) || l.ID != r.id && slices.Contains(recist.MergedFrom(l.ID), r.id)) {
			in = append(in, l.ID)
		}
	}
	if len(in) > 0 {
		slices.SortFunc(in, compareIDs)
		return Cell{Text: "in " + strings.Join(in, ", "), Tone: Quiet}
	}
	if followed && c.checked != nil && (r.category == target || r.category == nonTarget) {
		return Cell{Text: "no row", Tone: Warn}
	}
	return Cell{Text: none, Tone: Quiet}
}

// addMeasured adds to the cell of a target how its diameter counts, and its change from the
// previous column that counts.
func (r *lesionRow) addMeasured(cell *Cell, first events.Lesion, i, previous int) {
	l := r.at[i]
	if l == nil {
		return
	}
	d := recist.Diameter(*l)
	if !d.Known() {
		return
	}
	if l.Value == "" {
		cell.Notes = append(cell.Notes, Note{"counts " + d.String(), Quiet})
	} else if isNode(*l, first) && d.Compare(recist.Diameter(events.Lesion{Value: "10"})) < 0 {
		cell.Notes = append(cell.Notes, Note{"< 10: normal", Ordinary})
	}
	if previous >= 0 && r.at[previous] != nil {
		if before := recist.Diameter(*r.at[previous]); before.Known() {
			cell.Change = difference(before, d)
		}
	}
}

// isNode reports whether the lesion is measured as a lymph node.
func isNode(l, first events.Lesion) bool {
	switch cmp.Or(l.Label, first.Label) {
	case "Short axis":
		return true
	case "Long axis":
		return false
	default:
		return recist.IsLymphNode(cmp.Or(l.Organ, first.Organ))
	}
}

// difference returns the change of a diameter without its unit: +5, −1.5 or ±0.
func difference(from, to recist.Length) string {
	text := strings.TrimSuffix(to.Minus(from).String(), " "+events.Unit)
	switch {
	case to.Compare(from) > 0:
		return "+" + text
	case to.Compare(from) < 0:
		return strings.Replace(text, "-", "−", 1)
	default:
		return "±0"
	}
}

// compareLesion marks the cell if the lesion is another than before.
func (c *Cell) compareLesion(now, before *events.Lesion) {
	if now == nil && before == nil {
		return
	}
	c.compare(lesionText(now), lesionText(before))
	if c.Changed || now != nil && before != nil && sameDetails(*now, *before) {
		return
	}
	c.Changed = true
}

// compare marks the cell if the text is another than before.
func (c *Cell) compare(now, before string) {
	if now != before {
		c.Changed, c.Was = true, before
	}
}

// sameDetails reports whether two lesions differ at most in their values.
func sameDetails(a, b events.Lesion) bool {
	same := equal(a.SeriesNumber, b.SeriesNumber) && equal(a.InstanceNumber, b.InstanceNumber)
	a.SeriesNumber, a.InstanceNumber, a.Value = b.SeriesNumber, b.InstanceNumber, b.Value
	return same && a == b
}

// equal reports whether two numbers are the same, or both absent.
func equal(a, b *int32) bool { return a == b || a != nil && b != nil && *a == *b }

// compareIDs orders lesion ids, with the digits in them by value: T2 before T10.
func compareIDs(a, b string) int {
	x, y := a, b
	for x != "" && y != "" {
		p, q := digits(x), digits(y)
		if p > 0 && q > 0 {
			m, n := strings.TrimLeft(x[:p], "0"), strings.TrimLeft(y[:q], "0")
			if d := cmp.Or(cmp.Compare(len(m), len(n)), cmp.Compare(m, n)); d != 0 {
				return d
			}
			x, y = x[p:], y[q:]
			continue
		}
		if x[0] != y[0] {
			return cmp.Compare(x[0], y[0])
		}
		x, y = x[1:], y[1:]
	}
	return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(a, b))
}

// digits returns how many digits the text begins with.
func digits(text string) int { return len(text) - len(strings.TrimLeft(text, "0123456789")) }
