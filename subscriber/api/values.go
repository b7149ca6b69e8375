package api

import (
	"math"
	"net/url"
	"strconv"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// splitValue returns the comma-separated parts of a value. In them \, \$ \| and
// \\ are the characters themselves (FHIR search, escaping search parameters).
func splitValue(value string) ([]string, error) {
	if !strings.ContainsAny(value, `,\`) {
		return []string{value}, nil
	}
	var all []string
	var one strings.Builder
	for i := 0; i < len(value); i++ {
		switch c := value[i]; c {
		case ',':
			all = append(all, one.String())
			one.Reset()
		case '\\':
			i++
			if i == len(value) || !strings.ContainsRune(`,$|\`, rune(value[i])) {
				return nil, events.Errorf(events.Invalid, `has a backslash that is not before a comma, $, | or another backslash`)
			}
			one.WriteByte(value[i])
		default:
			one.WriteByte(c)
		}
	}
	return append(all, one.String()), nil
}

// textValue reads a value that must match exactly.
func textValue(text string) (readmodel.Comparison, error) {
	return readmodel.Comparison{Op: readmodel.Eq, Text: text}, nil
}

func idValue(text string) (readmodel.Comparison, error) {
	if !events.ValidFHIRID(text) {
		return readmodel.Comparison{}, events.Errorf(events.Invalid, "%q is not an id: 1 to 64 of A-Z, a-z, 0-9, - and .", shorten(text))
	}
	return textValue(text)
}

// subjectValue reads a subject id, or the reference of a report to its subject, in
// which the id is percent-encoded.
func subjectValue(text string) (readmodel.Comparison, error) {
	id, isReference := strings.CutPrefix(text, "Patient/")
	if isReference {
		if decoded, err := url.PathUnescape(id); err == nil {
			id = decoded
		}
	}
	if id == "" {
		return readmodel.Comparison{}, events.Errorf(events.Invalid, "must be a subject such as Patient/10081007 or 10081007")
	}
	return textValue(id)
}

func caseValue(text string) (readmodel.Comparison, error) {
	n, ok := parseNumber(text)
	if !ok {
		return readmodel.Comparison{}, events.Errorf(events.Invalid, "%q is not a case number: digits, up to %d", shorten(text), math.MaxInt32)
	}
	return textValue(strconv.Itoa(n))
}

// parseNumber reads digits, and nothing but digits, up to 2³¹−1.
func parseNumber(text string) (int, bool) {
	if text == "" || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 32)
	return int(n), err == nil
}
