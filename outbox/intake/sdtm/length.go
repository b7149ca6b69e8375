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
	line  int // of its row; 0 if it was computed or is registered
	text  events.Decimal
	value *apd.Decimal
}

// tooSmallToMeasure is the text that a row may have in place of a diameter. In a sum
// such a lesion is 5 mm (RECIST 1.1), unless the row has a number in TRSTRESN.
const tooSmallToMeasure = "TOO SMALL TO MEASURE"

// newLength returns the length of a valid decimal in the row of the line.
func newLength(line int, text events.Decimal) (*length, error) {
	value, _, err := apd.NewFromString(string(text))
	return &length{line: line, text: text, value: value}, err
}

// fiveMillimetres returns the diameter, in a sum, of a lesion that is too small to
// measure.
func fiveMillimetres() *length { return &length{text: "5", value: apd.New(5, 0)} }

// isTooSmall reports whether text is TOO SMALL TO MEASURE, in any case and spacing.
func isTooSmall(text string) bool {
	return len(text) >= len(tooSmallToMeasure) && strings.EqualFold(strings.Join(strings.Fields(text), " "), tooSmallToMeasure)
}

// tooSmall reports whether the row has TOO SMALL TO MEASURE in place of a diameter.
func (r result) tooSmall() bool { return isTooSmall(r.value) || isTooSmall(r.original) }

// result returns TRSTRESC, or TRORRES if TRSTRESC is blank.
func (r result) result() string { return cmp.Or(r.value, r.original) }

// done returns the result, or "" if the test was not done or the lesion was too
// small to measure.
func (r result) done() string {
	if r.status == notDone || r.tooSmall() {
		return ""
	}
	return r.result()
}

// blank reports whether the row has no result and is not NOT DONE.
func (r result) blank() bool { return r.result() == "" && r.status != notDone }

// isZero reports whether the result is zero, in whatever unit.
func (r result) isZero() bool {
	n, ok := parseNumber(r.result())
	return ok && n.IsZero()
}

// equal reports whether two rows have the same status, unit and value. 10 and 10.0
// are the same value.
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

// lengthText returns the text of the row's diameter or sum, and the column to name
// in an error about it. The text is empty if the row has none. Beside TOO SMALL TO
// MEASURE it is the number in TRSTRESN, or else a number in TRSTRESC.
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

// lengthUnit returns the unit of the text that lengthText returns: the original unit
// for TRORRES, else the standard one. A blank unit is replaced by the other.
func (r result) lengthUnit() string {
	if r.value == "" {
		return cmp.Or(r.originalUnit, r.unit)
	}
	return cmp.Or(r.unit, r.originalUnit)
}

// readLength returns the diameter or sum of diameters in a row. It is nil, without an
// error, if the row has no value, is NOT DONE or has no unit. Each value or status
// that is left out is a warning.
func (v *visit) readLength(r result) (*length, *events.Error) {
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

// compareNumber warns if TRSTRESN and TRSTRESC have different values. It does not if
// TRSTRESN is blank, or has the number beside TOO SMALL TO MEASURE.
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

// subjectText returns the lesion of a row for a message, or "the visit" for a row of
// none.
func (r result) subjectText() string {
	if r.lesion == "" {
		return "the visit"
	}
	return "lesion " + intake.Printable(r.lesion)
}

func (l *length) compare(other *length) int { return l.value.Cmp(other.value) }

// decimals returns the number of digits after the point.
func (l *length) decimals() int32 { return max(0, -l.value.Exponent) }

// exact is a decimal context without a limit on precision.
var exact = apd.BaseContext

// mustBeExact panics if a result was rounded. That cannot happen: a sum or
// difference of numbers of at most 18 digits, with exponents up to 18, is exact.
func mustBeExact(condition apd.Condition, err error) {
	if err != nil || condition.Inexact() {
		panic(fmt.Sprintf("exact arithmetic failed: %v %v", condition, err))
	}
}

// changeFrom returns the change from other to l as the text that is signed, such as
// "+2.5 mm". It has as many decimals as the more precise of the two, but at least
// one. If either is nil, it returns events.NoChange.
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

// add returns l plus other. A nil l is zero.
func (l *length) add(other *length) *length {
	sum := &length{value: new(apd.Decimal)}
	if l != nil {
		sum.value.Set(l.value)
	}
	mustBeExact(exact.Add(sum.value, sum.value, other.value))
	sum.text = events.Decimal(sum.value.Text('f'))
	return sum
}
