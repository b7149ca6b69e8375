package readmodel

import (
	"fmt"
	"strings"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
)

// idKey returns a text that sorts like the id: ids of digits only first and by value, then the others by code point. Different ids
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

// lastYear is the last year of four digits. Later times, such as the end of
// the year 9999, are stored as beyond, which sorts behind all others.
const (
	lastYear = 9999
	beyond   = ":"
)

// boundary formats the start or end of a period so that texts sort like times: to
// the nanosecond, without zeros at the end.
func boundary(t time.Time) string {
	t = t.UTC()
	if t.Year() > lastYear {
		return beyond
	}
	return t.Format("2006-01-02T15:04:05.999999999")
}

// moment formats an instant, which has microseconds, likewise.
func moment(t time.Time) string {
	if t.UTC().Year() > lastYear {
		return beyond
	}
	return events.FormatTime(t)
}

// firstMoment returns the first microsecond not before t.
func firstMoment(t time.Time) time.Time {
	if cut := t.Truncate(time.Microsecond); !cut.Equal(t) {
		return cut.Add(time.Microsecond)
	}
	return t
}
