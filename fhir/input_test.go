package fhir_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir"
)

// compactExample is the first report of the example without white space.
func compactExample(t testing.TB) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, exampleResources(t)[0]); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// edit replaces the first occurrence of old, which must be there.
func edit(t testing.TB, text, old, with string) string {
	t.Helper()
	if !strings.Contains(text, old) {
		t.Fatalf("%s is not in %s", old, text)
	}
	return strings.Replace(text, old, with, 1)
}

const (
	at      = `"url":"https://fhir.mskcc.org/structure-definitions/`
	current = `{` + at + `#CurrentValue","valueDecimal":37.6},`
	unit    = `{` + at + `#Unit","valueString":"mm"},`
)

func TestMalformedReportsAreRefusedWithThePathOfTheFault(t *testing.T) {
	example := compactExample(t)
	for _, c := range []struct{ what, old, with, field string }{
		{"an integer that is text", `"valueInteger":5`, `"valueInteger":"5"`, "extension[5].valueInteger"},
		{"an integer with a fraction", `"valueInteger":5`, `"valueInteger":5.0`, "extension[5].valueInteger"},
		{"an integer beyond 32 bits", `"valueInteger":163`, `"valueInteger":2147483648`, "extension[2].valueInteger"},
		{"a case 0", `"valueInteger":163`, `"valueInteger":0`, "extension[2].valueInteger"},
		{"a negative case revision", `"valueInteger":5`, `"valueInteger":-5`, "extension[5].valueInteger"},
		{"an assessment revision 0", `"valueInteger":1}`, `"valueInteger":0}`, "extension[6].valueInteger"},
		{"another type of value", `"valueInteger":5`, `"valueDecimal":5`, "extension[5].valueDecimal"},
		{"an unknown type of value", `"valueInteger":5`, `"valueBoolean":true`, "extension[5].valueBoolean"},
		{"a sum that is an integer", `"valueDecimal":37.6`, `"valueInteger":37`, "extension[10].valueInteger"},
		{"a sum that is text", `"valueDecimal":37.6`, `"valueDecimal":"37.6"`, "extension[10].valueDecimal"},
		{"a sum beyond all bounds", `37.6`, `1e9999`, "extension[10].valueDecimal"},
		{"a negative sum", `37.6`, `-37.6`, "extension[10].valueDecimal"},
		{"two values", `"valueInteger":5`, `"valueString":"5","valueInteger":5`, "extension[5].valueInteger"},
		{"no value", `,"valueInteger":5`, ``, "extension[5]"},
		{"no url", `{` + at + `#Name",`, `{`, "extension[7]"},
		{"an unknown extension", `#TrialArmName`, `#TrialArm`, "extension"},
		{"one extension more", unit, unit + `{` + at + `#Colour","valueString":"red"},`, "extension[12].url"},
		{"an extension under another root", `https://fhir.mskcc.org/structure-definitions/#Name`, `https://example.org/#Name`, "extension[7].url"},
		{"an extension twice", unit, unit + unit, "extension[12].url"},
		{"a third revision number", unit, unit + `{` + at + `#RevisionNumber","valueInteger":1},`, "extension[12].url"},
		{"a withdrawal", unit, unit + `{` + at + `#WithdrawalReason","valueString":"x"},`, "extension[12].url"},
		{"a missing extension", `{` + at + `#Name","valueString":"Follow-up 2"},`, ``, "extension"},
		{"a missing revision number", `{` + at + `#RevisionNumber","valueInteger":5},`, ``, "extension"},
		{"an empty text", `"Follow-up 2"`, `""`, "extension[7].valueString"},
		{"Follow-up 26", `Follow-up 2`, `Follow-up 26`, "extension[7].valueString"},
		{"other criteria", `RECIST 1.1`, `iRECIST`, "extension[4].valueString"},
		{"another measurement", `"targetsum"`, `"volume"`, "extension[9].valueString"},
		{"another unit", `"valueString":"mm"`, `"valueString":"cm"`, "extension[11].valueString"},
		{"a change without its unit", `"-42.3 mm"`, `"-42.3"`, "extension[13].valueString"},
		{"a change without a value", current + unit, ``, "extension"},
		{"a unit without a value", current, ``, "extension"},
		{"a value without a unit", unit, ``, "extension"},
		{"an unknown conclusion", `"Partial Response"`, `"Better"`, "conclusion"},
		{"a conclusion that is null", `"Partial Response"`, `null`, "conclusion"},
		{"a report that is not final", `"final"`, `"preliminary"`, "status"},
		{"a withdrawn report", `"final"`, `"entered-in-error"`, "status"},
		{"another resource", `"DiagnosticReport"`, `"Observation"`, "resourceType"},
		{"another category", `"RAD"`, `"LAB"`, "category[0].coding[0].code"},
		{"two categories", `"category":[`, `"category":[{"text":"Radiology"},`, "category[1]"},
		{"a subject that is no patient", `Patient/`, `Group/`, "subject.reference"},
		{"a subject that is not percent-encoded", `Patient/10081007`, `Patient/100%`, "subject.reference"},
		{"a subject with more", `"reference":"Patient/10081007"`, `"reference":"Patient/10081007","display":"Jane"`, "subject.display"},
		{"a date of no calendar", `2006-10-13T`, `2006-02-30T`, "effectiveDateTime"},
		{"an identifier that is no FHIR id", `"value":"790"`, `"value":"7 90"`, "identifier[0].value"},
		{"an identifier of another system", `#AssessmentId`, `#LesionIdentifier`, "identifier[0].system"},
		{"two identifiers", `"identifier":[`, `"identifier":[{"value":"1"},`, "identifier[1]"},
		{"no identifier", `"identifier":[`, `"identifier":[],"x":[`, "identifier"},
		{"a lesion of another case", `"display":"163-790-NT01"`, `"display":"164-790-NT01"`, "result[0].reference"},
		{"a lesion of another case, named alike", `id=163-790-NT01","display":"163-790-NT01"`, `id=164-790-NT01","display":"164-790-NT01"`, "result[0].display"},
		{"a lesion twice", `id=163-790-T02","display":"163-790-T02"`, `id=163-790-T01","display":"163-790-T01"`, "result[3].display"},
		{"a lesion without a name", `"display":"163-790-NT01"`, `"display":"163-790-"`, "result[0].reference"},
		{"no display", `,"display":"163-790-NT01"}`, `}`, "result[0].display"},
		{"a result with more", `"display":"163-790-NT01"`, `"display":"163-790-NT01","type":"Observation"`, "result[0].type"},
		{"another id", `{"resourceType"`, `{"id":"791","resourceType"`, "id"},
		{"an unknown member", `{"resourceType"`, `{"presentedForm":[],"resourceType"`, "presentedForm"},
		{"a member twice", `"status":"final"`, `"status":"final","status":"final"`, "status"},
		{"a member twice, one of them escaped", `"status":"final"`, `"status":"final","st\u0061tus":"final"`, "status"},
		{"a member in another case", `"status":"final"`, `"Status":"final"`, "Status"},
		{"a hostile name", `"status"`, `"\u0000\n` + strings.Repeat("x", 100) + `"`, `"\x00\n` + strings.Repeat("x", 38) + `"`},
		{"an array instead of an object", `{"reference":"Patient/10081007"}`, `["Patient/10081007"]`, "subject"},
		{"an object that is empty", `{"reference":"Patient/10081007"}`, `{}`, "subject"},
		{"a control character", `"Partial Response"`, "\"Partial\nResponse\"", "conclusion"},
		{"an escaped control character", `"FHIR-T"`, `"FHIR\u0007T"`, "extension[0].valueString"},
		{"half of a surrogate pair", `"FHIR-T"`, `"FHIR\ud800T"`, "extension[0].valueString"},
		{"an unknown escape", `"FHIR-T"`, `"FHIR\x"`, "extension[0].valueString"},
		{"a number with a leading zero", `"valueInteger":5`, `"valueInteger":05`, "extension[5].valueInteger"},
		{"a comma too many", `"final",`, `"final",,`, ""},
		{"text behind the end", `"conclusion":"Partial Response"}`, `"conclusion":"Partial Response"} x`, ""},
		{"a second value", `"conclusion":"Partial Response"}`, `"conclusion":"Partial Response"}{}`, ""},
		{"bytes that are not UTF-8", `"FHIR-T"`, "\"FHIR\xff\"", "extension[0].valueString"},
		{"deeply nested arrays", `{"resourceType"`, `{"code":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `,"resourceType"`, "code"},
	} {
		t.Run(c.what, func(t *testing.T) {
			got, err := fhir.ParseReport([]byte(edit(t, example, c.old, c.with)))
			var e *events.Error
			if !errors.As(err, &e) || e.Code != events.Invalid || e.Field != c.field || e.Message == "" {
				t.Fatalf("error %v at %q, want one at %q; got %+v", err, e.Field, c.field, got)
			}
			if diff := cmp.Diff(events.Assessment{}, got); diff != "" {
				t.Errorf("an assessment came with the error: %s", diff)
			}
		})
	}
}

func TestAReportCutOffAnywhereIsRefused(t *testing.T) {
	example := compactExample(t)
	for i := range len(example) {
		if _, err := fhir.ParseReport([]byte(example[:i])); events.CodeOf(err) != events.Invalid {
			t.Fatalf("%d bytes of it: %v", i, err)
		}
	}
	if _, err := fhir.ParseReport([]byte(example)); err != nil {
		t.Fatal(err)
	}
}

func TestWhatSignOffAddsIsAcceptedAndIgnored(t *testing.T) {
	report := fullReport()
	report.Assessment.TrialName = "étude sept" // valid input
	encoded, err := report.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := fhir.ParseReport(encoded)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(withLesionIDsOnly(report).Assessment, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAReportWithoutAValueIsNotEvaluable(t *testing.T) {
	text := compactExample(t)
	text = edit(t, text, current+unit, "")
	for _, change := range []string{`"-12.0 mm"`, `"-42.3 mm"`, `"-12.0 mm"`} {
		text = edit(t, text, change, `"--"`)
	}
	got, err := fhir.ParseReport([]byte(text))
	if err != nil || got.Measurement != nil {
		t.Errorf("%+v, %v", got.Measurement, err)
	}
}

func TestExtensionsMayComeInAnyOrder(t *testing.T) {
	text := compactExample(t)
	name := `{` + at + `#Name","valueString":"Follow-up 2"},`
	first := `{` + at + `#IDB.Protocol","valueString":"FHIR-T"},`
	text = edit(t, edit(t, text, name, ""), first, name+`{"valueString":"FHIR-T",`+at+`#IDB.Protocol"},`)
	got, err := fhir.ParseReport([]byte(text))
	want, _ := fhir.ParseReport(exampleResources(t)[0])
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestStudyIDsAreNormalised(t *testing.T) {
	text := strings.ReplaceAll(compactExample(t), "FHIR-T", "e\\u0301tude")
	got, err := fhir.ParseReport([]byte(text))
	if err != nil || got.Study != "\u00e9tude" || got.TrialName != "e\u0301tude" {
		t.Errorf("study %q, trial %q, %v", got.Study, got.TrialName, err)
	}
}
