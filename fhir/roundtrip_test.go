package fhir_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir"
)

// withLesionIDsOnly returns the report as it is decoded: of its lesions it has
// only the ids.
func withLesionIDsOnly(r fhir.Report) fhir.Report {
	var lesions []events.Lesion
	for _, l := range r.Assessment.Lesions {
		lesions = append(lesions, events.Lesion{ID: l.ID})
	}
	r.Assessment.Lesions = lesions
	return r
}

// words are texts that an assessment may have.
var words = rapid.StringMatching(`[A-Za-z0-9"\\/<>&%é漢😀+-]{1,12}( [A-Za-z0-9"\\;=]{1,5})?`)

var (
	decimals = rapid.StringMatching(`(0|[1-9][0-9]{0,6})(\.[0-9]{1,8})?([eE][+-]?1?[0-8])?`)
	changes  = rapid.StringMatching(`--|[+-]?[0-9]{1,4}(\.[0-9]{1,2})? mm`)
	dates    = rapid.SampledFrom([]string{"2014", "2014-01", "2014-01-02", "2006-10-13T09:31:24", "2006-10-13T09:31:24.123456789-05:00"})
	ids      = rapid.StringMatching(`[A-Za-z0-9.-]{1,64}`)
	numbers  = rapid.Int32Range(1, 1<<31-1)
	moments  = rapid.Custom(func(t *rapid.T) time.Time {
		return time.UnixMicro(rapid.Int64Range(0, 4e15).Draw(t, "micros")).UTC()
	})
)

// reports are valid ones, of whose lesions only the ids are set.
var reports = rapid.Custom(func(t *rapid.T) fhir.Report {
	n := rapid.IntRange(0, 25).Draw(t, "visit")
	name, timepoint := events.Baseline, int32(0)
	if n > 0 {
		name, timepoint = events.FollowUp(n), numbers.Draw(t, "timepoint")
	}
	a := events.Assessment{
		ID: ids.Draw(t, "id"), Study: words.Draw(t, "study"), SponsorStudy: words.Draw(t, "sponsor"), TrialName: words.Draw(t, "trial"),
		Criteria: events.Criteria, Case: events.Case{ID: numbers.Draw(t, "case"), Revision: numbers.Draw(t, "case revision")},
		Revision: numbers.Draw(t, "revision"), Name: name, Timepoint: timepoint, Subject: words.Draw(t, "subject"),
		Effective: dates.Draw(t, "effective"), Conclusion: rapid.SampledFrom(events.Conclusions).Draw(t, "conclusion"),
	}
	if rapid.Bool().Draw(t, "dated") {
		a.RevisionDate = dates.Draw(t, "revision date")
	}
	if rapid.Bool().Draw(t, "evaluable") {
		a.Measurement = &events.Measurement{
			Type: events.MeasurementType, Value: events.Decimal(decimals.Draw(t, "value")), Unit: events.Unit,
			ChangeFromPrevious: changes.Draw(t, "previous"), ChangeFromBaseline: changes.Draw(t, "baseline"), ChangeFromNadir: changes.Draw(t, "nadir"),
		}
	}
	for _, id := range rapid.SliceOfNDistinct(words, 0, 4, rapid.ID).Draw(t, "lesions") {
		a.Lesions = append(a.Lesions, events.Lesion{ID: id})
	}
	r := fhir.Report{
		Assessment: a, Version: rapid.Uint64Min(1).Draw(t, "version"), LastUpdated: moments.Draw(t, "updated"),
		Signature: events.Signature{User: "rivera", Name: words.Draw(t, "name"), Meaning: words.Draw(t, "meaning"), Time: moments.Draw(t, "issued")},
	}
	if rapid.Bool().Draw(t, "withdrawn") {
		r.Withdrawal = &fhir.Withdrawal{
			Signature: events.Signature{User: "lovelace", Name: words.Draw(t, "other name"), Meaning: words.Draw(t, "other meaning"), Time: moments.Draw(t, "withdrawn at")},
			Reason:    words.Draw(t, "reason"),
		}
	}
	return r
})

func TestDecodingReturnsWhatWasEncoded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		report := reports.Draw(t, "report")
		if err := report.Assessment.Validate(); err != nil {
			t.Fatalf("the generator made %v", err)
		}
		encoded, err := report.Encode()
		if err != nil || !json.Valid(encoded) {
			t.Fatalf("%v: %s", err, encoded)
		}
		decoded, err := fhir.DecodeReport(encoded)
		if err != nil {
			t.Fatalf("%v in %s", err, encoded)
		}
		if diff := cmp.Diff(report, decoded); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
		again, err := decoded.Encode()
		if err != nil || !bytes.Equal(encoded, again) {
			t.Fatalf("%v\n%s\n%s", err, encoded, again)
		}
		checkIndex(t, report, encoded)
	})
}

