package events

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// TimeLayout is the layout in which the program writes every instant: UTC with
// always six decimals, so that texts sort as the times do.
const TimeLayout = "2006-01-02T15:04:05.000000Z"

// FormatTime returns t in TimeLayout, truncated to the microsecond.
func FormatTime(t time.Time) string { return t.UTC().Format(TimeLayout) }

// ParseTime returns the time of a text that FormatTime returned. For any other text the
// error is Invalid, even if the text is another form of a time. The hash of an event
// covers the text, so there must be one form only.
func ParseTime(text string) (time.Time, error) {
	t, err := time.Parse(TimeLayout, text)
	if err != nil || FormatTime(t) != text {
		return time.Time{}, Errorf(Invalid, "must be a UTC instant with six decimals, such as 2026-01-31T12:00:00.000000Z")
	}
	return t, nil
}

// Period is the time that a FHIR date or dateTime covers at its precision: 2014-01
// covers the whole month. Until is exclusive.
type Period struct {
	From, Until time.Time
}

// dateTimeForm has the submatches 1 year, 2 month, 3 day, 4 hour, 5 minute, 6 second,
// 7 digits of the fraction, and 8 zone. Those that are absent are empty.
var dateTimeForm = regexp.MustCompile(
	`^(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(Z|[+-]\d\d:\d\d)?)?)?)?$`)

// ParsePeriod returns the time that a FHIR date, dateTime or instant covers. The
// zone is optional; without one it is UTC. Seconds may be missing, as in FHIR
// search values.
func ParsePeriod(text string) (Period, error) {
	m := dateTimeForm.FindStringSubmatch(text)
	if m == nil {
		return Period{}, Errorf(Invalid, "must be a FHIR dateTime: YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm:ss with an optional fraction and zone")
	}
	year, month, day := number(m[1], 1), number(m[2], 1), number(m[3], 1)
	hour, minute, second := number(m[4], 0), number(m[5], 0), number(m[6], 0)
	zone, err := parseZone(m[8])
	if err != nil {
		return Period{}, err
	}
	if year < 1 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) || hour > 23 || minute > 59 || second > 60 { // 60 is a leap second
		return Period{}, Errorf(Invalid, "is no date of the calendar: %s", text)
	}
	nanos := number((m[7] + "000000000")[:9], 0)
	from := time.Date(year, time.Month(month), day, hour, minute, second, nanos, zone).UTC()
	return Period{From: from, Until: until(from, m)}, nil
}

// until returns the end of the period that starts at from. The last part of the text that
// is present determines its duration: a fraction, a second, a minute, a day, a month or a
// year. M has the submatches of dateTimeForm.
func until(from time.Time, m []string) time.Time {
	switch {
	case m[7] != "":
		unit := time.Second
		for range len(m[7]) { // each digit of the fraction is a tenth of the unit before
			unit /= 10
		}
		return from.Add(unit)
	case m[6] != "":
		return from.Add(time.Second)
	case m[5] != "":
		return from.Add(time.Minute)
	case m[3] != "":
		return from.AddDate(0, 0, 1)
	case m[2] != "":
		return from.AddDate(0, 1, 0)
	default:
		return from.AddDate(1, 0, 0)
	}
}

// parseZone returns the zone of a text that dateTimeForm has matched; UTC if it is empty.
func parseZone(text string) (*time.Location, error) {
	if text == "" || text == "Z" {
		return time.UTC, nil
	}
	hours, minutes := number(text[1:3], 0), number(text[4:6], 0)
	if minutes > 59 || hours*60+minutes > 14*60 {
		return nil, Errorf(Invalid, "has a zone beyond ±14:00")
	}
	offset := hours*3600 + minutes*60
	if text[0] == '-' {
		offset = -offset
	}
	return time.FixedZone("", offset), nil
}

// number returns the value of digits that dateTimeForm has matched, or absent if there
// are none.
func number(digits string, absent int) int {
	if digits == "" {
		return absent
	}
	n, _ := strconv.Atoi(digits)
	return n
}

// daysIn returns the number of days of a month.
func daysIn(year, month int) int {
	// Day 0 of the next month is the last day of this one.
	return time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

// ValidDateTime returns an error unless text is a FHIR dateTime as a source may
// write it: a time has seconds, a zone is optional.
func ValidDateTime(text string) error {
	if _, err := ParsePeriod(text); err != nil {
		return err
	}
	// The zone follows the first 19 characters, and may contain a colon too.
	if strings.Contains(text, "T") && strings.Count(text[:min(len(text), 19)], ":") < 2 {
		return Errorf(Invalid, "has a time without seconds")
	}
	return nil
}
