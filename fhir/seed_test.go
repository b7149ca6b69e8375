package fhir_test

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir"
)

// exampleResources returns the two reports of the documented example, as text.
func exampleResources(t testing.TB) [][]byte {
	t.Helper()
	data, err := os.ReadFile("testdata/bundle.json")
	if err != nil {
		t.Fatal(err)
	}
	var bundle struct {
		Entry []struct{ Resource json.RawMessage }
	}
	if err := json.Unmarshal(data, &bundle); err != nil {
		t.Fatal(err)
	}
	if len(bundle.Entry) != 2 {
		t.Fatalf("the example has %d entries", len(bundle.Entry))
	}
	return [][]byte{bundle.Entry[0].Resource, bundle.Entry[1].Resource}
}

// signed makes a report of an assessment, signed at a fixed time.
func signed(a events.Assessment) fhir.Report {
	at := time.Date(2026, 1, 31, 12, 0, 0, 123456000, time.UTC)
	return fhir.Report{
		Assessment:  a,
		Signature:   events.Signature{User: "rivera", Name: "Ana Rivera, MD", Meaning: "I have reviewed this assessment and approve it", Time: at},
		Version:     2,
		LastUpdated: at.Add(time.Microsecond),
	}
}

func TestTheDocumentedExampleComesBackWithAdditionsOnly(t *testing.T) {
	for _, want := range exampleResources(t) {
		a, err := fhir.ParseReport(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := signed(a).Encode()
		if err != nil {
			t.Fatal(err)
		}
		example, ours := parseOrdered(t, want), parseOrdered(t, got)
		additions := ours.without(example)
		if diff := cmp.Diff(example, ours); diff != "" {
			t.Errorf("report %s differs from the example (-example +ours):\n%s", a.ID, diff)
		}
		if diff := cmp.Diff([]string{"id", "meta", "code", "issued", "resultsInterpreter"}, additions); diff != "" {
			t.Errorf("additions to report %s (-want +got):\n%s", a.ID, diff)
		}
	}
}

func TestTheDocumentedExampleIsReadWhole(t *testing.T) {
	got, err := fhir.ParseReport(exampleResources(t)[0])
	if err != nil {
		t.Fatal(err)
	}
	want := events.Assessment{
		ID: "790", Study: "FHIR-T", SponsorStudy: "C3861001", TrialName: "FHIR-T", Criteria: "RECIST 1.1",
		Case: events.Case{ID: 163, Revision: 5}, Revision: 1, Name: "Follow-up 2", Timepoint: 2,
		Subject: "10081007", Effective: "2006-10-13T09:31:24",
		Measurement: &events.Measurement{
			Type: "targetsum", Value: "37.6", Unit: "mm",
			ChangeFromPrevious: "-12.0 mm", ChangeFromBaseline: "-42.3 mm", ChangeFromNadir: "-12.0 mm",
		},
		Lesions:    []events.Lesion{{ID: "NT01"}, {ID: "NT01a"}, {ID: "T01"}, {ID: "T02"}},
		Conclusion: "Partial Response",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
