package fhir_test

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir"
)

// exampleReport is the documented example, signed.
func exampleReport(b *testing.B) (fhir.Report, []byte) {
	b.Helper()
	a, err := fhir.ParseReport(exampleResources(b)[0])
	if err != nil {
		b.Fatal(err)
	}
	report := signed(a)
	encoded, err := report.Encode()
	if err != nil {
		b.Fatal(err)
	}
	return report, encoded
}

// compare runs the two by turns, a block of calls each, and reports what a call
// takes in the best block of each and their ratio: other load on the machine
// then hits both alike, or neither.
func compare(b *testing.B, ours, baseline func()) {
	b.Helper()
	const calls = 200
	block := func(best time.Duration, call func()) time.Duration {
		began := time.Now()
		for range calls {
			call()
		}
		return min(best, time.Since(began))
	}
	bestOurs, bestBaseline := time.Duration(math.MaxInt64), time.Duration(math.MaxInt64)
	for b.Loop() {
		bestOurs = block(bestOurs, ours)
		bestBaseline = block(bestBaseline, baseline)
	}
	b.ReportMetric(0, "ns/op") // of two blocks together: no figure of its own
	b.ReportMetric(float64(bestOurs)/calls, "ns/ours")
	b.ReportMetric(float64(bestBaseline)/calls, "ns/baseline")
	b.ReportMetric(float64(bestBaseline)/float64(bestOurs), "baseline/ours")
}

// plainReport is a DiagnosticReport as encoding/json knows it.
type plainReport struct {
	ResourceType string            `json:"resourceType"`
	ID           string            `json:"id"`
	Meta         map[string]string `json:"meta"`
	Extension    []plainExtension  `json:"extension"`
	Identifier   []struct {
		System string `json:"system"`
		Value  string `json:"value"`
	} `json:"identifier"`
	Status   string `json:"status"`
	Category []struct {
		Coding []struct {
			System  string `json:"system"`
			Code    string `json:"code"`
			Display string `json:"display"`
		} `json:"coding"`
		Text string `json:"text"`
	} `json:"category"`
	Code               map[string]string `json:"code"`
	Subject            map[string]string `json:"subject"`
	EffectiveDateTime  string            `json:"effectiveDateTime"`
	Issued             string            `json:"issued"`
	ResultsInterpreter []struct {
		Extension  []plainExtension  `json:"extension"`
		Identifier map[string]string `json:"identifier"`
		Display    string            `json:"display"`
	} `json:"resultsInterpreter"`
	Result []struct {
		Reference string `json:"reference"`
		Display   string `json:"display"`
	} `json:"result"`
	Conclusion string `json:"conclusion"`
}

type plainExtension struct {
	URL           string      `json:"url"`
	ValueString   *string     `json:"valueString,omitempty"`
	ValueInteger  *int32      `json:"valueInteger,omitempty"`
	ValueDecimal  json.Number `json:"valueDecimal,omitempty"`
	ValueDateTime *string     `json:"valueDateTime,omitempty"`
}

func BenchmarkEncodeAgainstEncodingJSON(b *testing.B) {
	report, encoded := exampleReport(b)
	var plain plainReport
	if err := json.Unmarshal(encoded, &plain); err != nil {
		b.Fatal(err)
	}
	compare(b, func() { _, _ = report.Encode() }, func() { _, _ = json.Marshal(plain) })
}

func BenchmarkDecodeAgainstEncodingJSON(b *testing.B) {
	_, encoded := exampleReport(b)
	compare(b, func() { _, _ = fhir.DecodeReport(encoded) }, func() { _ = json.Unmarshal(encoded, new(plainReport)) })
}

func BenchmarkParseIndexAgainstEncodingJSON(b *testing.B) {
	_, encoded := exampleReport(b)
	compare(b, func() { _, _ = fhir.ParseIndex(encoded) }, func() { _ = json.Unmarshal(encoded, new(plainReport)) })
}

func BenchmarkEncodeObservationsAgainstEncodingJSON(b *testing.B) {
	report, _ := exampleReport(b)
	for i := range report.Assessment.Lesions {
		l := &report.Assessment.Lesions[i]
		*l = events.Lesion{ID: l.ID, Category: "Target", Organ: "Lung", State: "Present", Value: "12.5", Unit: "mm", Modality: "CT"}
	}
	encoded, err := report.EncodeObservations()
	if err != nil {
		b.Fatal(err)
	}
	var plain any
	if err := json.Unmarshal(encoded, &plain); err != nil {
		b.Fatal(err)
	}
	compare(b, func() { _, _ = report.EncodeObservations() }, func() { _, _ = json.Marshal(plain) })
}
