package chart

import (
	"html/template"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/recist"
)

// Size is a size of a plot. A page has a plot in both, and the style sheet shows one.
type Size struct {
	class                    string
	width                    float64
	left, right, top, bottom float64 // of the area in which values are drawn
	after                    float64 // room between the last visit and the right edge of the area
	week                     string
	narrow                   bool
}

// The sizes of a plot: 820 and 400 units wide.
var (
	Wide   = Size{class: "plot only-wide", width: 820, left: 54, right: 670, top: 30, bottom: 322, after: 72, week: "week "}
	Narrow = Size{class: "plot only-narrow", width: 400, left: 40, right: 388, top: 30, bottom: 280, after: 35, week: "wk ", narrow: true}
)

// Plot draws the sum of target diameters of a case over time, with the limits of partial
// response and of progression, and with the recorded response of each visit. The visits
// are ordered by timepoint. It returns "" if there are none.
//
// A line joins complete sums of visits that follow each other. A visit without a complete
// sum is a gap, with a cross on the axis. A sum over other lesions than the baseline's is
// drawn, but not joined. A visit that waits for its sign-off is hollow, and the line to it
// is dashed.
func Plot(id string, size Size, visits []Visit) template.HTML {
	if len(visits) == 0 {
		return ""
	}
	p := newCasePlot(size, visits)
	rows, twoRows := p.visitLabels()
	height := p.bottom + 50
	if twoRows {
		height += 16
	}
	p.begin(id, size.class, size.width, height, "Sum of target diameters over time", p.describe())
	p.drawScale()
	p.drawTimes()
	p.drawLimits()
	p.drawPoints()
	for _, row := range rows {
		p.text(row.style, row.text, row.at)
	}
	p.drawMarkers()
	p.drawValues()
	p.drawLimitLabels()
	return p.end()
}

// casePlot is a plot of a case while it is drawn.
type casePlot struct {
	canvas
	Size
	points   []point
	steps    []step // of the nadir, by x
	baseline amount
	partial  amount
	lowest   int     // index of the visit with the smallest sum; -1 if there is none
	scaleTop float64 // the value at the top of the area
	times    timeline
}

// point is a visit in a plot.
type point struct {
	Visit
	x, y   float64
	sum    amount
	text   string // of the sum
	joined bool   // whether the sum can be compared with the others

	newLesions  []string // all of the visit
	firstSeen   []string // those that no visit before has
	nonTargetPD bool
}

// step is the nadir from a visit on, until the next step.
type step struct {
	x     float64
	from  string // name of the visit; empty if that is not in the record
	nadir amount
	limit amount // of progression
}

func newCasePlot(size Size, visits []Visit) *casePlot {
	p := &casePlot{Size: size, times: newTimeline(visits)}
	xs := p.times.spread(size.left, size.right-size.after)
	seen := map[string]bool{}
	var baseline recist.Length
	for i, v := range visits {
		pt := point{
			Visit: v, x: xs[i], sum: amountOf(v.Result.Sum), joined: v.comparable(),
			nonTargetPD: v.Result.NonTarget == recist.PD,
		}
		pt.text = v.sumText(pt.sum)
		if v.Result.New {
			pt.newLesions = recist.NewLesions(v.Assessment)
			for _, id := range pt.newLesions {
				if !seen[id] {
					seen[id] = true
					pt.firstSeen = append(pt.firstSeen, id)
				}
			}
		}
		p.points = append(p.points, pt)
		if b := v.Result.Baseline; b.Known() && (!baseline.Known() || b.Compare(baseline) != 0) {
			baseline, p.baseline = b, amountOf(b)
		}
	}
	if first := p.points[0]; first.Result.Timepoint == 0 && first.sum.known() {
		p.baseline = first.sum
	}
	p.partial = partialLimit(p.baseline)
	p.findLowest()
	p.findSteps()
	p.scale()
	return p
}

func (p *casePlot) findLowest() {
	p.lowest = -1
	for i, pt := range p.points {
		if pt.sum.known() && pt.joined && (p.lowest < 0 || pt.sum.less(p.points[p.lowest].sum)) {
			p.lowest = i
		}
	}
}

