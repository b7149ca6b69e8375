package events_test

import (
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/seed-e88a4ece/signoff/events"
)

func TestDecimalsKeepTheirText(t *testing.T) {
	for _, text := range []string{
		"0", "0.0", "73", "37.6", "50.0", "0.10", "1E2", "1e2", "1E+2", "1.50e-03", "1e18", "1e-18", "0e0",
		"123456789012345678", "1234567890.12345678", "0.12345678901234567",
	} {
		t.Run(text, func(t *testing.T) {
			var m events.Measurement
			if err := json.Unmarshal([]byte(`{"value": `+text+` }`), &m); err != nil {
				t.Fatal(err)
			}
			out, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			if string(m.Value) != text || !strings.Contains(string(out), `"value":`+text+`,`) {
				t.Errorf("became %s in %s", m.Value, out)
			}
		})
	}
}

func TestWhatIsNoDecimal(t *testing.T) {
	for _, text := range []string{
		"", " ", "-1", "-0", "+1", "01", "00", ".5", "5.", "1e", "1e+", "1e19", "1e-19", "1e9999", "1e99999999999999999999",
		"1234567890123456789", "0.123456789012345678", "NaN", "Infinity", "0x1", "1_000", "1,5", "1 ", " 1", "1\n", "٣", `"1"`, "null", "true", "[]",
		"0." + strings.Repeat("0", 100),
	} {
		if d, err := events.ParseDecimal(text); events.CodeOf(err) != events.Invalid || d != "" {
			t.Errorf("%q returns %q, %v", text, d, err)
		}
		var m events.Measurement
		if err := json.Unmarshal([]byte(`{"value":`+text+`}`), &m); err == nil && strings.TrimSpace(text) == text {
			t.Errorf("%q decodes to %q", text, m.Value)
		}
	}
}

func TestADecimalMadeByHandIsCheckedWhenWritten(t *testing.T) {
	for _, d := range []events.Decimal{"", "x", `1,"injected":2`, "-1"} {
		if out, err := json.Marshal(d); err == nil {
			t.Errorf("%q was written as %s", d, out)
		}
	}
}

func TestDecimalRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`(0|[1-9][0-9]{0,7})(\.[0-9]{1,8})?([eE][+-]?(1[0-8]|[0-9]))?`).Draw(t, "text")
		d, err := events.ParseDecimal(text)
		if err != nil {
			t.Fatal(err)
		}
		out, err := json.Marshal(d)
		if err != nil || string(out) != text {
			t.Fatalf("%s became %s, %v", text, out, err)
		}
		var back events.Decimal
		if err := json.Unmarshal(out, &back); err != nil || back != d {
			t.Fatalf("%s came back as %s, %v", text, back, err)
		}
	})
}
