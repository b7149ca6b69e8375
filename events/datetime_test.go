package events_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/seed-e88a4ece/signoff/events"
)

func TestPeriods(t *testing.T) {
	for text, want := range map[string][2]string{
		"2014":                                {"2014-01-01T00:00:00Z", "2015-01-01T00:00:00Z"},
		"2014-01":                             {"2014-01-01T00:00:00Z", "2014-02-01T00:00:00Z"},
		"2014-12":                             {"2014-12-01T00:00:00Z", "2015-01-01T00:00:00Z"},
		"2016-02-29":                          {"2016-02-29T00:00:00Z", "2016-03-01T00:00:00Z"},
		"2014-12-31":                          {"2014-12-31T00:00:00Z", "2015-01-01T00:00:00Z"},
		"2006-10-13T09:31":                    {"2006-10-13T09:31:00Z", "2006-10-13T09:32:00Z"},
		"2006-10-13T09:31:24":                 {"2006-10-13T09:31:24Z", "2006-10-13T09:31:25Z"},
		"2006-10-13T09:31:24Z":                {"2006-10-13T09:31:24Z", "2006-10-13T09:31:25Z"},
		"2006-10-13T00:31:24+02:00":           {"2006-10-12T22:31:24Z", "2006-10-12T22:31:25Z"},
		"2006-10-13T23:31-14:00":              {"2006-10-14T13:31:00Z", "2006-10-14T13:32:00Z"},
		"2006-10-13T09:31:24.5Z":              {"2006-10-13T09:31:24.5Z", "2006-10-13T09:31:24.6Z"},
		"2006-10-13T09:31:24.123456Z":         {"2006-10-13T09:31:24.123456Z", "2006-10-13T09:31:24.123457Z"},
		"2006-10-13T09:31:24.999999999+00:00": {"2006-10-13T09:31:24.999999999Z", "2006-10-13T09:31:25Z"},
		"2016-12-31T23:59:60Z":                {"2017-01-01T00:00:00Z", "2017-01-01T00:00:01Z"},
		"0001":                                {"0001-01-01T00:00:00Z", "0002-01-01T00:00:00Z"},
	} {
		t.Run(text, func(t *testing.T) {
			p, err := events.ParsePeriod(text)
			if err != nil {
				t.Fatal(err)
			}
			got := [2]string{p.From.Format(time.RFC3339Nano), p.Until.Format(time.RFC3339Nano)}
			if got != want {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

func TestWhatIsNoPeriod(t *testing.T) {
	for _, text := range []string{
		"", " ", "14", "0000", "20140", "2014-", "2014-1", "2014-00", "2014-13", "2014-02-30", "2015-02-29", "1900-02-29", "2014-01-00",
		"2014-01-01T", "2014-01-01T09", "2014-01-01T24:00", "2014-01-01T09:60", "2014-01-01T09:31:61", "2014-01-01 09:31:24", "2014-01-01t09:31:24z",
		"2014-01-01Z", "2014-01-01T09:31:24.", "2014-01-01T09:31:24.1234567890", "2014-01-01T09:31:24+14:01", "2014-01-01T09:31:24+15:00",
		"2014-01-01T09:31:24+02:60", "2014-01-01T09:31:24+0200", "2014-01-01T09:31:24 02:00", "2014-01-01\n", "\n2014", "+2014", "-2014", "٢٠١٤", "01/02/2014",
	} {
		if p, err := events.ParsePeriod(text); events.CodeOf(err) != events.Invalid {
			t.Errorf("%q returns %v, %v", text, p, err)
		}
	}
}

func TestADateTimeOfASourceHasSeconds(t *testing.T) {
	for text, want := range map[string]bool{
		"2014": true, "2014-01": true, "2014-01-02": true, "2014-01-02T10:11:12": true, "2014-01-02T10:11:12.5-01:00": true,
		"2014-01-02T10:11": false, "2014-01-02T10:11Z": false, "2014-01-02T10:11+02:00": false, "": false, "yesterday": false,
	} {
		if err := events.ValidDateTime(text); (err == nil) != want {
			t.Errorf("ValidDateTime(%q) returns %v", text, err)
		}
	}
}

func TestALessPreciseDateContainsAMorePreciseOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		full := times().Draw(t, "time").Format("2006-01-02T15:04:05.000000")
		lengths := []int{4, 7, 10, 16, 19, 21, 22, 23, 24, 25, 26}
		i := rapid.IntRange(1, len(lengths)-1).Draw(t, "precision")
		outer, inner := period(t, full[:lengths[i-1]]), period(t, full[:lengths[i]])
		if inner.From.Before(outer.From) || inner.Until.After(outer.Until) || !inner.From.Before(inner.Until) {
			t.Fatalf("%v is not within %v", inner, outer)
		}
	})
}

func period(t *rapid.T, text string) events.Period {
	p, err := events.ParsePeriod(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestInstants(t *testing.T) {
	t.Run("come back and sort as text", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			a, b := times().Draw(t, "a"), times().Draw(t, "b")
			if got, err := events.ParseTime(events.FormatTime(a)); err != nil || !got.Equal(a) {
				t.Fatalf("%v comes back as %v, %v", a, got, err)
			}
			if a.Before(b) != (events.FormatTime(a) < events.FormatTime(b)) {
				t.Fatalf("%s and %s", events.FormatTime(a), events.FormatTime(b))
			}
		})
	})
	t.Run("are written in UTC, cut to the microsecond", func(t *testing.T) {
		berlin := time.FixedZone("", 3600)
		if got := events.FormatTime(time.Date(2026, 1, 1, 0, 30, 0, 999_999_999, berlin)); got != "2025-12-31T23:30:00.999999Z" {
			t.Error(got)
		}
	})
	t.Run("are read in that form only", func(t *testing.T) {
		for _, text := range []string{
			"", "2026-01-31T12:00:00Z", "2026-01-31T12:00:00.12345Z", "2026-01-31T12:00:00.1234567Z", "2026-01-31T12:00:00.123456+00:00",
			"2026-01-31T12:00:00.123456z", "2026-01-31T12:00:00,123456Z", "2026-01-31T12:00:60.123456Z", "2026-02-30T12:00:00.123456Z", "12026-01-31T12:00:00.123456Z",
		} {
			if _, err := events.ParseTime(text); events.CodeOf(err) != events.Invalid {
				t.Errorf("%q returns %v", text, err)
			}
		}
	})
}
