package chart

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/recist"
)

// area returns the limits of labels of points.
func (p *casePlot) area() box { return box{p.left - 14, 2, p.right + 2, p.bottom + 4} }

// drawMarkers draws a triangle for new lesions, with their ids where they are first seen,
// and a diamond for progression of non-target lesions. The first diamond says what it is.
func (p *casePlot) drawMarkers() {
	named := false // what the diamond is
	for _, pt := range p.points {
		if len(pt.newLesions) > 0 {
			at := p.marker(pt)
			p.path("m-new", "M", at.x, " ", at.y-6, "l6.5 11h-13Z")
			if len(pt.firstSeen) > 0 {
				p.nameNew(pt, at)
			}
		}
		if pt.nonTargetPD {
			at := p.marker(pt)
			p.path("m-nt", "M", at.x, " ", at.y-7, "l7 7l-7 7l-7 -7Z")
			text := "non-target PD"
			if p.narrow {
				text = "NT"
			}
			named = named || p.nameMarker(text, at)
		}
	}
}

// marker takes a place for a marker near a point and returns its middle. It is above the
// area if there is none.
func (p *casePlot) marker(pt point) spot {
	around := func(at spot) box { return box{at.x - 7, at.y - 7, at.x + 7, at.y + 7} }
	at := spot{pt.x, p.top - 18, middle}
	for _, d := range [][2]float64{{0, -16}, {0, -31}, {16, -12}, {-16, -12}, {0, 16}, {16, 12}, {-16, 12}, {0, -46}} {
		if near := (spot{pt.x + d[0], pt.y + d[1], middle}); p.free(around(near), p.area(), false) {
			at = near
			break
		}
	}
	p.taken = append(p.taken, around(at))
	return at
}

// nameNew labels the marker of new lesions with their ids, or with how many they are.
func (p *casePlot) nameNew(pt point, at spot) {
	first := clip(visible(pt.firstSeen[0]), 8)
	texts := []string{first}
	if more := len(pt.firstSeen) - 1; more > 0 {
		texts = []string{fmt.Sprintf("%s +%d", first, more), fmt.Sprintf("%d new", more+1)}
	}
	for _, text := range texts {
		if p.nameMarker(text, at) {
			return
		}
	}
}

// nameMarker writes a text beside a marker, and reports whether there was room.
func (p *casePlot) nameMarker(text string, at spot) bool {
	return p.place(styleID, text, p.area(), []spot{
		{at.x + 10, at.y + 4, start}, {at.x - 10, at.y + 4, end}, {at.x, at.y - 11, middle}, {at.x, at.y + 18, middle},
	})
}

// drawValues writes the sum at each point, and at the last one and those that wait also how
// far it is from the nadir, if the targets progress there. Where there is no room for all, the most important ones are written.
func (p *casePlot) drawValues() {
	order := p.important()
	if n := p.lowest; n >= 0 { // the nadir too must have its value
		order = slices.Insert(slices.DeleteFunc(order, func(i int) bool { return i == n }), 0, n)
	}
	for _, i := range order {
		pt := p.points[i]
		if !pt.sum.known() || p.crowded() && p.rank(i) == ordinary && i != p.lowest {
			continue
		}
		if pt.Result.Target == recist.PD && p.rank(i) <= 1 && p.placeGrowth(pt) {
			continue
		}
		spots := []spot{
			{pt.x, pt.y - 12, middle}, {pt.x, pt.y + 22, middle}, {pt.x + 9, pt.y - 9, start}, {pt.x - 9, pt.y - 9, end},
			{pt.x + 9, pt.y + 17, start}, {pt.x - 9, pt.y + 17, end}, {pt.x, pt.y - 28, middle}, {pt.x, pt.y + 36, middle}, {pt.x, pt.y - 44, middle}, {pt.x, pt.y + 44, middle},
		}
		if i == 0 {
			spots = slices.Insert(spots, 0, spots[2])
			spots = append(spots, spot{pt.x + 4, pt.y - 28, start}, spot{pt.x + 4, pt.y + 34, start}, spot{pt.x + 4, pt.y - 44, start})
		}
		if p.isLow(i) {
			spots = slices.Insert(spots, 0, spots[1])
		}
		if p.crowded() && p.rank(i) > 1 && i != p.lowest { // it can be left out
			p.placeAt(styleValue, pt.valueText(), p.area(), spots, true)
			continue
		}
		p.place(styleValue, pt.valueText(), p.area(), spots)
	}
}

// valueText returns the sum for the label of a point.
func (pt point) valueText() string { return clip(pt.text, 12) }

// placeGrowth writes the sum of a visit with how far it is from the nadir, one below the
// other. It reports whether there was room for both.
func (p *casePlot) placeGrowth(pt point) bool {
	growth := recist.Percent(pt.Result.Nadir, pt.Result.Sum)
	if growth == events.NoChange {
		return false
	}
	value := pt.valueText()
	if growth = clip(growth, 14); !p.narrow {
		growth += " from nadir"
	}
	small := styleLabelSm.tinted("pd")
	// The growth may be wider than what is left at the edge.
	x := min(pt.x, p.right-small.widthOf(growth)/2)
	for _, strict := range []bool{true, false} {
		for _, dy := range []float64{-14, -29, 37, -43, -56, 49} {
			growthAt, valueAt := spot{x, pt.y + dy, middle}, spot{pt.x, pt.y + dy - 16, middle}
			if p.free(small.extent(growth, growthAt), p.area(), strict) && p.free(styleValue.extent(value, valueAt), p.area(), strict) {
				p.text(small, growth, growthAt)
				p.text(styleValue, value, valueAt)
				return true
			}
		}
	}
	return false
}

