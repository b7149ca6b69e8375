package intake

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cockroachdb/apd/v3"

	"github.com/seed-e88a4ece/signoff/events"
)

// sum is a length in millimetres, a diameter or a sum of them, with the text
// it is written in.
type sum struct {
	line  int
	text  events.Decimal
	value *apd.Decimal
}

// readSum reads the result of a row; nil where it has none.
func readSum(f finding) (*sum, *events.Error) {
	if f.result == "" || f.status == notDone {
		return nil, nil
	}
	text, err := events.ParseDecimal(f.result)
	if err != nil {
		return nil, AsError(err, "TRSTRESC")
	}
	if f.unit != events.Unit {
		return nil, events.Fieldf("TRSTRESU", "%s is not %s", Printable(f.unit), events.Unit)
	}
	value, _, err := apd.NewFromString(f.result)
	if err != nil {
		return nil, AsError(err, "TRSTRESC")
	}
	return &sum{line: f.line, text: text, value: value}, nil
}

func (s *sum) compare(o *sum) int { return s.value.Cmp(o.value) }

// decimals is how many digits the text shows behind the point.
func (s *sum) decimals() int32 { return max(0, -s.value.Exponent) }

// exact computes without rounding: no operand has more than 18 digits or an
// exponent beyond 18.
var exact = apd.BaseContext

// must holds what exact relies on: a sum or difference of such operands is
// always exact.
func must(condition apd.Condition, err error) {
	if err != nil || condition.Inexact() {
		panic(fmt.Sprintf("exact arithmetic failed: %v %v", condition, err))
	}
}

// changeFrom writes the change from o to s, with the digits behind the point
// of the longer of the two, but one at least.
func (s *sum) changeFrom(o *sum) string {
	if s == nil || o == nil {
		return events.NoChange
	}
	var d apd.Decimal
	must(exact.Sub(&d, s.value, o.value))
	sign := ""
	if d.Sign() > 0 {
		sign = "+"
	}
	text := sign + d.Text('f')
	if d.IsZero() {
		text = "0"
	}
	whole, fraction, _ := strings.Cut(text, ".")
	decimals := int(max(1, s.decimals(), o.decimals()))
	return whole + "." + fraction + strings.Repeat("0", decimals-len(fraction)) + " " + events.Unit
}

// total adds up the diameters of the target lesions; nil where there is none.
func (v *visit) total() *sum {
	var out *sum
	for _, l := range v.lesions {
		if l.category != "Target" || l.diameter == nil {
			continue
		}
		if out == nil {
			out = &sum{value: new(apd.Decimal)}
		}
		must(exact.Add(out.value, out.value, l.diameter.value))
	}
	if out != nil {
		out.text = events.Decimal(out.value.Text('f'))
	}
	return out
}

// lacks says of which targets there is no diameter, and why.
func (v *visit) lacks(targets []string) []string {
	var out []string
	for _, id := range targets {
		l, ok := v.lesions[id]
		switch {
		case !ok:
			out = append(out, fmt.Sprintf("%s has no row", id))
		case l.notDone():
			out = append(out, fmt.Sprintf("%s is NOT DONE (line %d)", id, l.deciding().line))
		case l.diameter == nil:
			out = append(out, fmt.Sprintf("%s has no DIAMETER", id))
		}
	}
	return out
}

// value gives the sum of diameters, nil where there is none. It is over all
// target lesions of the first visit or there is none (RECIST 1.1).
func (v *visit) value(targets []string) *sum {
	if lacks := v.lacks(targets); len(lacks) > 0 {
		v.warnf("no sum of diameters: target lesion %s", strings.Join(lacks, ", "))
		return nil
	}
	total := v.total()
	if v.sum == nil {
		return total
	}
	if total != nil && v.sum.compare(total) != 0 {
		v.warnf("SUMDIAM is %s (line %d), but the diameters of the target lesions add up to %s", v.sum.text, v.sum.line, total.text)
	}
	return v.sum
}

// targets gives the target lesions of a visit, by id.
func (v *visit) targets() []string {
	var out []string
	for _, id := range slices.Sorted(maps.Keys(v.lesions)) {
		if v.lesions[id].category == "Target" {
			out = append(out, id)
		}
	}
	return out
}

// measure gives each of a subject's visits its sum of diameters and the
// changes. A visit whose changes depend on one of unknown value is refused.
func measure(visits []*visit) {
	var baseline, previous, nadir *sum
	var unknown *visit
	targets := visits[0].targets()
	for i, v := range visits {
		if v.unknown {
			unknown = v
			continue
		}
		value := v.value(targets)
		if value == nil {
			continue
		}
		if unknown != nil {
			v.refuse(v.line, events.Fieldf("VISITNUM", "the changes of visit %s cannot be known while visit %s is refused (line %d)",
				v.shown(), unknown.shown(), unknown.fault.Line))
			continue
		}
		m := &events.Measurement{
			Type: events.MeasurementType, Value: value.text, Unit: events.Unit,
			ChangeFromPrevious: value.changeFrom(previous),
			ChangeFromBaseline: value.changeFrom(baseline),
			ChangeFromNadir:    value.changeFrom(nadir),
		}
		if i == 0 {
			m.ChangeFromBaseline, baseline = "0.0 mm", value
		}
		if nadir == nil || value.compare(nadir) < 0 {
			nadir = value
		}
		v.assessment.Measurement, previous = m, value
	}
}
