package fhir

import (
	"math"
	"strconv"

	"github.com/seed-e88a4ece/signoff/events"
)

// number reads a number as it is written.
func (c *cursor) number() (string, error) {
	c.peek()
	n := scanNumber(c.data[c.at:])
	if n == 0 {
		return "", c.mismatch("a number")
	}
	c.at += n
	return string(c.data[c.at-n : c.at]), nil
}

// parseInteger takes a FHIR integer: digits, and no fraction or exponent.
func parseInteger(text string) (int32, error) {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return 0, events.Errorf(events.Invalid, "must be an integer of at most %d", math.MaxInt32)
	}
	return int32(n), nil
}

// scanNumber gives the length of the JSON number at the start of data, 0 where
// there is none.
func scanNumber(data []byte) int {
	i := 0
	if i < len(data) && data[i] == '-' {
		i++
	}
	whole := scanDigits(data[i:])
	if whole == 0 || whole > 1 && data[i] == '0' {
		return 0
	}
	i += whole
	if i < len(data) && data[i] == '.' {
		fraction := scanDigits(data[i+1:])
		if fraction == 0 {
			return 0
		}
		i += 1 + fraction
	}
	if i < len(data) && data[i]|0x20 == 'e' {
		i++
		if i < len(data) && (data[i] == '+' || data[i] == '-') {
			i++
		}
		exponent := scanDigits(data[i:])
		if exponent == 0 {
			return 0
		}
		i += exponent
	}
	return i
}

func scanDigits(data []byte) int {
	for i, b := range data {
		if b < '0' || b > '9' {
			return i
		}
	}
	return len(data)
}