func checkIndex(t *rapid.T, r fhir.Report, encoded []byte) {
	status := "final"
	if r.Withdrawal != nil {
		status = "entered-in-error"
	}
	a := r.Assessment
	want := fhir.Index{
		ID: a.ID, Status: status, Study: a.Study, Subject: a.Subject, Effective: a.Effective, Issued: r.Signature.Time,
		LastUpdated: r.LastUpdated, Name: a.Name, Conclusion: a.Conclusion, Case: a.Case.ID, Version: r.Version,
	}
	got, err := fhir.ParseIndex(encoded)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Fatalf("index: %v (-want +got):\n%s", err, diff)
	}
}

func TestTheStandardLibraryReadsWhatIsEncoded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text")
		report := bareReport()
		report.Assessment.Study = text
		encoded, err := report.Encode()
		if err != nil {
			t.Fatal(err)
		}
		var read struct {
			Extension []struct{ ValueString string }
		}
		if err := json.Unmarshal(encoded, &read); err != nil || read.Extension[0].ValueString != text {
			t.Fatalf("%q came out as %q, %v", text, read.Extension[0].ValueString, err)
		}
	})
}

func TestAnIndexNeedsAllItsParts(t *testing.T) {
	encoded, err := bareReport().Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ old, with, field string }{
		{`"id":"1",`, ``, "id"},
		{`"versionId":"1",`, ``, "meta"},
		{`"status":"final",`, ``, "status"},
		{`"issued":`, `"elsewhere":`, "issued"},
		{`"effectiveDateTime":"2014-01",`, ``, "effectiveDateTime"},
		{`"subject":`, `"object":`, "subject"},
		{`"conclusion":`, `"opinion":`, "conclusion"},
		{`#CaseId`, `#Case`, "extension"},
		{`#IDB.Protocol`, `#Protocol`, "extension"},
		{`DiagnosticReport`, `Observation`, "resourceType"},
	} {
		_, err := fhir.ParseIndex([]byte(edit(t, string(encoded), c.old, c.with)))
		if e := (*events.Error)(nil); !errors.As(err, &e) || e.Field != c.field {
			t.Errorf("without %s: %v", c.old, err)
		}
	}
	if _, err := fhir.ParseIndex(append(encoded, 'x')); err == nil {
		t.Error("text behind the end was accepted")
	}
}

func TestOnlyASignedReportIsDecoded(t *testing.T) {
	encoded, err := withdrawnReport().Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ what, old, with, field string }{
		{"no id", `"id":"1",`, ``, "id"},
		{"no meta", `"meta":{"versionId":"1","lastUpdated":"2026-01-31T12:00:00.123457Z"},`, ``, "meta"},
		{"no version", `"versionId":"1",`, ``, "meta"},
		{"version 0", `"versionId":"1"`, `"versionId":"0"`, "meta.versionId"},
		{"a version that starts with 0", `"versionId":"1"`, `"versionId":"01"`, "meta.versionId"},
		{"a version with a sign", `"versionId":"1"`, `"versionId":"+1"`, "meta.versionId"},
		{"a version that is a number", `"versionId":"1"`, `"versionId":1`, "meta.versionId"},
		{"a version beyond 64 bits", `"versionId":"1"`, `"versionId":"18446744073709551616"`, "meta.versionId"},
		{"a time with three decimals", `.123457Z`, `.123Z`, "meta.lastUpdated"},
		{"more in meta", `"versionId"`, `"profile":["x"],"versionId"`, "meta.profile"},
		{"another code", `"text":"Response assessment, RECIST 1.1"`, `"text":"Response"`, "code.text"},
		{"no moment of sign-off", `"issued":"2026-01-31T12:00:00.123456Z",`, ``, "issued"},
		{"a moment of sign-off that is no time", `"issued":"2026-01-31T12:00:00.123456Z"`, `"issued":"today"`, "issued"},
		{"no user", `"identifier":{"value":"rivera"},`, ``, "resultsInterpreter[0]"},
		{"no printed name", `,"display":"Ana Rivera, MD"`, ``, "resultsInterpreter[0]"},
		{"no meaning", `#SignatureMeaning`, `#Meaning`, "resultsInterpreter[0].extension"},
		{"two signers", `"display":"Ana Rivera, MD"}`, `"display":"Ana Rivera, MD"},{"display":"B"}`, "resultsInterpreter[1]"},
		{"a reason without a withdrawal", `"entered-in-error"`, `"final"`, "extension[13].url"},
		{"a withdrawal without a reason", `#WithdrawalReason`, `#Reason`, "extension"},
		{"a status between", `"entered-in-error"`, `"amended"`, "status"},
	} {
		t.Run(c.what, func(t *testing.T) {
			got, err := fhir.DecodeReport([]byte(edit(t, string(encoded), c.old, c.with)))
			if e := (*events.Error)(nil); !errors.As(err, &e) || e.Code != events.Invalid || e.Field != c.field || !cmp.Equal(got, fhir.Report{}) {
				t.Errorf("%v, want it at %q", err, c.field)
			}
		})
	}
}
