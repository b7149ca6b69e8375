package api

import (
	"math"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// splitValue returns the comma-separated parts of a value, without escapes.
func splitValue(value string) ([]string, error) {
	if !strings.ContainsAny(value, `,\`) {
		return []string{value}, nil
	}
	parts := splitEscaped(value, ',')
	for i, part := range parts {
		var err error
		if parts[i], err = removeEscapes(part); err != nil {
			return nil, err
		}
	}
	return parts, nil
}

// splitEscaped returns the parts between separators that have no backslash before
// them. The parts keep their escapes.
func splitEscaped(value string, separator byte) []string {
	var parts []string
	start := 0
	for i := 0; i < len(value); i++ {
		switch value[i] {
		case '\\':
			i++
		case separator:
			parts = append(parts, value[start:i])
			start = i + 1
		}
	}
	return append(parts, value[start:])
}

// removeEscapes returns a part of a value in which \, \$ \| and \\ have become the
// characters themselves (FHIR search, escaping search parameters).
func removeEscapes(part string) (string, error) {
	if !strings.Contains(part, `\`) {
		return part, nil
	}
	var b strings.Builder
	for i := 0; i < len(part); i++ {
		if part[i] == '\\' {
			i++
			if i == len(part) || !strings.ContainsRune(`,$|\`, rune(part[i])) {
				return "", events.Errorf(events.Invalid, `has a backslash that is not before a comma, $, | or another backslash`)
			}
		}
		b.WriteByte(part[i])
	}
	return b.String(), nil
}

// token is a value of a token search parameter: code, |code, system|code or system|.
type token struct {
	hasSystem    bool // whether there is a | before the code
	system, code string
}

// splitTokens reads a comma-separated list of tokens.
func splitTokens(value string) ([]token, error) {
	var tokens []token
	for _, part := range splitEscaped(value, ',') {
		sides := splitEscaped(part, '|')
		for i := range sides {
			var err error
			if sides[i], err = removeEscapes(sides[i]); err != nil {
				return nil, err
			}
		}
		t := token{code: sides[len(sides)-1], hasSystem: len(sides) == 2}
		if t.hasSystem {
			t.system = sides[0]
		}
		if len(sides) > 2 || t.system == "" && t.code == "" {
			return nil, events.Errorf(events.Invalid, `must be value, |value, system|value or system|; a | within a value needs a backslash before it`)
		}
		tokens = append(tokens, t)
	}
	return tokens, nil
}

// textValue reads a value that must match exactly.
func textValue(text string) (readmodel.Comparison, error) {
	return readmodel.Comparison{Op: readmodel.Eq, Text: text}, nil
}

// idValue reads the id of a report or Observation.
func idValue(text string) (readmodel.Comparison, error) {
	if !events.ValidFHIRID(text) {
		return readmodel.Comparison{}, events.Errorf(events.Invalid, "%q is not an id: 1 to 64 of A-Z, a-z, 0-9, - and .", shorten(text))
	}
	return textValue(text)
}

// subjectValue returns a function that reads a subject id, or the reference of a report to
// its subject, in which the id is percent-encoded. The reference may be relative or start
// with base, the URL of the API: FHIR has both match.
func subjectValue(base string) func(text string) (readmodel.Comparison, error) {
	return func(text string) (readmodel.Comparison, error) {
		id, isReference := strings.CutPrefix(strings.TrimPrefix(text, base+"/"), "Patient/")
		if !isReference {
			id = text
		} else if decoded, err := url.PathUnescape(id); err == nil {
			id = decoded
		}
		if id == "" {
			return readmodel.Comparison{}, events.Errorf(events.Invalid, "must be a subject such as Patient/10081007 or 10081007")
		}
		return textValue(id)
	}
}

// caseValue reads a case number. It removes leading zeros.
func caseValue(text string) (readmodel.Comparison, error) {
	n, ok := parseNumber(text)
	if !ok {
		return readmodel.Comparison{}, events.Errorf(events.Invalid, "%q is not a case number: digits, up to %d", shorten(text), math.MaxInt32)
	}
	return textValue(strconv.Itoa(n))
}

// parseStudyNumber reads the number of an event.
func parseStudyNumber(text string) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil || strings.Trim(text, "0123456789") != "" {
		return 0, events.Errorf(events.Invalid, "%q is not a number of the study: digits, from 0", shorten(text))
	}
	return n, nil
}

// parseNumber reads digits, and nothing but digits, up to 2³¹−1.
func parseNumber(text string) (int, bool) {
	if text == "" || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 32)
	return int(n), err == nil
}

// americanDate is MM/DD/YYYY or MM/YYYY.
var americanDate = regexp.MustCompile(`^(\d\d)/(?:(\d\d)/)?(\d{4})$`)

// dateValue reads a prefix and a date.
func dateValue(text string) (readmodel.Comparison, error) {
	op, date, err := cutPrefix(text)
	if err != nil {
		return readmodel.Comparison{}, err
	}
	return comparePeriod(op, date)
}

// sinceValue reads a date without prefix, which means ge.
func sinceValue(text string) (readmodel.Comparison, error) {
	return comparePeriod(readmodel.Ge, text)
}

// comparePeriod returns a comparison with the period of a date.
func comparePeriod(op readmodel.Op, date string) (readmodel.Comparison, error) {
	period, err := parsePeriod(isoDate(date))
	if err != nil {
		return readmodel.Comparison{}, &events.Error{
			Code:    events.Invalid,
			Message: `"` + shorten(date) + `" is not a date: MM/DD/YYYY, MM/YYYY, YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm:ss with an optional fraction and zone`,
			Err:     err,
		}
	}
	return readmodel.Comparison{Op: op, Period: period}, nil
}

// fineInstant has more decimals of a second than a Period can have, which is nine.
var fineInstant = regexp.MustCompile(`^(.*T.*\.[0-9]{9})([0-9]+)([^0-9.].*)?$`)

// parsePeriod reads a date. An instant with more than nine decimals lies between two
// nanoseconds. Its period is empty and stands at the second of these, so that
// comparisons with instants of whole nanoseconds have the right results.
func parsePeriod(date string) (events.Period, error) {
	m := fineInstant.FindStringSubmatch(date)
	if m == nil {
		return events.ParsePeriod(date)
	}
	period, err := events.ParsePeriod(m[1] + m[3])
	if strings.Trim(m[2], "0") != "" {
		period.From = period.Until
	}
	return period, err
}

// cutPrefix splits a value into its prefix and the date. Without a prefix the comparison
// is eq.
func cutPrefix(text string) (op readmodel.Op, date string, err error) {
	if len(text) < 2 || text[0] < 'a' || text[0] > 'z' {
		return readmodel.Eq, text, nil
	}
	switch op := readmodel.Op(text[:2]); op {
	case readmodel.Eq, readmodel.Ne, readmodel.Lt, readmodel.Gt, readmodel.Ge, readmodel.Le:
		return op, text[2:], nil
	case "sa", "eb", "ap":
		return "", "", events.Errorf(events.Unsupported, "the prefix %s is not offered; use eq, ne, lt, gt, ge or le", text[:2])
	default:
		return "", "", events.Errorf(events.Invalid, "%q has no known prefix: eq, ne, lt, gt, ge or le", shorten(text))
	}
}

// isoDate turns MM/DD/YYYY and MM/YYYY into YYYY-MM-DD and YYYY-MM.
func isoDate(text string) string {
	m := americanDate.FindStringSubmatch(text)
	switch {
	case m == nil:
		return text
	case m[2] == "":
		return m[3] + "-" + m[1]
	default:
		return m[3] + "-" + m[1] + "-" + m[2]
	}
}

// restorePlus undoes the decoding of an unescaped plus sign as a space. A date has
// no spaces.
func restorePlus(value string) string { return strings.ReplaceAll(value, " ", "+") }
