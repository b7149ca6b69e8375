package chart

import (
	"cmp"
	"fmt"
	"html/template"
	"math"
	"slices"

	"github.com/seed-e88a4ece/signoff/events/recist"
)

// cut is the change, in percent, at which bars and lines of a study end.
const cut = 100

// bar is a case in a waterfall plot.
type bar struct {
	label    string
	percent  float64
	text     string // of percent
	response recist.Response
}

// Waterfall draws the best change of the target sum from baseline of each case, the worst
// case left. The best change is the smallest one before the first progression that was
// recorded, or that of the progression if nothing was measured before. The response over
// a bar is the one recorded at that visit; it does not follow from the bar's length alone.
func Waterfall(id string, size Size, cases []Case) template.HTML {
	w := newWaterfall(size, cases)
	height := size.bottom + 26
	lanes := w.barWidth() < 22 // no room for letters
	if lanes {
		height += laneHeight * float64(len(laneOrder))
	}
	w.begin(id, size.class, size.width, height, "Best change of the target sum by case", w.describe())
	w.drawGrid(w.Size, w.low, w.high)
	w.text(styleAxisSm, fmt.Sprintf("%d of %d evaluable", len(w.bars), w.all), spot{w.right, 17, end})
	for i, b := range w.bars {
		w.drawBar(i, b, lanes)
	}
	w.path("zero", "M", w.left, " ", w.yOf(0), "H", w.right)
	if lanes {
		w.drawLanes()
	}
	return w.end()
}

// waterfall is a waterfall plot while it is drawn.
type waterfall struct {
	studyPlot
	bars []bar
	all  int // cases
}

func newWaterfall(size Size, cases []Case) *waterfall {
	w := &waterfall{all: len(cases)}
	for _, c := range cases {
		if b, ok := bestChange(c); ok {
			w.bars = append(w.bars, b)
		}
	}
	slices.SortStableFunc(w.bars, func(a, b bar) int { return cmp.Compare(b.percent, a.percent) })
	changes := make([]float64, len(w.bars))
	for i, b := range w.bars {
		changes[i] = b.percent
	}
	w.studyPlot = newStudyPlot(size, changes)
	return w
}

// bestChange returns the bar of a case. Ok is false if it has no change.
func bestChange(c Case) (best bar, ok bool) {
	for i, v := range c.Visits {
		if i == 0 && v.Result.Timepoint == 0 {
			continue
		}
		progressed := v.response() == recist.PD
		if percent, text, measured := percentOf(v); measured && (!ok || !progressed && percent < best.percent) {
			best, ok = bar{c.Label, percent, text, v.response()}, true
		}
		if progressed {
			break
		}
	}
	return best, ok
}

// barWidth returns the width of a bar with the room to the next one.
func (w *waterfall) barWidth() float64 {
	return math.Min(90, (w.right-w.left)/math.Max(1, float64(len(w.bars))))
}

// drawBar draws the i-th bar, with its response beyond its end and its label at the other
// side of the zero line where there is room.
func (w *waterfall) drawBar(i int, b bar, lanes bool) {
	step := w.barWidth()
	gap := math.Min(6, step*0.18)
	x, y, zero := w.left+float64(i)*step+gap/2, w.yOf(b.percent), w.yOf(0)
	top, height := math.Min(y, zero), math.Max(1, math.Abs(y-zero))
	width := math.Max(0.5, step-gap)
	w.put(`<rect class="bar b-`, classOf(b.response), `" x="`, x, `" y="`, top, `" width="`, width, `" height="`, height, `"/>`)
	if b.percent > cut { // the bar goes on
		w.path("cut", "M", x, " ", y+10, "l", width, " -5")
	}
	if lanes {
		return
	}
	mid := x + width/2
	at, labelAt := spot{mid, top - 5, middle}, spot{mid, zero + 15, middle}
	if b.percent < 0 {
		at.y, labelAt.y = top+height+14, zero-6
	}
	short := abbreviations[b.response]
	if b.response == recist.NonCRNonPD {
		short = shortNonCRNonPD
	}
	if short != "" {
		w.text(styleID.tinted(classOf(b.response)), short, at)
	}
	if b.percent > cut {
		w.place(styleAxisSm, b.text, w.whole(), []spot{{mid, top - 18, middle}})
	}
	if label := clip(visible(b.label), 12); styleAxisSm.widthOf(label) <= step-2 {
		w.text(styleAxisSm, label, labelAt)
	}
}

// laneOrder is the order of the responses under a plot with many bars.
var laneOrder = []recist.Response{recist.CR, recist.PR, recist.SD, recist.PD, recist.NE}

