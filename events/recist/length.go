package recist

import (
	"math/big"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
)

// Length is an exact length in mm. The zero value is no length.
type Length struct{ mm *big.Rat }

// millimetres returns a length of n mm.
func millimetres(n int64) *Length { return &Length{big.NewRat(n, 1)} }

// parseLength returns the value of a decimal; nil if that is malformed or empty.
func parseLength(d events.Decimal) *Length {
	if _, err := events.ParseDecimal(string(d)); err != nil {
		return nil
	}
	r, ok := new(big.Rat).SetString(string(d))
	if !ok {
		return nil
	}
	return &Length{r}
}

// parseChange returns the value of a change such as "-12.0 mm"; nil for "--" and for text
// that is no change.
func parseChange(text string) *Length {
	number, ok := strings.CutSuffix(text, " "+events.Unit)
	if !ok {
		return nil
	}
	sign := int64(1)
	if rest, negative := strings.CutPrefix(number, "-"); negative {
		number, sign = rest, -1
	} else {
		number = strings.TrimPrefix(number, "+")
	}
	if len(number) > 64 || strings.Trim(number, "0123456789.") != "" {
		return nil
	}
	r, ok := new(big.Rat).SetString(number)
	if !ok {
		return nil
	}
	return &Length{r.Mul(r, big.NewRat(sign, 1))}
}

// Known reports whether l is a length.
func (l Length) Known() bool { return l.mm != nil }

// Compare returns -1, 0 or 1 as l is less than, equal to or greater than o. Both must be
// known.
func (l Length) Compare(o Length) int { return l.mm.Cmp(o.mm) }

// Minus returns l less o, which may be negative. Both must be known.
func (l Length) Minus(o Length) Length { return *l.minus(&o) }

// IsPartial reports whether the sum is at least 30 % below that of the baseline. Both must
// be known.
func (l Length) IsPartial(baseline Length) bool {
	return !baseline.isZero() && !baseline.times(7, 10).less(&l)
}

// String returns the length in decimal with all its digits, such as "37.6 mm", or "--" for
// none.
func (l Length) String() string {
	if l.mm == nil {
		return events.NoChange
	}
	digits, exact := l.mm.FloatPrec()
	if !exact { // cannot be: a length is a sum of decimals
		digits++
	}
	return l.mm.FloatString(digits) + " " + events.Unit
}

// signed returns the length as a change, such as "+3.5 mm".
func (l Length) signed() string {
	if l.mm != nil && l.mm.Sign() > 0 {
		return "+" + l.String()
	}
	return l.String()
}

func (l *Length) plus(o *Length) *Length  { return &Length{new(big.Rat).Add(l.mm, o.mm)} }
func (l *Length) minus(o *Length) *Length { return &Length{new(big.Rat).Sub(l.mm, o.mm)} }

// times returns n/d times l.
func (l *Length) times(n, d int64) *Length {
	return &Length{new(big.Rat).Mul(l.mm, big.NewRat(n, d))}
}

func (l *Length) less(o *Length) bool { return l.mm.Cmp(o.mm) < 0 }
func (l *Length) isZero() bool        { return l.mm.Sign() == 0 }

// equal reports whether two lengths are the same, or both none.
func (l *Length) equal(o *Length) bool {
	if l == nil || o == nil {
		return l == o
	}
	return l.mm.Cmp(o.mm) == 0
}

// value returns the length, the zero value for nil.
func (l *Length) value() Length {
	if l == nil {
		return Length{}
	}
	return *l
}

// thresholds are the percentages at which the response changes.
var thresholds = []*big.Rat{big.NewRat(-30, 1), big.NewRat(20, 1)}

// Percent returns the change from one length to another as text, such as "-29.96 %". It
// has one decimal, rounded half away from zero. Where that would show one of the
// thresholds of RECIST 1.1, -30 % and +20 %, though the change is not exactly that, it has
// as many decimals as it takes to show the difference. It returns "--" if one of the two
// is none or from is 0.
func Percent(from, to Length) string {
	if !from.Known() || !to.Known() || from.mm.Sign() == 0 {
		return events.NoChange
	}
	change := new(big.Rat).Sub(to.mm, from.mm)
	change.Quo(change, from.mm).Mul(change, big.NewRat(100, 1))
	digits := 1
	for shown := rounded(change, digits); change.Cmp(shown) != 0 && isThreshold(shown); shown = rounded(change, digits) {
		digits++
	}
	text := change.FloatString(digits) // rounds half away from zero
	if change.Sign() > 0 {
		text = "+" + text
	}
	if strings.Trim(text, "+-0.") == "" {
		text = "0.0"
	}
	return text + " %"
}

// rounded returns r with so many digits after the point.
func rounded(r *big.Rat, digits int) *big.Rat {
	shown, ok := new(big.Rat).SetString(r.FloatString(digits))
	if !ok { // cannot be
		return r
	}
	return shown
}

func isThreshold(r *big.Rat) bool {
	for _, t := range thresholds {
		if r.Cmp(t) == 0 {
			return true
		}
	}
	return false
}
