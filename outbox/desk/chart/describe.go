package chart

import (
	"fmt"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/recist"
)

// maxNamed is how many lesions a sentence names.
const maxNamed = 5

// describe returns in sentences what the plot shows.
func (p *casePlot) describe() string {
	var b strings.Builder
	for i, pt := range p.points {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(pt.name() + " " + pt.value())
		if i == p.lowest && i > 0 {
			b.WriteString(", which is the nadir")
		}
	}
	b.WriteString(".")
	if p.partial.known() {
		fmt.Fprintf(&b, " Partial response at or below %s mm.", p.partial)
	}
	if len(p.steps) > 0 {
		last := p.steps[len(p.steps)-1]
		from := ""
		if last.from != "" {
			from = " from " + last.from + " on"
		}
		fmt.Fprintf(&b, " Progression%s at or above %s mm.", from, last.limit)
	}
	for _, pt := range p.points {
		p.describePoint(&b, pt)
	}
	if !p.times.toScale {
		b.WriteString(" Visits are drawn at equal steps, not to scale.")
	}
	return b.String()
}

// value returns the sum of a point in words, with its response and whether it waits.
func (pt point) value() string {
	text := "no complete sum"
	if pt.sum.known() {
		text = pt.text + " " + events.Unit
		if m := pt.Assessment.Measurement; m != nil && text != visible(string(m.Value))+" "+events.Unit {
			text += ", where " + visible(string(m.Value)) + " mm is recorded"
		}
		if !pt.joined {
			text += " over other lesions"
		}
	}
	if short := abbreviations[pt.Result.Recorded]; short != "" {
		text += " (" + short + ")"
	}
	if pt.Waits {
		text += ", waiting"
	}
	return text
}

// describePoint adds what is special about a visit.
func (p *casePlot) describePoint(b *strings.Builder, pt point) {
	if len(pt.firstSeen) > 0 {
		ids := make([]string, len(pt.firstSeen))
		for i, id := range pt.firstSeen {
			ids[i] = visible(id)
		}
		fmt.Fprintf(b, " New at %s: %s.", pt.name(), joinWords(ids, maxNamed))
	}
	if pt.nonTargetPD {
		fmt.Fprintf(b, " Non-target lesions progress at %s.", pt.name())
	}
	if pt.Result.Target == recist.PD && pt.sum.known() && p.partial.known() && !p.partial.less(pt.sum) {
		fmt.Fprintf(b, " %s lies in both ranges, and progression takes precedence.", pt.name())
	}
}
