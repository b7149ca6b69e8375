package readmodel

import (
	"fmt"
	"strings"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
)

// idKey returns a text whose order among others is the order of ids: those of
// digits only first and by value, then the others by code point. Different ids
// have different keys; of those with the same value the shorter comes first.
func idKey(id string) string {
	if strings.Trim(id, "0123456789") != "" || id == "" {
		return "1" + id
	}
	digits := strings.TrimLeft(id, "0")
	key := fmt.Sprintf("0%02d%s", len(digits), digits)
	if zeros := len(id) - len(digits); zeros > 0 {
		key += fmt.Sprintf("/%02d", zeros)
	}
	return key
}

// The last year that four digits can write. What lies beyond, as the end of
// the year 9999 does, sorts behind all others.
const (
	lastYear = 9999
	beyond   = ":"
)

// boundary writes the start or end of a period so that the order of texts is
// the order of times: to the nanosecond, without zeros at the end.
func boundary(t time.Time) string {
	t = t.UTC()
	if t.Year() > lastYear {
		return beyond
	}
	return t.Format("2006-01-02T15:04:05.999999999")
}

// moment writes an instant, which is known to the microsecond, likewise.
func moment(t time.Time) string {
	if t.UTC().Year() > lastYear {
		return beyond
	}
	return events.FormatTime(t)
}

// firstMoment is the first microsecond not before t.
func firstMoment(t time.Time) time.Time {
	if cut := t.Truncate(time.Microsecond); !cut.Equal(t) {
		return cut.Add(time.Microsecond)
	}
	return t
}
