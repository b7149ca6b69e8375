package api

import (
	"regexp"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

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

func comparePeriod(op readmodel.Op, date string) (readmodel.Comparison, error) {
	period, err := events.ParsePeriod(isoDate(date))
	if err != nil {
		return readmodel.Comparison{}, &events.Error{
			Code:    events.Invalid,
			Message: `"` + shorten(date) + `" is not a date: MM/DD/YYYY, MM/YYYY, YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm:ss with an optional fraction and zone`,
			Err:     err,
		}
	}
	return readmodel.Comparison{Op: op, Period: period}, nil
}

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
