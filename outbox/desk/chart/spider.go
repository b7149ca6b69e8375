package chart

import (
	"fmt"
	"html/template"
	"math"
	"slices"
	"strconv"

	"github.com/seed-e88a4ece/signoff/events/recist"
)

// maxLabelled is the number of cases up to which a spider plot has a label for each.
const maxLabelled = 20

// Spider draws the change of the target sum from baseline of each case over time. All
// lines begin at 0 %. A line has a gap where a visit has no complete sum. The time is in
// weeks since the baseline; cases without exact dates are left out and counted, unless no
// case has exact dates, and then time is the number of the visit.
func Spider(id string, size Size, cases []Case) template.HTML {
	s := newSpider(size, cases)
	s.begin(id, size.class, size.width, size.bottom+54, "Change of the target sum over time by case", s.describe())
	s.drawGrid(s.Size, s.low, s.high)
	s.drawWeeks()
	s.text(styleAxisSm, s.note(), spot{s.right, 17, end})
	for _, t := range s.threads {
		s.drawThread(t)
	}
	for _, t := range s.threads {
		s.drawMarks(t)
	}
	if s.labelled() {
		for _, t := range s.threads {
			s.drawLabel(t)
		}
	}
	s.drawKey()
	return s.end()
}

// spider is a spider plot while it is drawn.
type spider struct {
	studyPlot
	threads []thread
	all     int // cases
	undated int // cases that are left out for their dates
	toScale bool
	last    float64 // days, or the number of visits
}

// thread is a case in a spider plot.
type thread struct {
	label    string
	response recist.Response // the last one
	knots    []knot
}

// knot is a visit of a case in a spider plot.
type knot struct {
	at          float64
	percent     float64
	known       bool
	isNew       bool
	nonTargetPD bool
}

func newSpider(size Size, cases []Case) *spider {
	s := &spider{all: len(cases)}
	times := make([]timeline, len(cases))
	for i, c := range cases {
		times[i] = newTimeline(c.Visits)
		s.toScale = s.toScale || times[i].toScale && len(c.Visits) > 1
	}
	var changes []float64
	for i, c := range cases {
		t, ok := newThread(c, times[i])
		if !ok {
			continue
		}
		if s.toScale && !times[i].toScale {
			s.undated++
			continue
		}
		s.threads = append(s.threads, t)
		for _, k := range t.knots {
			s.last = math.Max(s.last, k.at)
			if k.known {
				changes = append(changes, k.percent)
			}
		}
	}
	s.studyPlot = newStudyPlot(size, changes)
	return s
}

// newThread returns the thread of a case. Ok is false if the case does not begin with a
// baseline, or has no change from it.
func newThread(c Case, times timeline) (t thread, ok bool) {
	t.label = c.Label
	for i, v := range c.Visits {
		if i == 0 {
			if v.Result.Timepoint != 0 || !v.Result.Sum.Known() {
				return t, false
			}
			t.knots = append(t.knots, knot{known: true})
			continue
		}
		k := knot{at: times.at[i], isNew: v.Result.New, nonTargetPD: v.Result.NonTarget == recist.PD}
		k.percent, _, k.known = percentOf(v)
		ok = ok || k.known
		t.knots = append(t.knots, k)
		t.response = v.response()
	}
	return t, ok
}

func (s *spider) xOf(k knot) float64 {
	if s.last <= 0 {
		return s.left
	}
	return s.left + k.at/s.last*(s.right-s.left-24)
}

// drawWeeks draws the scale of time.
func (s *spider) drawWeeks() {
	units, word := s.last/7, s.week
	if !s.toScale {
		units, word = s.last, "visit "
	}
	if units <= 0 {
		return
	}
	step := math.Max(1, niceStep(units))
	if s.toScale {
		step = weekStep(units)
	}
	for at := 0.0; at <= units*1.0001; at += step {
		x := s.xOf(knot{at: at / units * s.last})
		s.path("tick", "M", x, " ", s.bottom, "v5")
		text := strconv.FormatFloat(at, 'f', 0, 64)
		if at == 0 || !s.narrow {
			text = word + text
		}
		if at := (spot{x, s.bottom + 19, middle}); s.free(styleAxis.extent(text, at), s.whole(), false) {
			s.text(styleAxis, text, at)
		}
	}
}

// weekStep returns the step of an axis of weeks: one in which visits are planned, or a
// year or more.
func weekStep(weeks float64) float64 {
	for _, step := range []float64{1, 2, 4, 6, 8, 12, 24} {
		if weeks/step <= 7 {
			return step
		}
	}
	return 52 * math.Max(1, niceStep(weeks/52))
}

// drawThread draws the line of a case, up to the end of the scale.
func (s *spider) drawThread(t thread) {
	var path []byte
	var before spot // where the line before ended
	for i := 1; i < len(t.knots); i++ {
		from, to := t.knots[i-1], t.knots[i]
		if !from.known || !to.known || from.percent > cut && to.percent > cut {
			continue
		}
		from, to = s.cutOff(from, to), s.cutOff(to, from)
		a, b := spot{x: s.xOf(from), y: s.yOf(from.percent)}, spot{x: s.xOf(to), y: s.yOf(to.percent)}
		if len(path) == 0 || a != before {
			path = appendNumber(append(appendNumber(append(path, 'M'), a.x), ' '), a.y)
		}
		path = appendNumber(append(appendNumber(append(path, 'L'), b.x), ' '), b.y)
		before = b
		if s.labelled() {
			s.lines = append(s.lines, segment{a.x, a.y, b.x, b.y})
		}
		if to.percent == cut {
			s.path("more k-"+classOf(t.response), "M", b.x-4, " ", b.y-2, "l4 -6l4 6")
			s.taken = append(s.taken, box{b.x - 5, b.y - 9, b.x + 5, b.y})
		}
	}
	if len(path) == 0 {
		return
	}
	class := "thread k-" + classOf(t.response)
	if !s.labelled() {
		class = "thread many k-" + classOf(t.response)
	}
	s.path(class, string(path))
}

