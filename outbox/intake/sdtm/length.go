package sdtm

import (
	"fmt"
	"strings"

	"github.com/cockroachdb/apd/v3"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/intake"
)

// length is a diameter or a sum of diameters in millimetres, with the text in
// which it is written.
type length struct {
	line  int // of its row; 0 where it was computed
	text  events.Decimal
	value *apd.Decimal
}

// readLength reads the value of a row; nil if the row has none.
func readLength(r result) (*length, *events.Error) {
	if r.value == "" || r.status == notDone {
		return nil, nil
	}
	text, err := events.ParseDecimal(r.value)
	if err != nil {
		return nil, intake.AsError(err, "TRSTRESC")
	}
	if r.unit != events.Unit {
		return nil, events.Fieldf("TRSTRESU", "%s is not %s", intake.Printable(r.unit), events.Unit)
	}
	value, _, err := apd.NewFromString(r.value)
	if err != nil {
		return nil, intake.AsError(err, "TRSTRESC")
	}
	return &length{line: r.line, text: text, value: value}, nil
}

func (l *length) compare(other *length) int { return l.value.Cmp(other.value) }

// decimals returns how many digits the text shows after the point.
func (l *length) decimals() int32 { return max(0, -l.value.Exponent) }

// exact computes without rounding.
var exact = apd.BaseContext

// mustBeExact panics where a result was rounded. That cannot happen: a sum or
// difference of numbers of at most 18 digits, with exponents up to 18, is exact.
func mustBeExact(condition apd.Condition, err error) {
	if err != nil || condition.Inexact() {
		panic(fmt.Sprintf("exact arithmetic failed: %v %v", condition, err))
	}
}

// changeFrom returns the change from another length as the text that is signed.
// It shows as many decimals as the longer of the two, but at least one. Where
// one of the two is nil there is no change.
func (l *length) changeFrom(other *length) string {
	if l == nil || other == nil {
		return events.NoChange
	}
	var change apd.Decimal
	mustBeExact(exact.Sub(&change, l.value, other.value))
	sign := ""
	if change.Sign() > 0 {
		sign = "+"
	}
	text := sign + change.Text('f')
	if change.IsZero() {
		text = "0"
	}
	whole, fraction, _ := strings.Cut(text, ".")
	decimals := int(max(1, l.decimals(), other.decimals()))
	return whole + "." + fraction + strings.Repeat("0", decimals-len(fraction)) + " " + events.Unit
}

// add returns the sum of two lengths, of which the first may be nil.
func (l *length) add(other *length) *length {
	sum := &length{value: new(apd.Decimal)}
	if l != nil {
		sum.value.Set(l.value)
	}
	mustBeExact(exact.Add(sum.value, sum.value, other.value))
	sum.text = events.Decimal(sum.value.Text('f'))
	return sum
}