// findSteps finds the visits from which on another nadir counts. The last step may be at
// the last visit: the next one will be compared with it.
func (p *casePlot) findSteps() {
	add := func(x float64, from string, nadir amount) {
		if n := len(p.steps); n > 0 && !nadir.less(p.steps[n-1].nadir) {
			return
		}
		p.steps = append(p.steps, step{x, from, nadir, progressionLimit(nadir)})
	}
	var before recist.Length
	for i, pt := range p.points {
		length := pt.Result.Nadir
		if !length.Known() || before.Known() && before.Compare(length) == 0 {
			continue
		}
		before = length
		nadir := amountOf(length)
		x, from := pt.x, "" // by a recorded change: at some visit before this one
		if i > 0 {
			x = (p.points[i-1].x + pt.x) / 2
		}
		for _, earlier := range p.points[:i] {
			if earlier.joined && earlier.sum.equal(nadir) {
				x, from = earlier.x, earlier.name()
				break
			}
		}
		add(x, from, nadir)
	}
	if last := p.points[len(p.points)-1]; last.sum.known() && last.joined {
		add(last.x, last.name(), last.sum)
	}
}

// scale chooses the value at the top of the area and sets the heights of the points.
func (p *casePlot) scale() {
	top := 0.0
	for _, a := range []amount{p.baseline, p.partial} {
		top = math.Max(top, a.mm)
	}
	for _, s := range p.steps {
		top = math.Max(top, s.limit.mm)
	}
	for _, pt := range p.points {
		top = math.Max(top, pt.sum.mm)
	}
	if top > 0 {
		half := niceStep(top) / 2
		top = math.Ceil(top*1.02/half) * half
	}
	if p.scaleTop = top; top <= 0 {
		p.bottom = p.top + 90 // there is nothing to draw but markers
	}
	for i := range p.points {
		p.points[i].y = p.yOf(p.points[i].sum)
	}
}

// yOf returns the coordinate of a value; that of 0 for none.
func (p *casePlot) yOf(a amount) float64 {
	if p.scaleTop <= 0 {
		return p.bottom
	}
	return p.bottom - a.mm/p.scaleTop*(p.bottom-p.top)
}

// drawScale draws the grid with its values.
func (p *casePlot) drawScale() {
	if p.scaleTop <= 0 {
		p.path("grid", "M", p.left, " ", p.bottom, "H", p.right)
		reason := "No visit has a complete sum."
		if !slices.ContainsFunc(p.points[0].Assessment.Lesions, func(l events.Lesion) bool { return l.Category == "Target" }) {
			reason = "There are no target lesions, so there is no sum."
		}
		p.text(styleAxis, reason, spot{(p.left + p.right) / 2, (p.top + p.bottom) / 2, middle})
		return
	}
	step := niceStep(p.scaleTop)
	for i := 0; float64(i)*step <= p.scaleTop*1.0001; i++ {
		y := p.bottom - float64(i)*step/p.scaleTop*(p.bottom-p.top)
		p.path("grid", "M", p.left, " ", y, "H", p.right)
		text, room := tickText(float64(i)*step), p.left-11
		s := styleAxis
		if s.widthOf(text) > room {
			s = styleAxisSm
		}
		p.text(s, s.fit(text, room), spot{p.left - 9, y + 4, end})
	}
	p.text(styleAxis, events.Unit, spot{p.left - 9, 17, end})
}

// tickText returns the value of a tick, in few characters.
func tickText(value float64) string {
	if text := strconv.FormatFloat(value, 'f', -1, 64); len(text) <= 4 {
		return text
	}
	return strings.Replace(strconv.FormatFloat(value, 'e', 0, 64), "e+", "e", 1)
}

// drawTimes draws the ticks of the visits, with as many weeks as there is room for.
func (p *casePlot) drawTimes() {
	if !p.times.toScale {
		p.text(styleAxisSm, "visits, not to scale", spot{p.right, 17, end})
	}
	texts := make([]string, len(p.points))
	for i, pt := range p.points {
		p.path("tick", "M", pt.x, " ", p.bottom, "v5")
		texts[i] = p.week + p.times.week(i)
	}
	if !p.times.toScale {
		return
	}
	spots := p.below(19)
	if !p.allFit(styleAxis, texts, spots) {
		for i := range texts[1:] {
			texts[i+1] = p.times.week(i + 1)
		}
	}
	for _, i := range p.thinned(styleAxis, texts, spots) {
		p.text(styleAxis, texts[i], spots[i])
	}
}

// below returns the places of texts centred under the visits.
func (p *casePlot) below(distance float64) []spot {
	spots := make([]spot, len(p.points))
	for i, pt := range p.points {
		spots[i] = spot{pt.x, p.bottom + distance, middle}
	}
	return spots
}

