package fhir_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir"
)

var update = flag.Bool("update", false, "write the golden files anew")

// fullReport has everything a report can have.
func fullReport() fhir.Report {
	series, instance := int32(2), int32(0)
	r := signed(events.Assessment{
		ID: "A-7.1", Study: "Étude 7/B & <C>", SponsorStudy: `C"3861\001`, TrialName: "étude\u2028sept", Criteria: "RECIST 1.1",
		Case: events.Case{ID: 2147483647, Revision: 5}, Revision: 12, RevisionDate: "2006-10-20", Name: "Follow-up 25", Timepoint: 31,
		Subject: "10/08 1007", Effective: "2006-10-13T09:31:24.5+02:00",
		Measurement: &events.Measurement{
			Type: "targetsum", Value: "50.0", Unit: "mm", ChangeFromPrevious: "+3.5 mm", ChangeFromBaseline: "0.0 mm", ChangeFromNadir: "--",
		},
		Lesions: []events.Lesion{
			{
				ID: "T01", Category: "Target", Organ: "Lung <left>", State: "Present", Value: "1E2", Unit: "mm", Modality: "CT",
				Label: "Long ? short axis", SeriesNumber: &series, SeriesDescription: "Standard 5mm", InstanceNumber: &instance,
				ChangeFromPrevious: "+3.5 mm", ChangeFromBaseline: "--", ChangeFromNadir: "0.0 mm",
			},
			{ID: "läsion 2"},
		},
		Conclusion: "Non-CR/Non-PD",
	})
	r.Version = 18446744073709551615
	return r
}

// bareReport has no more than a report must have.
func bareReport() fhir.Report {
	r := signed(events.Assessment{
		ID: "1", Study: "S", SponsorStudy: "P", TrialName: "S", Criteria: "RECIST 1.1", Case: events.Case{ID: 1, Revision: 1}, Revision: 1,
		Name: "Baseline", Subject: "1", Effective: "2014-01", Conclusion: "Not Evaluable",
	})
	r.Version = 1
	return r
}

func withdrawnReport() fhir.Report {
	r := bareReport()
	r.Withdrawal = &fhir.Withdrawal{
		Signature: events.Signature{
			User: "lovelace", Name: "Ada Lovelace, MD", Meaning: "I withdraw this assessment",
			Time: time.Date(2026, 1, 31, 12, 0, 0, 123457000, time.UTC),
		},
		Reason: "Wrong patient",
	}
	r.LastUpdated = r.LastUpdated.In(time.FixedZone("", -3600)).Add(999)
	return r
}

func TestReportsHaveExactlyTheseBytes(t *testing.T) {
	for name, report := range map[string]fhir.Report{"full": fullReport(), "bare": bareReport(), "withdrawn": withdrawnReport()} {
		t.Run(name, func(t *testing.T) {
			got, err := report.Encode()
			golden(t, name+"-report", got, err)
			got, err = report.EncodeObservations()
			golden(t, name+"-observations", got, err)
		})
	}
}

func golden(t *testing.T, name string, got []byte, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", name+".golden.json")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, got) {
		t.Errorf("%s (-want +got):\n%s", name, cmp.Diff(parseOrdered(t, want), parseOrdered(t, got)))
	}
}

func TestALesionWhoseIdentifierIsNoFHIRIDGetsOne(t *testing.T) {
	if got := fhir.LesionIdentifier(fullReport().Assessment, "T01"); got != "2147483647-A-7.1-T01" {
		t.Errorf("identifier %q", got)
	}
	for identifier, want := range map[string]string{
		"163-790-T01": "163-790-T01",
		"163-790-T 1": "l-g4amtrtthn44burkcvsc9bellem9ofjf73m6itftksnsb5nhd190", // computed with Python's hashlib and base64
	} {
		if got := fhir.ObservationID(identifier); got != want || !events.ValidFHIRID(got) {
			t.Errorf("id of %q: %q", identifier, got)
		}
	}
}

func TestWhatWouldNotBeJSONIsNotEncoded(t *testing.T) {
	for what, spoil := range map[string]func(r *fhir.Report){
		"text that is not UTF-8":     func(r *fhir.Report) { r.Assessment.Study = "a\xff" },
		"a value that is no number":  func(r *fhir.Report) { r.Assessment.Measurement.Value = "1." },
		"a value with more behind":   func(r *fhir.Report) { r.Assessment.Measurement.Value = `1,"x":2` },
		"a report without number":    func(r *fhir.Report) { r.Version = 0 },
		"a report without its time":  func(r *fhir.Report) { r.LastUpdated = time.Time{} },
		"a lesion value of no digit": func(r *fhir.Report) { r.Assessment.Lesions[0].Value = "-" },
	} {
		t.Run(what, func(t *testing.T) {
			r := fullReport()
			spoil(&r)
			_, err := r.Encode()
			if what[:8] == "a lesion" {
				_, err = r.EncodeObservations()
			}
			if events.CodeOf(err) != events.Invalid {
				t.Errorf("%v", err)
			}
		})
	}
}
