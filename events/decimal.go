package events

import (
	"regexp"
	"strconv"
	"strings"
)

// Decimal is a measured value as the text of the JSON number that was signed:
// "50.0" stays "50.0" and "1E2" stays "1E2". It is never converted to a float64,
// because the precision is part of what a PI signs (FHIR decimal).
type Decimal string

const (
	maxDecimalDigits   = 18
	maxDecimalExponent = 18
)

var decimalForm = regexp.MustCompile(`^(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

// ParseDecimal returns text as a Decimal. It must be a JSON number that is not
// negative, with at most 18 digits before the exponent and an exponent from -18 to 18.
// For anything else the error is Invalid.
func ParseDecimal(text string) (Decimal, error) {
	if len(text) > 64 || !decimalForm.MatchString(text) {
		return "", Errorf(Invalid, "must be a JSON number that is not negative, such as 37.6")
	}
	mantissa, exponent := text, ""
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		mantissa, exponent = text[:i], text[i+1:]
	}
	digits := len(mantissa) - strings.Count(mantissa, ".")
	if digits > maxDecimalDigits {
		return "", Errorf(Invalid, "has %d digits; at most %d are allowed", digits, maxDecimalDigits)
	}
	if exponent != "" {
		n, err := strconv.Atoi(exponent)
		if err != nil || n < -maxDecimalExponent || n > maxDecimalExponent {
			return "", Errorf(Invalid, "has an exponent beyond ±%d", maxDecimalExponent)
		}
	}
	return Decimal(text), nil
}

// MarshalJSON returns the text of the number as it is.
func (d Decimal) MarshalJSON() ([]byte, error) {
	if _, err := ParseDecimal(string(d)); err != nil {
		return nil, err
	}
	return []byte(d), nil
}

// UnmarshalJSON reads a JSON number. Anything else, such as a string or null, is
// an Invalid Error.
func (d *Decimal) UnmarshalJSON(data []byte) error {
	parsed, err := ParseDecimal(string(data))
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}