// cutOff returns the knot k, or if it is beyond the cut, where the line to other crosses
// the cut.
func (s *spider) cutOff(k, other knot) knot {
	if k.percent > cut {
		k.at += (k.percent - cut) / (k.percent - other.percent) * (other.at - k.at)
		k.percent = cut
	}
	return k
}

// labelled reports whether each case has a label.
func (s *spider) labelled() bool { return len(s.threads) <= maxLabelled }

// drawMarks draws the visits of a case: a triangle where a lesion is new, a diamond where
// non-target lesions progress, and else a dot, unless there are many cases.
func (s *spider) drawMarks(t thread) {
	for i, k := range t.knots {
		x, y := s.xOf(k), s.yOf(k.percent)
		if !k.known {
			y = s.bottom
		}
		switch {
		case k.isNew && s.labelled():
			s.path("m-new", "M", x, " ", y-6, "l5.5 9.5h-11Z")
		case k.isNew:
			s.path("m-new", "M", x, " ", y-4, "l4 7h-8Z")
		case k.nonTargetPD && s.labelled():
			s.path("m-nt", "M", x, " ", y-6, "l6 6l-6 6l-6 -6Z")
		case k.nonTargetPD:
			s.path("m-nt", "M", x, " ", y-4, "l4 4l-4 4l-4 -4Z")
		case k.known && i > 0 && k.percent <= cut && s.labelled():
			s.put(`<circle class="dot d-`, classOf(t.response), `" cx="`, x, `" cy="`, y, `" r="2.6"/>`)
		}
	}
}

// drawLabel writes the label of a case and its last response at the end of its line.
func (s *spider) drawLabel(t thread) {
	last := t.knots[0]
	for i, k := range t.knots {
		switch {
		case !k.known, i > 0 && k.percent > cut && t.knots[i-1].percent > cut:
		case i > 0 && t.knots[i-1].known:
			last = s.cutOff(k, t.knots[i-1])
		case k.percent <= cut:
			last = k
		}
	}
	x, y := s.xOf(last), s.yOf(last.percent)
	text := clip(visible(t.label), 12)
	if short := abbreviations[t.response]; short != "" && !s.narrow {
		text += " · " + short
	}
	s.place(styleID.tinted(classOf(t.response)), text, box{s.left, 22, s.width - 2, s.bottom - 2}, []spot{
		{x + 7, y + 4, start}, {x, y - 8, middle}, {x, y + 17, middle}, {x + 7, y - 6, start}, {x + 7, y + 14, start}, {x - 7, y - 8, end}, {x - 7, y + 17, end},
	})
}

// drawKey explains under the plot the lines and markers that are in it.
func (s *spider) drawKey() {
	y, x := s.bottom+41, s.left
	write := func(text string) {
		at := spot{x + 8, y + 4, start}
		s.text(styleAxisSm, text, at)
		x = styleAxisSm.extent(text, at).right + 12
	}
	for _, r := range laneOrder {
		if slices.ContainsFunc(s.threads, func(t thread) bool { return classOf(t.response) == classOf(r) }) {
			s.path("thread k-"+classOf(r), "M", x, " ", y, "h18")
			x += 18
			write(abbreviations[r])
		}
	}
	in := func(has func(knot) bool) bool {
		return slices.ContainsFunc(s.threads, func(t thread) bool { return slices.ContainsFunc(t.knots, has) })
	}
	if in(func(k knot) bool { return k.isNew }) {
		x += 6
		s.path("m-new", "M", x, " ", y-6, "l5.5 9.5h-11Z")
		write("new")
	}
	if in(func(k knot) bool { return k.nonTargetPD && !k.isNew }) {
		x += 6
		s.path("m-nt", "M", x, " ", y-6, "l6 6l-6 6l-6 -6Z")
		write("non-target PD")
	}
}

// note returns how many cases are drawn, and what the time is.
func (s *spider) note() string {
	text := fmt.Sprintf("%d of %s", len(s.threads), casesText(s.all))
	if s.undated > 0 {
		text += fmt.Sprintf(", %d without exact dates", s.undated)
	}
	if !s.toScale {
		text += ", visits, not to scale"
	}
	return text
}

// describe returns in sentences what the plot shows.
func (s *spider) describe() string {
	text := fmt.Sprintf("%d of %s have a sum at the baseline and after it.", len(s.threads)+s.undated, casesText(s.all))
	if s.undated > 0 {
		text += fmt.Sprintf(" Left out for their dates, which are not exact: %s.", casesText(s.undated))
	}
	if !s.toScale {
		text += " Visits are drawn at equal steps, not to scale."
	}
	if len(s.threads) == 0 {
		return text
	}
	low, high, marked := 0.0, 0.0, 0
	for _, t := range s.threads {
		mark := false
		for _, k := range t.knots {
			mark = mark || k.isNew || k.nonTargetPD
			if k.known {
				low, high = math.Min(low, k.percent), math.Max(high, k.percent)
			}
		}
		if mark {
			marked++
		}
	}
	return text + fmt.Sprintf(" Changes go from %s to %s. New lesions or progression of non-target lesions are marked in %s.",
		percentText(low), percentText(high), casesText(marked))
}

// percentText returns a change with one decimal.
func percentText(percent float64) string {
	switch text := strconv.FormatFloat(math.Abs(percent), 'f', 1, 64); {
	case text == "0.0":
		return "0 %"
	case percent < 0:
		return "−" + text + " %"
	default:
		return "+" + text + " %"
	}
}
