package sdtm

import (
	"cmp"
	"regexp"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
)

// date is a date of SDTM: ISO 8601, of which parts may be missing, or an
// interval of two.
type date struct {
	text   string        // what is certain of it, or of its start, as a FHIR dateTime
	start  events.Period // that text covers
	period events.Period // from the start to the end of an interval; else the same
	coarse bool          // less than a day is certain of its start or end
}

// isSet reports whether there is a date.
func (d date) isSet() bool { return d.text != "" }

// day returns the calendar day, or what is known of it.
func (d date) day() string { return d.text[:min(len(d.text), len("2006-01-02"))] }

// isBefore reports whether d certainly ends before the other begins.
func (d date) isBefore(other date) bool {
	return d.isSet() && other.isSet() && !d.period.Until.After(other.period.From)
}

// compare orders dates by the start of what they cover, then the less precise
// first.
func (d date) compare(other date) int {
	return cmp.Or(d.start.From.Compare(other.start.From), other.start.Until.Compare(d.start.Until))
}

var (
	duration = regexp.MustCompile(`^P[0-9.,YMWDTHS]+$`)
	// Year, month, day, hour, minute, second and zone. A hyphen stands for what is
	// missing, unless it is at the end.
	dateForm = regexp.MustCompile(`^(\d{4}|-)(?:-(\d\d|-)(?:-(\d\d|-))?)?` +
		`(?:T(\d\d|-)(?::(\d\d|-)(?::(\d\d(?:\.\d+)?|-))?)?(Z|[+-]\d\d(?::?\d\d)?)?)?$`)
)

// parseDate reads a date of SDTM. It returns an unknown date where nothing is
// certain of it.
func parseDate(text string) (date, error) {
	first, last, interval := strings.Cut(text, "/")
	d, err := parseMoment(first)
	if err != nil || !interval || !d.isSet() {
		return d, err
	}
	if last == "" || duration.MatchString(last) {
		return d, nil // how long it lasted decides nothing
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
	d.period.Until, d.coarse = end.period.Until, d.coarse || end.coarse
	return d, nil
}

func parseMoment(text string) (date, error) {
	m := dateForm.FindStringSubmatch(text)
	if m == nil {
		return date{}, events.Errorf(events.Invalid, "must be a date of ISO 8601 such as 2024-03-06, 2024-03, 2024-03-06T10:30 or 2024-03-06/2024-03-08")
	}
	certain, precise := certainPart(m)
	if certain == "" {
		return date{}, nil
	}
	period, err := events.ParsePeriod(certain)
	if err != nil {
		return date{}, err
	}
	d := date{text: certain, start: period, period: period, coarse: !precise}
	if hour := strings.Index(certain, "T"); hour >= 0 && m[6] == "" {
		d.text = certain[:hour+len("T10:30")] + ":00" + certain[hour+len("T10:30"):]
	}
	return d, nil
}

// certainPart returns the date up to the first part that is missing, but for
// seconds, and whether the day is known. The parts are those of dateForm.
func certainPart(m []string) (certain string, precise bool) {
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
		certain += ":" + second[:min(len(second), len("05.123456789"))]
	}
	return certain + fhirZone(zone), true
}

// fhirZone returns the zone with a colon and minutes.
func fhirZone(zone string) string {
	switch len(zone) {
	case len("+01"):
		return zone + ":00"
	case len("+0100"):
		return zone[:3] + ":" + zone[3:]
	}
	return zone
}
