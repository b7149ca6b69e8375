package casetable

import (
	"cmp"
	"math/big"
	"slices"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/recist"
)

// sumRows returns the rows of the sum and of its changes. The changes are the texts that
// are published; the percentages below them are computed from the sums.
func sumRows(columns []Column) []Row {
	sum := Row{Kind: Total, Name: "Sum"}
	previous := Row{Kind: Change, Name: "From previous"}
	baseline := Row{Kind: Change, Name: "From baseline"}
	nadir := Row{Kind: Change, Name: "From nadir"}
	var before recist.Length // the sum of the visit before that can be compared
	for _, c := range columns {
		var v recist.Visit
		if c.checked != nil {
			v = *c.checked
		}
		sum.Cells = append(sum.Cells, sumCell(c, v))
		m, was := measured(c.shown.Assessment), measured(c.shown.Assessment)
		if c.earlier != nil {
			was = measured(*c.earlier)
		}
		change := func(row *Row, now, before string, from recist.Length) *Cell {
			cell := Cell{Text: now}
			if percent := recist.Percent(from, v.Sum); percent != events.NoChange && compared(v) {
				cell.Notes = []Note{{strings.Replace(percent, "-", "−", 1), Quiet}}
			}
			cell.compare(now, before)
			row.Cells = append(row.Cells, cell)
			return &row.Cells[len(row.Cells)-1]
		}
		change(&previous, m.ChangeFromPrevious, was.ChangeFromPrevious, before)
		change(&baseline, m.ChangeFromBaseline, was.ChangeFromBaseline, v.Baseline)
		cell := change(&nadir, m.ChangeFromNadir, was.ChangeFromNadir, v.Nadir)
		if v.Target == recist.PD && differs(v) {
			cell.Tone = Bad
			for i := range cell.Notes {
				cell.Notes[i].Tone = Bad
			}
		}
		if v.Sum.Known() && compared(v) {
			before = v.Sum
		}
	}
	return []Row{sum, previous, baseline, nadir}
}

// measured returns the measurement of an assessment, or what is published where there is
// none.
func measured(a events.Assessment) events.Measurement {
	if a.Measurement != nil {
		return *a.Measurement
	}
	return events.Measurement{ChangeFromPrevious: events.NoChange, ChangeFromBaseline: events.NoChange, ChangeFromNadir: events.NoChange}
}

// sumCell returns the cell of the recorded sum, with what was added up where that differs.
func sumCell(c Column, v recist.Visit) Cell {
	recorded := string(measured(c.shown.Assessment).Value)
	cell := Cell{Text: cmp.Or(recorded, none)}
	if c.earlier != nil {
		cell.compare(cell.Text, cmp.Or(string(measured(*c.earlier).Value), none))
	}
	if !v.Sum.Known() {
		return cell
	}
	added, ok := new(big.Rat).SetString(strings.TrimSuffix(v.Sum.String(), " "+events.Unit))
	value, has := new(big.Rat).SetString(recorded)
	switch {
	case !has && ok:
		cell.Notes = append(cell.Notes, Note{"adds up to " + v.Sum.String(), Quiet})
	case has && ok && added.Cmp(value) != 0:
		cell.Tone = Bad
		cell.Notes = append(cell.Notes, Note{"adds up to " + v.Sum.String(), Bad})
	case !compared(v):
		cell.Notes = append(cell.Notes, Note{"over other lesions", Quiet})
	}
	return cell
}

// compared reports whether the sum is over the same lesions as the others.
func compared(v recist.Visit) bool { return !v.Has("lesions-differ") }

// differs reports whether the recorded response contradicts the derived one.
func differs(v recist.Visit) bool { return v.Has("overall-differs") }

// responses returns the section of the responses: the recorded one, and those that RECIST
// 1.1 gives.
func responses(columns []Column) Section {
	recorded := Row{Kind: Plain, Name: "Recorded, as it will be published"}
	targets := Row{Kind: Plain, Name: "RECIST 1.1: target"}
	nonTargets := Row{Kind: Plain, Name: "RECIST 1.1: non-target"}
	overall := Row{Kind: Plain, Name: "RECIST 1.1: overall"}
	if !slices.ContainsFunc(columns, func(c Column) bool { return c.State == Waits }) {
		recorded.Name = "Recorded, as published"
	}
	for _, c := range columns {
		cell := Cell{Response: recist.Response(c.shown.Assessment.Conclusion)}
		if c.earlier != nil {
			cell.compare(c.shown.Assessment.Conclusion, c.earlier.Conclusion)
		}
		recorded.Cells = append(recorded.Cells, cell)
		if c.checked == nil {
			for _, row := range []*Row{&targets, &nonTargets, &overall} {
				row.Cells = append(row.Cells, Cell{Text: "not computed", Tone: Quiet})
			}
			continue
		}
		v := *c.checked
		targets.Cells = append(targets.Cells, part(v, v.Target))
		nonTargets.Cells = append(nonTargets.Cells, part(v, v.NonTarget))
		overall.Cells = append(overall.Cells, overallCell(v))
	}
	return Section{Heading: "Response", Rows: []Row{recorded, targets, nonTargets, overall}}
}

// part returns the cell of the response of the target or of the non-target lesions. It
// stands out if it is why the recorded response is contradicted.
func part(v recist.Visit, r recist.Response) Cell {
	cell := Cell{Text: r.Short()}
	switch {
	case r == recist.None:
		cell.Text = none
		cell.Tone = Quiet
	case r == recist.Unknown:
		cell.Text, cell.Tone = "unknown", Quiet
	case r == v.Derived && differs(v):
		cell.Tone = Bad
	}
	return cell
}

// overallCell returns the cell of the response that RECIST 1.1 gives, with the others that
// it admits.
func overallCell(v recist.Visit) Cell {
	cell := Cell{Response: v.Derived}
	switch v.Derived {
	case recist.None:
		return Cell{Text: none, Tone: Quiet}
	case recist.Unknown:
		return Cell{Text: "not enough to check", Tone: Quiet}
	}
	for _, r := range v.Admissible {
		cell.Notes = append(cell.Notes, Note{"or " + r.Short(), Quiet})
	}
	if v.New {
		cell.Notes = append(cell.Notes, Note{"new lesion", Quiet})
	}
	return cell
}
