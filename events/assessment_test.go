package events_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
)

const sampleAssessment = `{"id":"790","study":"FHIR-T","sponsorStudy":"C3861001","trialName":"FHIR-T","criteria":"RECIST 1.1",
 "case":{"id":163,"revision":5},"revision":1,"revisionDate":"2006-10-20","name":"Follow-up 2","timepoint":2,"subject":"10081007",
 "effective":"2006-10-13T09:31:24",
 "measurement":{"type":"targetsum","value":37.60,"unit":"mm","changeFromPrevious":"-12.0 mm","changeFromBaseline":"-42.3 mm","changeFromNadir":"--"},
 "lesions":[{"id":"T01","category":"Target","organ":"Lung","state":"Present","value":1E2,"unit":"mm","modality":"CT","label":"Long axis",
   "seriesNumber":0,"seriesDescription":"Standard 5mm","instanceNumber":26,"changeFromPrevious":"--","changeFromBaseline":"+3.5 mm","changeFromNadir":"0 mm"},
  {"id":"NT01"}],
 "conclusion":"Partial Response"}`

// sample decodes the sample and changes it.
func sample(t *testing.T, change func(a *events.Assessment)) events.Assessment {
	t.Helper()
	var a events.Assessment
	if err := json.Unmarshal([]byte(sampleAssessment), &a); err != nil {
		t.Fatal(err)
	}
	change(&a)
	return a
}

