package fhir_test

import (
	"bytes"
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir"
)

// FuzzParseReport: what is accepted is JSON to the standard library, has the
// same values there, and is the same after it was encoded and read again.
func FuzzParseReport(f *testing.F) {
	addExamples(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := fhir.ParseReport(data)
		if err != nil {
			if events.CodeOf(err) != events.Invalid {
				t.Fatal(err)
			}
			return
		}
		var read struct {
			Identifier []struct{ Value string }
			Conclusion string
			Effective  string `json:"effectiveDateTime"`
			Subject    struct{ Reference string }
			Result     []struct{ Display string }
		}
		if err := json.Unmarshal(data, &read); err != nil {
			t.Fatalf("accepted, but %v", err)
		}
		if read.Identifier[0].Value != a.ID || read.Conclusion != a.Conclusion || read.Effective != a.Effective ||
			!refersTo(read.Subject.Reference, a.Subject) || len(read.Result) != len(a.Lesions) {
			t.Fatalf("%+v was read as %+v", read, a)
		}
		encoded, err := signed(a).Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := fhir.ParseReport(encoded)
		if diff := cmp.Diff(a, again); err != nil || diff != "" {
			t.Fatalf("%v (-first +second):\n%s", err, diff)
		}
	})
}

func refersTo(reference, subject string) bool {
	id, err := url.PathUnescape(strings.TrimPrefix(reference, "Patient/"))
	return err == nil && strings.HasPrefix(reference, "Patient/") && id == subject
}

// FuzzDecodeReport: decoding undoes encoding, for whatever can be decoded.
func FuzzDecodeReport(f *testing.F) {
	addExamples(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := fhir.DecodeReport(data)
		if err != nil {
			return
		}
		encoded, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := fhir.DecodeReport(encoded)
		if diff := cmp.Diff(r, again); err != nil || diff != "" {
			t.Fatalf("%v (-first +second):\n%s", err, diff)
		}
		twice, err := again.Encode()
		if err != nil || !bytes.Equal(encoded, twice) {
			t.Fatalf("%v\n%s\n%s", err, encoded, twice)
		}
		index, err := fhir.ParseIndex(encoded)
		if err != nil || index.ID != r.Assessment.ID || index.Study != r.Assessment.Study || index.Version != r.Version {
			t.Fatalf("%+v, %v", index, err)
		}
	})
}

// FuzzParseIndex: no bytes make it panic, and what it accepts is JSON.
func FuzzParseIndex(f *testing.F) {
	addExamples(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := fhir.ParseIndex(data); err == nil && !json.Valid(data) {
			t.Fatalf("accepted: %s", data)
		}
	})
}

func FuzzParseObservation(f *testing.F) {
	for _, resource := range observations(f, fullReport()) {
		f.Add([]byte(resource))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := fhir.ParseObservation(data)
		if err != nil {
			return
		}
		if !json.Valid(data) {
			t.Fatalf("accepted: %s", data)
		}
		lesion := o.Lesion
		lesion.ID = "T01"
		if err := lesion.Validate("lesion"); err != nil {
			t.Fatalf("an invalid lesion: %v", err)
		}
	})
}

// FuzzDecimal: the digits of a value are the same on paper and on the wire.
func FuzzDecimal(f *testing.F) {
	for _, text := range []string{"37.6", "50.0", "1E2", "0", "-1", "1e9999", "01", "0.000", "1,", "9e-18"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		report := bareReport()
		report.Assessment.Measurement = &events.Measurement{
			Type: "targetsum", Value: events.Decimal(text), Unit: "mm", ChangeFromPrevious: "--", ChangeFromBaseline: "--", ChangeFromNadir: "--",
		}
		encoded, err := report.Encode()
		if text != "" && (err == nil) != (json.Valid([]byte(text)) && strings.ContainsAny(text[:1], "-0123456789") && strings.TrimSpace(text) == text) {
			t.Fatalf("%q: %v", text, err)
		}
		if err != nil || text == "" {
			return
		}
		if !bytes.Contains(encoded, []byte(`"valueDecimal":`+text+`}`)) {
			t.Fatalf("%q is not in %s", text, encoded)
		}
		decoded, err := fhir.DecodeReport(encoded)
		if _, invalid := events.ParseDecimal(text); (invalid == nil) != (err == nil) {
			t.Fatalf("%q: decoded %v, parsed %v", text, err, invalid)
		}
		if err == nil && string(decoded.Assessment.Measurement.Value) != text {
			t.Fatalf("%q came back as %q", text, decoded.Assessment.Measurement.Value)
		}
	})
}

func addExamples(f *testing.F) {
	f.Helper()
	for _, resource := range exampleResources(f) {
		f.Add(resource)
	}
	for _, report := range []fhir.Report{fullReport(), bareReport(), withdrawnReport()} {
		encoded, err := report.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encoded)
	}
}