// isLow reports whether the line falls to the i-th point and does not fall from it.
func (p *casePlot) isLow(i int) bool {
	return i > 0 && p.points[i-1].sum.known() && p.points[i-1].y < p.points[i].y &&
		(i == len(p.points)-1 || !p.points[i+1].sum.known() || p.points[i+1].y <= p.points[i].y)
}

// limitLabel is the label of a horizontal line.
type limitLabel struct {
	style      style
	text, note string // the note is on a line of its own where there is room
	x, y       float64
}

// drawLimitLabels writes what the horizontal lines are: to the right of the area if the
// plot is wide, or else along the lines.
func (p *casePlot) drawLimitLabels() {
	var labels []limitLabel
	last := step{}
	if len(p.steps) > 0 {
		last = p.steps[len(p.steps)-1]
	}
	if p.baseline.known() {
		text, note := "Baseline ", ""
		switch {
		case !last.nadir.equal(p.baseline):
		case p.narrow:
			text = "Baseline, nadir "
		default:
			note = "also the nadir"
		}
		labels = append(labels, limitLabel{styleLabel, text + p.lengthText(p.baseline), note, p.left, p.yOf(p.baseline)})
	}
	if p.partial.known() {
		labels = append(labels, limitLabel{styleLabel.tinted("pr"), "PR ≤ " + p.lengthText(p.partial), "−30 % of baseline", p.left, p.yOf(p.partial)})
	}
	if last.nadir.known() {
		note := "+20 % of nadir"
		if last.nadir.mm < 25 {
			note = "nadir + 5 mm"
		}
		labels = append(labels, limitLabel{styleLabel.tinted("pd"), "PD ≥ " + p.lengthText(last.limit), note, last.x, p.yOf(last.limit)})
		if !last.nadir.equal(p.baseline) {
			labels = append(labels, limitLabel{styleLabel, "Nadir " + p.lengthText(last.nadir), "", last.x, p.yOf(last.nadir)})
		}
	}
	if p.narrow {
		p.labelsAlongLines(labels)
	} else {
		p.labelsAtRight(labels)
	}
}

// lengthText returns a length for a label. The value of the baseline and of the nadir is
// written as it was recorded.
func (p *casePlot) lengthText(a amount) string {
	text := a.String()
	for _, pt := range p.points {
		if pt.sum.equal(a) {
			text = pt.text
			break
		}
	}
	return clip(text, 10) + " " + events.Unit
}

// labelsAtRight writes the labels one below the other, each as near to its line as the
// others permit.
func (p *casePlot) labelsAtRight(labels []limitLabel) {
	const line = 14.5
	slices.SortStableFunc(labels, func(a, b limitLabel) int {
		switch {
		case a.y < b.y:
			return -1
		case a.y > b.y:
			return 1
		default:
			return 0
		}
	})
	height := func(l limitLabel) float64 {
		if l.note != "" {
			return 2*line + 5
		}
		return line + 4
	}
	tops := make([]float64, len(labels))
	for i, l := range labels {
		tops[i] = l.y - height(l)/2
	}
	// Labels that overlap form a group, which is centred where its labels would be.
	for range labels {
		for i := 1; i < len(labels); i++ {
			if over := tops[i-1] + height(labels[i-1]) - tops[i]; over > 0 {
				tops[i-1] -= over / 2
				tops[i] += over / 2
			}
		}
	}
	y := 4.0
	for i, l := range labels {
		y = max(y, tops[i])
		tops[i] = y
		y += height(l)
	}
	limit := p.bottom + 12
	for i := len(labels) - 1; i >= 0; i-- {
		tops[i] = min(tops[i], limit-height(labels[i]))
		limit = tops[i]
	}
	room := p.width - p.right - 10
	for i, l := range labels {
		at := spot{p.right + 8, tops[i] + 12.5, start}
		p.text(l.style, l.style.fit(l.text, room), at)
		if l.note != "" {
			at.y += line
			small := style{l.style.class + " sm", 11.5, l.style.bold}
			p.text(small, small.fit(l.note, room), at)
		}
	}
}

// labelsAlongLines writes each label at a free place above or below its line, or else at
// the nearest place that is free.
func (p *casePlot) labelsAlongLines(labels []limitLabel) {
	slices.Reverse(labels) // the baseline, which has its value at the first visit, comes last
	for _, l := range labels {
		small := style{l.style.class + " sm", 11.5, l.style.bold}
		var spots []spot
		for _, dy := range []float64{-5, 14} {
			spots = append(spots, spot{p.right, l.y + dy, end}, spot{l.x + 4, l.y + dy, start})
		}
		for x := l.x + 28; x < p.right; x += 24 {
			spots = append(spots, spot{x, l.y - 5, start}, spot{x, l.y + 14, start})
		}
		spots = append(spots, spot{l.x - 12, l.y + 4, end})
		if strings.HasPrefix(l.text, "PD") {
			spots = append([]spot{{p.right, l.y - 5, end}, {p.right, p.top + 11, end}}, spots...)
		}
		limits := box{p.left, 2, p.right + 2, p.bottom + 4}
		if p.place(small, l.text, limits, spots) {
			continue
		}
		var far []spot
		for dy := 20.0; dy <= 90; dy += 10 {
			far = append(far, spot{p.right, l.y - dy, end}, spot{p.right, l.y + dy + 8, end})
		}
		p.place(small, l.text, limits, far)
	}
}
