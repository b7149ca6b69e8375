package chart

import (
	"math"
	"strconv"

	"github.com/seed-e88a4ece/signoff/events"
)

const (
	day   = 24 * 60 * 60 // seconds
	month = 31 * day
)

// timeline has where the visits of a case stand in time.
type timeline struct {
	at      []float64 // days since the first visit; the index of the visit if not to scale
	toScale bool
	about   bool // some date is known to the month only
}

// newTimeline returns the timeline of visits. It is not to scale if a date is missing or
// coarser than a month, or if the dates do not rise from visit to visit.
func newTimeline(visits []Visit) timeline {
	t := timeline{at: make([]float64, len(visits)), toScale: true}
	first := 0.0
	for i, v := range visits {
		p, err := events.ParsePeriod(v.Assessment.Effective)
		from, length := float64(p.From.Unix()), float64(p.Until.Unix()-p.From.Unix())
		if err != nil || length > month {
			t.toScale = false
			break
		}
		if length > day { // a month: its middle
			from += length / 2
			t.about = true
		}
		if i == 0 {
			first = from
		}
		if t.at[i] = (from - first) / day; i > 0 && t.at[i] <= t.at[i-1] {
			t.toScale = false
			break
		}
	}
	if !t.toScale {
		t.about = false
		for i := range t.at {
			t.at[i] = float64(i)
		}
	}
	return t
}

// spread returns the coordinates of the visits between left and right.
func (t timeline) spread(left, right float64) []float64 {
	xs := make([]float64, len(t.at))
	for i, at := range t.at {
		xs[i] = left
		if last := t.at[len(t.at)-1]; last > 0 {
			xs[i] += at / last * (right - left)
		}
	}
	return xs
}

// week returns the number of the week of the i-th visit, "~6" where it is not exact.
func (t timeline) week(i int) string {
	text := strconv.FormatFloat(math.Round(t.at[i]/7), 'f', 0, 64)
	if t.about && i > 0 {
		return "~" + text
	}
	return text
}
