package chart

import (
	"html/template"
	"math"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/recist"
)

// maxDots is the number of visits up to which a small plot has a dot for each.
const maxDots = 14

// Spark draws the sums of a case for a row of the queue, at equal steps and from 0. The
// last visit is a ring if it waits. A visit without a complete sum is a cross on the axis.
// Spark returns "" if there are no visits.
func Spark(id string, visits []Visit) template.HTML {
	if len(visits) == 0 {
		return ""
	}
	values := make([]amount, len(visits))
	joined := make([]bool, len(visits))
	words := make([]string, len(visits))
	for i, v := range visits {
		values[i], joined[i] = amountOf(v.Result.Sum), v.comparable()
		words[i] = point{Visit: v, sum: values[i], text: v.sumText(values[i]), joined: joined[i]}.value()
	}
	var c canvas
	c.begin(id, "spark", 124, 42, "Target sum by visit", strings.Join(words, ", ")+".")
	xs, ys := smallScale(values, 6, 118, 5, 37)
	c.path("grid", "M2 37H122")
	c.smallLine(values, joined, xs, ys)
	for i, v := range visits {
		last := i == len(visits)-1
		switch {
		case !values[i].known():
			c.path("x", "M", xs[i]-3, " ", ys[i]-3, "l6 6m0 -6l-6 6")
		case last && v.Waits:
			c.put(`<circle class="pt open" cx="`, xs[i], `" cy="`, ys[i], `" r="3.6"/>`)
		case last || len(visits) <= maxDots || !linked(values, joined, i):
			c.put(`<circle class="pt" cx="`, xs[i], `" cy="`, ys[i], `" r="2.2"/>`)
		}
	}
	return c.end()
}

// Trend draws the diameters of a lesion for its row in the table, at equal steps and from
// 0. The row has the values as text, so the plot is hidden from screen readers and has no
// title. Trend returns "" if no visit has a diameter.
func Trend(visits []Visit, lesion string) template.HTML {
	values := make([]amount, len(visits))
	joined := make([]bool, len(visits))
	last := -1
	for i, v := range visits {
		joined[i] = true
		for _, l := range v.Assessment.Lesions {
			if l.ID == lesion {
				values[i] = amountOf(recist.Diameter(l))
				break
			}
		}
		if values[i].known() {
			last = i
		}
	}
	if last < 0 {
		return ""
	}
	var c canvas
	c.put(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 20" class="spark mini" aria-hidden="true">`)
	xs, ys := smallScale(values, 3, 61, 3, 17)
	c.smallLine(values, joined, xs, ys)
	for i, v := range values {
		if i != last && v.known() && !linked(values, joined, i) {
			c.put(`<circle class="pt" cx="`, xs[i], `" cy="`, ys[i], `" r="1.6"/>`)
		}
	}
	c.put(`<circle class="pt" cx="`, xs[last], `" cy="`, ys[last], `" r="2.6"/>`)
	return c.end()
}

// smallScale returns the coordinates of values. Those of none are on the axis.
func smallScale(values []amount, left, right, top, bottom float64) (xs, ys []float64) {
	highest := 0.0
	for _, v := range values {
		highest = math.Max(highest, v.mm)
	}
	xs, ys = make([]float64, len(values)), make([]float64, len(values))
	for i, v := range values {
		xs[i], ys[i] = right, bottom
		if n := len(values); n > 1 {
			xs[i] = left + float64(i)/float64(n-1)*(right-left)
		}
		if highest > 0 {
			ys[i] = bottom - v.mm/highest*(bottom-top)
		}
	}
	return xs, ys
}

// linked reports whether a line joins the i-th value with a neighbour.
func linked(values []amount, joined []bool, i int) bool {
	return joins(values, joined, i) || joins(values, joined, i+1)
}

// joins reports whether a line joins the i-th value with the one before.
func joins(values []amount, joined []bool, i int) bool {
	return i > 0 && i < len(values) && values[i-1].known() && values[i].known() && joined[i-1] && joined[i]
}

// smallLine draws the line through values, with gaps.
func (c *canvas) smallLine(values []amount, joined []bool, xs, ys []float64) {
	var path []byte
	for i := range values {
		if !joins(values, joined, i) {
			continue
		}
		if !joins(values, joined, i-1) {
			path = appendNumber(append(appendNumber(append(path, 'M'), xs[i-1]), ' '), ys[i-1])
		}
		path = appendNumber(append(appendNumber(append(path, 'L'), xs[i]), ' '), ys[i])
	}
	if len(path) > 0 {
		c.path("line", string(path))
	}
}

// percentOf returns the change from the baseline to the sum of a visit after it, in
// percent: as a number for coordinates, and as text. Ok is false if there is none, and
// where the sum is over other lesions.
func percentOf(v Visit) (percent float64, text string, ok bool) {
	sum, baseline := amountOf(v.Result.Sum), amountOf(v.Result.Baseline)
	if !sum.known() || !baseline.known() || baseline.exact.Sign() == 0 || !v.comparable() {
		return 0, "", false
	}
	text = recist.Percent(v.Result.Baseline, v.Result.Sum)
	return (sum.mm - baseline.mm) / baseline.mm * 100, strings.Replace(text, "-", "−", 1), text != events.NoChange
}