// whole returns the limits of all that is drawn. The height is not known yet when labels
// under the axis are chosen.
func (p *casePlot) whole() box { return box{2, 2, p.width - 2, p.bottom + 70} }

// allFit reports whether texts in a row leave room between each other.
func (p *casePlot) allFit(s style, texts []string, spots []spot) bool {
	return p.fitEvery(1, s, texts, spots)
}

// fitEvery reports whether every n-th text, and so that the last one is among them, leaves
// room between each other.
func (p *casePlot) fitEvery(n int, s style, texts []string, spots []spot) bool {
	right := p.whole().left
	for i := (len(texts) - 1) % n; i < len(texts); i += n {
		b := s.extent(texts[i], spots[i])
		if b.left < right || b.right > p.whole().right {
			return false
		}
		right = b.right + 4
	}
	return true
}

// manyVisits is a number of visits of which not all need a label.
const manyVisits = 12

// thinned returns the indices of texts in a row that leave room between each other: all,
// or of many every second, third or fourth one, or else the most important ones.
func (p *casePlot) thinned(s style, texts []string, spots []spot) (chosen []int) {
	for n := 1; n <= 4 && (n == 1 || len(texts) > manyVisits); n++ {
		if p.fitEvery(n, s, texts, spots) {
			for i := (len(texts) - 1) % n; i < len(texts); i += n {
				chosen = append(chosen, i)
			}
			// The first text is worth more than the one that was chosen instead.
			if first := s.extent(texts[0], spots[0]); first.left >= p.whole().left &&
				(len(chosen) < 2 || first.right+4 <= s.extent(texts[chosen[1]], spots[chosen[1]]).left) {
				chosen[0] = 0
			}
			return chosen
		}
	}
	var row canvas
	for _, i := range p.important() {
		b := s.extent(texts[i], spots[i])
		b.right += 4
		if row.free(b, p.whole(), false) {
			row.taken = append(row.taken, b)
			chosen = append(chosen, i)
		}
	}
	return chosen
}

// important returns the indices of the visits, the ones first that must not lack a label:
// the first, the last, those that wait, those with another response than before, and then
// the others.
func (p *casePlot) important() []int {
	order := make([]int, len(p.points))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return p.rank(a) - p.rank(b) })
	return order
}

// rank returns how important the label of a visit is: 0 most, ordinary least.
func (p *casePlot) rank(i int) int {
	switch {
	case i == 0, i == len(p.points)-1:
		return 0
	case p.points[i].Waits:
		return 1
	case p.points[i].response() != p.points[i-1].response():
		return 2
	default:
		return ordinary
	}
}

const ordinary = 3

// placed is a text with its place.
type placed struct {
	style style
	text  string
	at    spot
}

// visitLabels returns the names of the visits and their responses, for under the axis:
// in one row if there is room, or else in two.
func (p *casePlot) visitLabels() (labels []placed, twoRows bool) {
	upper := p.below(42)
	for _, waits := range []bool{true, false} {
		texts := make([]string, len(p.points))
		for i, pt := range p.points {
			texts[i] = pt.shortName()
			if short := abbreviations[pt.Result.Recorded]; short != "" {
				texts[i] += " · " + short
			}
			if waits && pt.Waits {
				texts[i] += " (waits)"
			}
		}
		if p.allFit(styleVisit, texts, upper) {
			for i := range texts {
				labels = append(labels, placed{styleVisit, texts[i], upper[i]})
			}
			return labels, false
		}
	}
	return p.labelsInTwoRows(upper, p.below(58)), true
}

// labelsInTwoRows returns the names of the visits for the upper row, and their responses
// for the lower one. Some visits are left out if there is not room for all.
func (p *casePlot) labelsInTwoRows(upper, lower []spot) (labels []placed) {
	names, responses, widest := make([]string, len(p.points)), make([]string, len(p.points)), make([]string, len(p.points))
	for i, pt := range p.points {
		names[i], responses[i] = pt.shortName(), abbreviations[pt.Result.Recorded]
		if pt.Result.Recorded == recist.NonCRNonPD {
			responses[i] = shortNonCRNonPD
		}
	}
	if !p.allFit(styleVisit, names, upper) {
		for i := range names[1:] {
			names[i+1] = numberOf(names[i+1])
		}
	}
	for i := range names {
		widest[i] = names[i]
		if styleVisit.widthOf(responses[i]) > styleVisit.widthOf(names[i]) {
			widest[i] = responses[i]
		}
	}
	for _, i := range p.thinned(styleVisit, widest, upper) {
		labels = append(labels, placed{styleVisit, names[i], upper[i]})
		if responses[i] != "" {
			labels = append(labels, placed{styleVisit, responses[i], lower[i]})
		}
	}
	return labels
}

