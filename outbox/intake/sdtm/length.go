package sdtm

import (
	"cmp"
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

// tooSmallToMeasure is what stands in place of a diameter. In a sum such a
// lesion counts as 5 mm (RECIST 1.1) unless a number stands beside the words.
const tooSmallToMeasure = "TOO SMALL TO MEASURE"

func newLength(line int, text events.Decimal) (*length, error) {
	value, _, err := apd.NewFromString(string(text))
	return &length{line: line, text: text, value: value}, err
}

// fiveMillimetres returns what a lesion counts that is too small to measure.
func fiveMillimetres() *length { return &length{text: "5", value: apd.New(5, 0)} }

func isTooSmall(text string) bool {
	return len(text) >= len(tooSmallToMeasure) && strings.EqualFold(strings.Join(strings.Fields(text), " "), tooSmallToMeasure)
}

// tooSmall reports whether the row has the words in place of a diameter.
func (r result) tooSmall() bool { return isTooSmall(r.value) || isTooSmall(r.original) }

// result returns TRSTRESC, or where that is blank TRORRES.
func (r result) result() string { return cmp.Or(r.value, r.original) }

// done returns the result unless the test was not done.
func (r result) done() string {
	if r.status == notDone || r.tooSmall() {
		return ""
	}
	return r.result()
}

// blank reports whether the row has neither a result nor the reason for it.
func (r result) blank() bool { return r.result() == "" && r.status != notDone }

// isZero reports whether the result is zero, in whatever unit.
func (r result) isZero() bool {
	n, ok := parseNumber(r.result())
	return ok && n.IsZero()
}

// equal reports whether two rows have the same result.
func (r result) equal(other result) bool {
	if r.status != other.status || r.tooSmall() != other.tooSmall() || r.lengthUnit() != other.lengthUnit() {
		return false
	}
	a, _ := r.lengthText()
	b, _ := other.lengthText()
	x, isNumber := parseNumber(a)
	y, isNumberToo := parseNumber(b)
	if isNumber && isNumberToo {
		return x.Cmp(y) == 0
	}
	return a == b
}

// lengthText returns the text of the row's number and its column; empty where
// there is none.
func (r result) lengthText() (text, column string) {
	switch {
	case r.tooSmall() && r.number != "":
		return r.number, "TRSTRESN"
	case r.tooSmall() && isTooSmall(r.value):
		return "", "TRSTRESN"
	case r.value == "":
		if r.tooSmall() {
			return "", "TRSTRESN"
		}
		return r.original, "TRORRES"
	}
	return r.value, "TRSTRESC"
}

// lengthUnit returns the unit of the row's number.
func (r result) lengthUnit() string {
	if r.value == "" {
		return cmp.Or(r.originalUnit, r.unit)
	}
	return cmp.Or(r.unit, r.originalUnit)
}

// read returns the length in a row; nil if the row has none. What is left out is
// a warning.
func (v *visit) read(r result) (*length, *events.Error) {
	text, column := r.lengthText()
	if r.status == notDone {
		if text != "" {
			v.warnf(kindStatus, "%s:%d: TRSTAT: %s of %s is %s; its value %s is left out",
				resultsDomain.file, r.line, intake.Printable(r.test), r.subjectText(), notDone, intake.Printable(text))
		}
		return nil, nil
	}
	if r.status != "" {
		v.warnf(kindStatus, "%s:%d: TRSTAT: %s is not %s and is left out", resultsDomain.file, r.line, intake.Printable(r.status), notDone)
	}
	v.compareNumber(r)
	if text == "" {
		return nil, nil
	}
	decimal, err := events.ParseDecimal(text)
	if err != nil {
		return nil, events.Fieldf(column, "%s is not a number from 0 on of at most 18 digits, such as 37.6", intake.Printable(text))
	}
	switch unit := r.lengthUnit(); unit {
	case events.Unit:
	case "":
		v.warnf(kindUnit, "%s:%d: TRSTRESU: %s of %s has no unit; its value %s is left out",
			resultsDomain.file, r.line, intake.Printable(r.test), r.subjectText(), intake.Printable(text))
		return nil, nil
	default:
		return nil, events.Fieldf("TRSTRESU", "%s is not %s", intake.Printable(unit), events.Unit)
	}
	l, err := newLength(r.line, decimal)
	if err != nil {
		return nil, intake.AsError(err, column)
	}
	return l, nil
}

// compareNumber warns where TRSTRESN is not the number in TRSTRESC.
func (v *visit) compareNumber(r result) {
	if r.number == "" || r.number == r.value || isTooSmall(r.value) || r.tooSmall() && r.value == "" {
		return
	}
	n, ok := parseNumber(r.number)
	if value, numeric := parseNumber(r.value); ok && numeric && n.Cmp(value) == 0 {
		return
	}
	used := "that of TRSTRESC is used"
	if r.tooSmall() {
		used = "that of TRSTRESN is used"
	}
	v.warnf(kindNumber, "%s:%d: TRSTRESN: %s is not the value in TRSTRESC, %s; %s",
		resultsDomain.file, r.line, intake.Printable(r.number), intake.Printable(r.value), used)
}

// subjectText returns what a row is about, for a message.
func (r result) subjectText() string {
	if r.lesion == "" {
		return "the visit"
	}
	return "lesion " + intake.Printable(r.lesion)
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