func TestAnAssessmentComesBackAsItWas(t *testing.T) {
	a := sample(t, func(*events.Assessment) {})
	if err := a.Validate(); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	for _, exact := range []string{`"value":37.60,`, `"value":1E2,`, `"seriesNumber":0,`, `{"id":"NT01"}`} {
		if !strings.Contains(string(out), exact) {
			t.Errorf("%s is not in %s", exact, out)
		}
	}
	var back events.Assessment
	if err := json.Unmarshal(out, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(a, back); diff != "" {
		t.Errorf("-written +read:\n%s", diff)
	}
}

func TestValidAssessments(t *testing.T) {
	for name, change := range map[string]func(a *events.Assessment){
		"a baseline":                 func(a *events.Assessment) { a.Name, a.Timepoint = events.Baseline, 0 },
		"the last follow-up":         func(a *events.Assessment) { a.Name, a.Timepoint = "Follow-up 25", math.MaxInt32 },
		"not evaluable":              func(a *events.Assessment) { a.Measurement = nil },
		"no lesions":                 func(a *events.Assessment) { a.Lesions = nil },
		"no revision date":           func(a *events.Assessment) { a.RevisionDate = "" },
		"a month as date":            func(a *events.Assessment) { a.Effective = "2014-01" },
		"an id of 64 characters":     func(a *events.Assessment) { a.ID = strings.Repeat("a", 64) },
		"a value of zero":            func(a *events.Assessment) { a.Measurement.Value = "0" },
		"text beyond ASCII":          func(a *events.Assessment) { a.Subject, a.Lesions[0].Organ = "研-7", "Leber, Segment Ⅳ" },
		"a change without sign":      func(a *events.Assessment) { a.Measurement.ChangeFromNadir = "12 mm" },
		"200 characters of 4 bytes":  func(a *events.Assessment) { a.TrialName = strings.Repeat("🫁", 200) },
		"a question mark in a label": func(a *events.Assessment) { a.Lesions[0].Label = "Long ? short axis" },
	} {
		t.Run(name, func(t *testing.T) {
			if err := sample(t, change).Validate(); err != nil {
				t.Error(err)
			}
		})
	}
}

// invalid are changes of the sample by the field that the error must name.
var invalid = []struct {
	field, what string
	change      func(a *events.Assessment)
}{
	{"id", "missing", func(a *events.Assessment) { a.ID = "" }},
	{"id", "underscore", func(a *events.Assessment) { a.ID = "a_b" }},
	{"id", "slash", func(a *events.Assessment) { a.ID = "a/b" }},
	{"id", "line feed at the end", func(a *events.Assessment) { a.ID = "790\n" }},
	{"id", "65 characters", func(a *events.Assessment) { a.ID = strings.Repeat("a", 65) }},
	{"study", "missing", func(a *events.Assessment) { a.Study = "" }},
	{"study", "internal", func(a *events.Assessment) { a.Study = events.AccessStudy }},
	{"study", "decomposed", func(a *events.Assessment) { a.Study = "u\u0308" }},
	{"sponsorStudy", "missing", func(a *events.Assessment) { a.SponsorStudy = "" }},
	{"sponsorStudy", "201 characters", func(a *events.Assessment) { a.SponsorStudy = strings.Repeat("a", 201) }},
	{"trialName", "not UTF-8", func(a *events.Assessment) { a.TrialName = "a\xff" }},
	{"subject", "a control character", func(a *events.Assessment) { a.Subject = "1\x002" }},
	{"subject", "a space at the end", func(a *events.Assessment) { a.Subject = "1 " }},
	{"subject", "a space only", func(a *events.Assessment) { a.Subject = " " }},
	{"case.id", "zero", func(a *events.Assessment) { a.Case.ID = 0 }},
	{"case.revision", "negative", func(a *events.Assessment) { a.Case.Revision = -1 }},
	{"revision", "zero", func(a *events.Assessment) { a.Revision = 0 }},
	{"criteria", "others", func(a *events.Assessment) { a.Criteria = "RECIST 1.0" }},
	{"name", "beyond the last", func(a *events.Assessment) { a.Name = "Follow-up 26" }},
	{"name", "zero", func(a *events.Assessment) { a.Name = "Follow-up 0" }},
	{"name", "a leading zero", func(a *events.Assessment) { a.Name = "Follow-up 02" }},
	{"name", "a sign", func(a *events.Assessment) { a.Name = "Follow-up +2" }},
	{"name", "lower case", func(a *events.Assessment) { a.Name, a.Timepoint = "baseline", 0 }},
	{"timepoint", "negative", func(a *events.Assessment) { a.Timepoint = -1 }},
	{"timepoint", "zero beside a follow-up", func(a *events.Assessment) { a.Timepoint = 0 }},
	{"timepoint", "not zero beside the baseline", func(a *events.Assessment) { a.Name = events.Baseline }},
	{"effective", "missing", func(a *events.Assessment) { a.Effective = "" }},
	{"effective", "no such day", func(a *events.Assessment) { a.Effective = "2014-02-30" }},
	{"effective", "no seconds", func(a *events.Assessment) { a.Effective = "2014-02-03T10:11" }},
	{"revisionDate", "another order", func(a *events.Assessment) { a.RevisionDate = "20/10/2006" }},
	{"conclusion", "missing", func(a *events.Assessment) { a.Conclusion = "" }},
	{"conclusion", "abbreviated", func(a *events.Assessment) { a.Conclusion = "PR" }},
	{"measurement.type", "another", func(a *events.Assessment) { a.Measurement.Type = "volume" }},
	{"measurement.value", "missing", func(a *events.Assessment) { a.Measurement.Value = "" }},
	{"measurement.value", "too large", func(a *events.Assessment) { a.Measurement.Value = "1e9999" }},
	{"measurement.unit", "another", func(a *events.Assessment) { a.Measurement.Unit = "cm" }},
	{"measurement.unit", "missing", func(a *events.Assessment) { a.Measurement.Unit = "" }},
	{"measurement.changeFromPrevious", "missing", func(a *events.Assessment) { a.Measurement.ChangeFromPrevious = "" }},
	{"measurement.changeFromBaseline", "a per cent", func(a *events.Assessment) { a.Measurement.ChangeFromBaseline = "12 %" }},
	{"measurement.changeFromNadir", "no space", func(a *events.Assessment) { a.Measurement.ChangeFromNadir = "12mm" }},
	{"lesions", "too many", func(a *events.Assessment) { a.Lesions = make([]events.Lesion, 501) }},
	{"lesions[1].id", "missing", func(a *events.Assessment) { a.Lesions[1].ID = "" }},
	{"lesions[1].id", "twice", func(a *events.Assessment) { a.Lesions[1].ID = "T01" }},
	{"lesions[0].category", "lower case", func(a *events.Assessment) { a.Lesions[0].Category = "target" }},
	{"lesions[0].state", "unknown", func(a *events.Assessment) { a.Lesions[0].State = "Gone" }},
	{"lesions[0].modality", "unknown", func(a *events.Assessment) { a.Lesions[0].Modality = "US" }},
	{"lesions[0].label", "unknown", func(a *events.Assessment) { a.Lesions[0].Label = "Axis" }},
	{"lesions[0].organ", "a tab", func(a *events.Assessment) { a.Lesions[0].Organ = "a\tb" }},
	{"lesions[0].seriesDescription", "too long", func(a *events.Assessment) { a.Lesions[0].SeriesDescription = strings.Repeat("a", 201) }},
	{"lesions[0].seriesNumber", "negative", func(a *events.Assessment) { *a.Lesions[0].SeriesNumber = -1 }},
	{"lesions[0].instanceNumber", "negative", func(a *events.Assessment) { *a.Lesions[0].InstanceNumber = -1 }},
	{"lesions[0].value", "missing beside a unit", func(a *events.Assessment) { a.Lesions[0].Value = "" }},
	{"lesions[0].unit", "missing beside a value", func(a *events.Assessment) { a.Lesions[0].Unit = "" }},
	{"lesions[0].changeFromNadir", "no unit", func(a *events.Assessment) { a.Lesions[0].ChangeFromNadir = "1.0" }},
}

func TestInvalidAssessmentsNameTheField(t *testing.T) {
	for _, c := range invalid {
		t.Run(c.field+" "+c.what, func(t *testing.T) {
			err := sample(t, c.change).Validate()
			var refusal *events.Error
			if !errors.As(err, &refusal) || refusal.Code != events.Invalid || refusal.Field != c.field {
				t.Errorf("got %v, want an Invalid error with the field %s", err, c.field)
			}
		})
	}
}

func TestARefusalQuotesLittleOfALongValue(t *testing.T) {
	for _, change := range []func(a *events.Assessment, long string){
		func(a *events.Assessment, long string) { a.ID = long },
		func(a *events.Assessment, long string) { a.Name = long },
		func(a *events.Assessment, long string) { a.Conclusion = long },
		func(a *events.Assessment, long string) { a.Measurement.ChangeFromNadir = long },
		func(a *events.Assessment, long string) { a.Effective = long },
	} {
		err := sample(t, func(a *events.Assessment) { change(a, strings.Repeat("ä", 1<<20)) }).Validate()
		if err == nil || len(err.Error()) > 1000 {
			t.Errorf("got %.100v … of %d bytes", err, len(fmt.Sprint(err)))
		}
	}
}

func TestVersionsAreOrderedAsPairs(t *testing.T) {
	ordered := []events.Version{{1, 1}, {1, 2}, {2, 1}, {2, 3}, {10, 1}}
	for i, a := range ordered {
		for j, b := range ordered {
			if a.Less(b) != (i < j) {
				t.Errorf("(%v).Less(%v) is %t", a, b, a.Less(b))
			}
		}
	}
	if got := sample(t, func(*events.Assessment) {}).Version(); got != (events.Version{CaseRevision: 5, Revision: 1}) {
		t.Errorf("the sample's version is %v", got)
	}
}