const laneHeight = 15

// drawLanes draws a lane for each response under the plot. Each bar has a tick in the lane
// of its response, so that the response does not depend on the colour alone.
func (w *waterfall) drawLanes() {
	for n, r := range laneOrder {
		y := w.bottom + 26 + float64(n)*laneHeight
		count := 0
		var ticks []byte
		for i, b := range w.bars {
			if b.response == r || r == recist.SD && b.response == recist.NonCRNonPD {
				count++
				ticks = appendNumber(append(ticks, 'M'), w.left+(float64(i)+0.5)*w.barWidth())
				ticks = append(appendNumber(append(ticks, ' '), y-10), "v9"...)
			}
		}
		w.path("grid", "M", w.left, " ", y+1, "H", w.right)
		if len(ticks) > 0 {
			w.path("lane k-"+classOf(r), string(ticks))
		}
		w.text(styleID.tinted(classOf(r)), abbreviations[r], spot{w.left - 9, y, end})
		w.text(styleAxisSm, fmt.Sprint(count), spot{w.right + 8, y, start})
	}
}

// describe returns in sentences what the plot shows.
func (w *waterfall) describe() string {
	text := fmt.Sprintf("%d of %d cases are evaluable: the others have no change from baseline up to progression.", len(w.bars), w.all)
	if len(w.bars) == w.all {
		text = fmt.Sprintf("All %d cases are evaluable.", w.all)
	}
	if len(w.bars) == 0 {
		return text
	}
	fell, rose := 0, 0
	for _, b := range w.bars {
		if b.percent <= -30 {
			fell++
		}
		if b.percent >= 20 {
			rose++
		}
	}
	return text + fmt.Sprintf(" The best change before progression goes from %s to %s. It is −30 %% or less in %s, and +20 %% or more in %s.",
		w.bars[0].text, w.bars[len(w.bars)-1].text, casesText(fell), casesText(rose))
}

// casesText returns a number of cases in words.
func casesText(n int) string {
	if n == 1 {
		return "1 case"
	}
	return fmt.Sprintf("%d cases", n)
}

// studyPlot is what the plots of a study have in common: a scale of changes in percent.
type studyPlot struct {
	canvas
	Size
	low, high float64 // of the scale
}

// newStudyPlot returns a plot with a scale for the changes. It has -40 % to +40 % at least
// and ends at +100 %, and there is room beyond for what is written there.
func newStudyPlot(size Size, changes []float64) studyPlot {
	low, high := -40.0, 40.0
	for _, c := range changes {
		low, high = math.Min(low, c), math.Max(high, math.Min(c, cut))
	}
	size.left, size.right = size.left+8, size.width-48 // for the percentages at both sides
	if size.narrow {
		size.left += 6
	}
	size.top += 18
	return studyPlot{Size: size, low: math.Floor(low/20) * 20, high: math.Ceil(high/20) * 20}
}

func (p *studyPlot) whole() box { return box{2, 2, p.width - 2, p.bottom + 30} }

// yOf returns the coordinate of a change. Changes beyond the cut are drawn at it.
func (p *studyPlot) yOf(percent float64) float64 {
	percent = math.Min(percent, cut)
	return p.bottom - (percent-p.low)/(p.high-p.low)*(p.bottom-p.top)
}

// drawGrid draws the scale and the lines at -30 % and +20 %.
func (p *studyPlot) drawGrid(size Size, low, high float64) {
	step := 20.0
	if high-low > 120 {
		step = 50
	}
	for v := math.Ceil(low/step) * step; v <= high; v += step {
		y := p.yOf(v)
		p.path("grid", "M", size.left, " ", y, "H", size.right)
		text := fmt.Sprintf("%+.0f %%", v)
		switch {
		case v == 0:
			text = "0 %"
		case v < 0:
			text = fmt.Sprintf("−%.0f %%", -v)
		}
		if b := styleAxisSm.extent(text, spot{size.left - 7, y + 4, end}); p.free(b, p.whole(), false) {
			p.text(styleAxisSm, text, spot{size.left - 7, y + 4, end})
		}
	}
	for _, l := range []struct {
		percent     float64
		class, text string
	}{{20, "pd", "+20 %"}, {-30, "pr", "−30 %"}} {
		y := p.yOf(l.percent)
		p.path("r-"+l.class, "M", size.left, " ", y, "H", size.right)
		p.text(style{"ax sm t-" + l.class, 11.5, true}, l.text, spot{size.right + 3, y + 4, start})
	}
}
