package events_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/seed-e88a4ece/signoff/events"
)

func TestHeadersRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := anyEvent().Draw(t, "event")
		got, err := events.FromHeader(e.Header(), e.Data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(e, got); diff != "" {
			t.Fatalf("-sent +read:\n%s", diff)
		}
		if err := got.Verify(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestHeaderValuesNeedNoEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		for name, values := range anyEvent().Draw(t, "event").Header() {
			if len(values) != 1 || name != strings.ToLower(name) {
				t.Fatalf("%s: %q", name, values)
			}
			for _, r := range values[0] {
				if r < 0x21 || r > 0x7e || r == '"' || r == '%' {
					t.Fatalf("%s holds %+q", name, r)
				}
			}
		}
	})
}

func TestHeadersAsTheBindingWritesThem(t *testing.T) {
	e := sampleEvent(events.DefaultNamespace, events.ReportSigned, "FHIR-T", events.ChainHead{}, "{}")
	want := map[string][]string{
		"ce-specversion":     {"1.0"},
		"ce-id":              {"01941f29-7c00-7000-8000-000000000001"},
		"ce-source":          {"/signoff/ResearchStudy/FHIR-T"},
		"ce-type":            {"org.mskcc.crit.diagnosticreport.signed.v1"},
		"ce-subject":         {"DiagnosticReport/790/_history/1"},
		"ce-time":            {"2026-01-31T12:00:01.000123Z"},
		"ce-datacontenttype": {"application/fhir+json"},
		"ce-study":           {"FHIR-T"},
		"ce-sequence":        {"00000000000000000001"},
		"ce-partitionkey":    {"FHIR-T/163"},
		"ce-previoushash":    {strings.Repeat("0", 64)},
		"ce-hash":            {e.Hash},
	}
	if diff := cmp.Diff(want, e.Header()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestHeadersOfTheBrokerArePassedOver(t *testing.T) {
	e := sampleEvent(events.DefaultNamespace, events.ReportSigned, "FHIR-T", events.ChainHead{}, "{}")
	h := e.Header()
	h["Nats-Msg-Id"], h["ce-later"], h["Nats-Sequence"] = []string{e.ID}, []string{"1"}, []string{"1", "2"}
	got, err := events.FromHeader(h, e.Data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(e, got); diff != "" {
		t.Errorf("-sent +read:\n%s", diff)
	}
}

func TestEachHeaderIsNeededOnce(t *testing.T) {
	e := sampleEvent(events.DefaultNamespace, events.ReportSigned, "FHIR-T", events.ChainHead{}, "{}")
	for name := range e.Header() {
		for what, values := range map[string][]string{
			"missing": nil, "twice": {e.Header()[name][0], e.Header()[name][0]}, "empty": {""}, "of another value's form": {"a b"}, "not UTF-8": {"\xff"},
		} {
			t.Run(name+" "+what, func(t *testing.T) {
				h := maps.Clone(e.Header())
				if h[name] = values; values == nil {
					delete(h, name)
				}
				_, err := events.FromHeader(h, e.Data)
				if events.CodeOf(err) != events.Invalid || !strings.Contains(err.Error(), strings.TrimPrefix(name, "ce-")) {
					t.Errorf("got %v, want an Invalid error that names %s", err, name)
				}
			})
		}
	}
}

func TestHostileHeadersAreRefused(t *testing.T) {
	for name, value := range map[string]string{
		"ce-specversion":     "0.3",
		"ce-study":           "a.>",
		"ce-type":            "org.mskcc.crit.diagnosticreport.signed.v2.",
		"ce-time":            "2026-01-31T12:00:01Z",
		"ce-sequence":        "00000000000000000000",
		"ce-hash":            strings.Repeat("A", 64),
		"ce-previoushash":    strings.Repeat("0", 63),
		"ce-subject":         strings.Repeat("a", 1025),
		"ce-id":              "line\nbreak",
		"ce-datacontenttype": "application/fhir+json; charset=\"utf-8\"", // has a space
		"ce-traceparent":     strings.Repeat("0", 257),
	} {
		t.Run(name, func(t *testing.T) {
			h := sampleEvent(events.DefaultNamespace, events.ReportSigned, "FHIR-T", events.ChainHead{}, "{}").Header()
			h[name] = []string{value}
			if _, err := events.FromHeader(h, nil); events.CodeOf(err) != events.Invalid {
				t.Errorf("%q returns %v, want an Invalid error", value, err)
			}
		})
	}
}

func TestEventsThatCannotBeWrittenAreInvalid(t *testing.T) {
	for name, when := range map[string]time.Time{
		"no time":                  {},
		"finer than a microsecond": sampleTime.Add(time.Nanosecond),
		"a year of five digits":    time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		t.Run(name, func(t *testing.T) {
			e := sampleEvent(events.DefaultNamespace, events.ReportSigned, "FHIR-T", events.ChainHead{}, "{}")
			e.Time = when
			if err := e.Validate(); events.CodeOf(err) != events.Invalid {
				t.Errorf("got %v, want an Invalid error", err)
			}
		})
	}
}