// numberOf returns the number of a follow-up from its short name.
func numberOf(name string) string { return strings.TrimPrefix(name, "FU ") }

// drawLimits draws the baseline, the nadir, and the limits of response and progression
// with their zones.
func (p *casePlot) drawLimits() {
	if p.partial.known() {
		y := p.yOf(p.partial)
		p.put(`<rect class="z-pr" x="`, p.left, `" y="`, y, `" width="`, p.right-p.left, `" height="`, p.bottom-y, `"/>`)
	}
	if len(p.steps) > 0 {
		p.path("z-pd", "M", p.steps[0].x, " ", p.top, p.stepPath("V"), "V", p.top, "Z")
	}
	if p.baseline.known() {
		p.across("l-b", p.left, p.yOf(p.baseline))
	}
	if p.partial.known() {
		p.across("l-pr", p.left, p.yOf(p.partial))
	}
	if len(p.steps) == 0 {
		return
	}
	p.path("l-pd", "M", p.steps[0].x, " ", p.yOf(p.steps[0].limit), p.stepPath(""))
	for i, s := range p.steps {
		y, until := p.yOf(s.limit), p.right
		if i+1 < len(p.steps) {
			until = p.steps[i+1].x
			p.lines = append(p.lines, segment{until, y, until, p.yOf(p.steps[i+1].limit)})
		}
		p.lines = append(p.lines, segment{s.x, y, until, y})
	}
	if last := p.steps[len(p.steps)-1]; !last.nadir.equal(p.baseline) {
		p.across("l-n", last.x, p.yOf(last.nadir))
	}
}

// stepPath returns the path along the limits of progression, from the first step to the
// right edge. First is the command that leads to the height of the first step.
func (p *casePlot) stepPath(first string) string {
	var out []byte
	for i, s := range p.steps {
		if i > 0 {
			out = appendNumber(append(out, 'H'), s.x)
		}
		if i > 0 || first != "" {
			out = appendNumber(append(out, 'V'), p.yOf(s.limit))
		}
	}
	return string(appendNumber(append(out, 'H'), p.right))
}

// across draws a line to the right edge.
func (p *casePlot) across(class string, x, y float64) {
	p.path(class, "M", x, " ", y, "H", p.right)
	p.lines = append(p.lines, segment{x, y, p.right, y})
}

// drawPoints draws the sums, the lines between them, and crosses for visits without one.
func (p *casePlot) drawPoints() {
	p.drawLines(false)
	p.drawLines(true)
	radius := 5.0
	if p.crowded() {
		radius = 3.5
	}
	for _, pt := range p.points {
		switch {
		case !pt.sum.known():
			p.path("x", "M", pt.x-5, " ", p.bottom-5, "l10 10m0 -10l-10 10")
		case pt.Waits:
			p.put(`<circle class="pt open" cx="`, pt.x, `" cy="`, pt.y, `" r="`, radius+1.5, `"/>`)
		default:
			p.put(`<circle class="pt" cx="`, pt.x, `" cy="`, pt.y, `" r="`, radius, `"/>`)
		}
		p.taken = append(p.taken, box{pt.x - 7, pt.y - 7, pt.x + 7, pt.y + 7})
	}
}

// crowded reports whether the visits are so near to each other that not all can have
// their value.
func (p *casePlot) crowded() bool {
	n := len(p.points) - 1
	return n > 3 && p.points[n].x-p.points[0].x < 30*float64(n)
}

// drawLines draws the lines between visits that are signed, or those to and from a visit
// that waits.
func (p *casePlot) drawLines(waits bool) {
	var path []byte
	joined := false // with the visit before
	for i, to := range p.points {
		if i == 0 {
			continue
		}
		from := p.points[i-1]
		if !from.sum.known() || !to.sum.known() || !from.joined || !to.joined || (from.Waits || to.Waits) != waits {
			joined = false
			continue
		}
		if !joined {
			path = appendNumber(append(appendNumber(append(path, 'M'), from.x), ' '), from.y)
		}
		path = appendNumber(append(appendNumber(append(path, 'L'), to.x), ' '), to.y)
		joined = true
		p.lines = append(p.lines, segment{from.x, from.y, to.x, to.y})
	}
	if len(path) == 0 {
		return
	}
	class := "line"
	if waits {
		class = "line wait"
	}
	p.path(class, string(path))
}
