package events_test

import (
	"encoding/json"
	"math/big"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
)

// FuzzEvent reads an event from a block of header lines and a body. What is
// accepted must come back unchanged from its own headers.
func FuzzEvent(f *testing.F) {
	for _, k := range kindsAndUnknown {
		e := sampleEvent(events.DefaultNamespace, k, studyOf(k, "FHIR-T"), events.ChainHead{}, "{}")
		var block strings.Builder
		for name, values := range e.Header() {
			block.WriteString(name + ":" + values[0] + "\n")
		}
		f.Add(block.String(), e.Data)
		f.Add(block.String()+"ce-traceparent:00-1\nce-id:again\n", e.Data)
	}
	f.Fuzz(func(t *testing.T, block string, data []byte) {
		h := make(map[string][]string)
		for line := range strings.Lines(block) {
			name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
			h[name] = append(h[name], value)
		}
		e, err := events.FromHeader(h, data)
		if err != nil {
			if events.CodeOf(err) != events.Invalid {
				t.Fatalf("refused as %s: %v", events.CodeOf(err), err)
			}
			return
		}
		back, err := events.FromHeader(e.Header(), data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(e, back); diff != "" {
			t.Fatalf("-read +read again:\n%s", diff)
		}
		if strings.ContainsAny(e.NATSSubject(), "*> \r\n") {
			t.Fatalf("subject %q", e.NATSSubject())
		}
		if kind := e.Kind(); kind == "" || kind.NeedsNewer() && (kind.Known() || kind.Optional()) {
			t.Fatalf("%s is of kind %q", e.Type, kind)
		}
		checkSDK(t, e)
		if g, err := e.Grant(); err == nil && e.NATSSubject() != events.PartnerAccessSubject(g.Partner) || err != nil && events.CodeOf(err) != events.Invalid {
			t.Fatalf("%+v is told to %s, %v", g, e.NATSSubject(), err)
		}
	})
}

// checkSDK passes the event through the SDK's form; the SDK may refuse it.
func checkSDK(t *testing.T, e events.Event) {
	t.Helper()
	ce, err := e.CloudEvent()
	if err != nil {
		return
	}
	back, err := events.FromCloudEvent(ce)
	if err != nil {
		t.Fatal(err)
	}
	if back.Digest() != e.Digest() || back.Hash != e.Hash {
		t.Fatalf("-read +through the SDK:\n%s", cmp.Diff(e, back))
	}
}

// FuzzDecimal accepts JSON numbers only and keeps their text.
func FuzzDecimal(f *testing.F) {
	for _, text := range []string{"0", "37.6", "50.0", "1E2", "1e-18", "-1", "1e9999", "01", "123456789012345678", "null", `"1"`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := events.ParseDecimal(text)
		if err != nil {
			return
		}
		if v, ok := new(big.Rat).SetString(text); !ok || v.Sign() < 0 || !json.Valid([]byte(text)) {
			t.Fatalf("%q was accepted", text)
		}
		out, err := json.Marshal(d)
		if err != nil || string(out) != text {
			t.Fatalf("%q became %q, %v", text, out, err)
		}
		var back events.Decimal
		if err := json.Unmarshal(out, &back); err != nil || back != d {
			t.Fatalf("%q came back as %q, %v", text, back, err)
		}
	})
}

// FuzzPeriod returns periods that are not empty, and takes each date that a
// source may write.
func FuzzPeriod(f *testing.F) {
	for _, text := range []string{"2014", "2014-01", "2016-02-29", "2006-10-13T09:31", "2006-10-13T09:31:24.5+02:00", "2016-12-31T23:59:60Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := events.ParsePeriod(text)
		if err == nil && !p.From.Before(p.Until) {
			t.Fatalf("%q returns %v", text, p)
		}
		if err != nil && events.ValidDateTime(text) == nil {
			t.Fatalf("%q is a dateTime but no period: %v", text, err)
		}
		if moment, err := events.ParseTime(text); err == nil && (events.FormatTime(moment) != text || !moment.Equal(p.From)) {
			t.Fatalf("%q is %v, the period %v", text, moment, p)
		}
	})
}

// FuzzAssessment decodes and validates; what is valid can be written, and
// comes back unchanged and valid.
func FuzzAssessment(f *testing.F) {
	f.Add([]byte(sampleAssessment))
	f.Add([]byte(`{"study":"Mu\u0308nchen","measurement":{"value":null}}`))
	f.Add([]byte(`{"case":{"id":2147483648}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var a events.Assessment
		if json.Unmarshal(data, &a) != nil {
			return
		}
		a.Normalize()
		if err := a.Validate(); err != nil {
			if events.CodeOf(err) != events.Invalid {
				t.Fatal(err)
			}
			return
		}
		out, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		var back events.Assessment
		if err := json.Unmarshal(out, &back); err != nil {
			t.Fatal(err)
		}
		if len(a.Lesions) == 0 {
			a.Lesions = nil // none and an empty list are one thing
		}
		if diff := cmp.Diff(a, back); diff != "" {
			t.Fatalf("-valid +written and read:\n%s", diff)
		}
		if err := back.Validate(); err != nil {
			t.Fatal(err)
		}
	})
}
