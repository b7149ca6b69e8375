package sdtm

import (
	"cmp"
	"regexp"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
)

// date is a date of SDTM (--DTC): a date or time of ISO 8601, of which parts may
// be missing, or an interval between two of them.
type date struct {
	text       string        // the known parts of the date, or of the interval's start, as a FHIR dateTime
	start      events.Period // the time that the known parts cover, such as the whole month of 2024-03
	period     events.Period // from the interval's start to its end; equal to start if there is no interval
	dayUnknown bool          // whether the day of its start or of its end is unknown
}

// isSet reports whether there is a date.
func (d date) isSet() bool { return d.text != "" }

// day returns the calendar day, or the year or month if no more is known.
func (d date) day() string { return d.text[:min(len(d.text), len("2006-01-02"))] }

// isBefore reports whether d certainly ends before the other begins.
func (d date) isBefore(other date) bool {
	return d.isSet() && other.isSet() && !d.period.Until.After(other.period.From)
}

// compare orders dates by their earliest possible time. Of two with the same one,
// the less precise date is first.
func (d date) compare(other date) int {
	return cmp.Or(d.start.From.Compare(other.start.From), other.start.Until.Compare(d.start.Until))
}

var (
	duration = regexp.MustCompile(`^P[0-9.,YMWDTHS]+$`)
	// dateForm matches year, month, day, hour, minute, second and zone. A missing part
	// is a hyphen, or is left out with all parts after it.
	dateForm = regexp.MustCompile(`^(\d{4}|-)(?:-(\d\d|-)(?:-(\d\d|-))?)?` +
		`(?:T(\d\d|-)(?::(\d\d|-)(?::(\d\d(?:\.\d+)?|-))?)?(Z|[+-]\d\d(?::?\d\d)?)?)?$`)
)

// parseDate reads a date of SDTM. The result is not set if the year is missing. Of
// an interval, an end that is empty or a duration is ignored.
func parseDate(text string) (date, error) {
	first, last, interval := strings.Cut(text, "/")
	d, err := parseMoment(first)
	if err != nil || !interval || !d.isSet() { // without a start, an end does not tell the date
		return d, err
	}
	if last == "" || duration.MatchString(last) {
		return d, nil // the order of visits does not depend on a duration
	}
	end, err := parseMoment(last)
	if err != nil {
		return date{}, err
	}
	if !end.isSet() {
		return d, nil
	}
	if !end.period.Until.After(d.period.From) {
		return date{}, events.Errorf(events.Invalid, "is an interval that ends before it begins: %s", text)
	}
	d.period.Until, d.dayUnknown = end.period.Until, d.dayUnknown || end.dayUnknown
	return d, nil
}

// parseMoment reads a single date of SDTM, with or without a time. The result is
// not set if the year is missing.
func parseMoment(text string) (date, error) {
	m := dateForm.FindStringSubmatch(text)
	if m == nil {
		return date{}, events.Errorf(events.Invalid, "must be a date of ISO 8601 such as 2024-03-06, 2024-03, 2024-03-06T10:30 or 2024-03-06/2024-03-08")
	}
	certain, dayKnown := certainPart(m)
	if certain == "" {
		return date{}, nil
	}
	period, err := events.ParsePeriod(certain)
	if err != nil {
		return date{}, err
	}
	d := date{text: certain, start: period, period: period, dayUnknown: !dayKnown}
	// A FHIR dateTime with a time needs seconds. Period is still the whole minute.
	if clock, second := strings.Index(certain, "T"), m[6]; clock >= 0 && second == "" {
		d.text = certain[:clock+len("T10:30")] + ":00" + certain[clock+len("T10:30"):]
	}
	return d, nil
}

// certainPart returns the parts of a date before the first missing one, and whether
// the day is known. M is a match of dateForm. A time is part of the result if its
// hour and minute are known; its seconds may be missing. In m, certainPart replaces
// each hyphen that stands for a missing part by "".
func certainPart(m []string) (certain string, dayKnown bool) {
	for i, part := range m[1:] {
		if part == "-" {
			m[i+1] = ""
		}
	}
	year, month, day, hour, minute, second, zone := m[1], m[2], m[3], m[4], m[5], m[6], m[7]
	switch {
	case year == "":
		return "", false
	case month == "":
		return year, false
	case day == "":
		return year + "-" + month, false
	}
	certain = year + "-" + month + "-" + day
	if hour == "" || minute == "" {
		return certain, true
	}
	certain += "T" + hour + ":" + minute
	if second != "" {
		// time.Time has nanoseconds, so further decimals are cut off.
		certain += ":" + second[:min(len(second), len("05.123456789"))]
	}
	return certain + fhirZone(zone), true
}

// fhirZone returns the zone with a colon and minutes. Z and a missing zone are
// unchanged.
func fhirZone(zone string) string {
	switch len(zone) {
	case len("+01"):
		return zone + ":00"
	case len("+0100"):
		return zone[:3] + ":" + zone[3:]
	}
	return zone
}
