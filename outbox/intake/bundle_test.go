package intake_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir"
)

// seed is the Bundle of the API's own documentation.
func seed(t testing.TB) string {
	t.Helper()
	data, err := os.ReadFile("testdata/seed-bundle.json")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// resources returns the report of an assessment and its Observations as the
// program itself writes them.
func resources(t testing.TB, a events.Assessment) (report string, observations []string) {
	t.Helper()
	r := fhir.Report{Assessment: a, Version: 1, LastUpdated: time.Unix(0, 0), Signature: events.Signature{
		User: "u", Name: "A. N. Other", Meaning: "approved", Time: time.Unix(0, 0)}}
	data, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := r.EncodeObservations()
	if err != nil {
		t.Fatal(err)
	}
	var b struct {
		Entry []struct{ Resource json.RawMessage }
	}
	if err := json.Unmarshal(bundle, &b); err != nil {
		t.Fatal(err)
	}
	for _, e := range b.Entry {
		observations = append(observations, string(e.Resource))
	}
	return string(data), observations
}

// bundleOf puts resources into a Bundle, each on a line, the first in line 2.
func bundleOf(resources ...string) string {
	entries := make([]string, len(resources))
	for i, r := range resources {
		entries[i] = "\n" + `{"resource":` + r + `}`
	}
	return `{"resourceType":"Bundle","type":"collection","entry":[` + strings.Join(entries, ",") + "\n]}"
}

func TestTheExampleOfTheDocumentationIsRead(t *testing.T) {
	lesions := []events.Lesion{{ID: "NT01"}, {ID: "NT01a"}, {ID: "T01"}, {ID: "T02"}}
	first := events.Assessment{
		ID: "790", Study: "FHIR-T", SponsorStudy: "C3861001", TrialName: "FHIR-T", Criteria: "RECIST 1.1",
		Case: events.Case{ID: 163, Revision: 5}, Revision: 1, Name: "Follow-up 2", Timepoint: 2,
		Subject: "10081007", Effective: "2006-10-13T09:31:24", Conclusion: "Partial Response", Lesions: lesions,
		Measurement: &events.Measurement{Type: "targetsum", Value: "37.6", Unit: "mm",
			ChangeFromPrevious: "-12.0 mm", ChangeFromBaseline: "-42.3 mm", ChangeFromNadir: "-12.0 mm"},
	}
	second := first
	second.ID, second.Revision, second.Name, second.Timepoint, second.Effective, second.Conclusion = "792", 2, "Baseline", 0, "2006-05-02T11:09:13", "No"
	second.Measurement = &events.Measurement{Type: "targetsum", Value: "79.9", Unit: "mm",
		ChangeFromPrevious: "--", ChangeFromBaseline: "0.0 mm", ChangeFromNadir: "--"}

	var got []events.Assessment
	for _, r := range read(t, "bundle.json", seed(t)) {
		got = append(got, r.Submission.Assessment)
	}
	if diff := cmp.Diff([]events.Assessment{first, second}, got); diff != "" {
		t.Error(diff)
	}
}

func TestMalformedTwinsOfTheExample(t *testing.T) {
	for _, c := range []struct{ name, from, to string }{
		{"bundle.json:63: entry[0].resource.extension[7].valueString", `"Follow-up 2"`, `"Follow-up 26"`},
		{"bundle.json:75: entry[0].resource.extension[10].valueDecimal", "37.6", "1e9999"},
		{"bundle.json:51: entry[0].resource.extension[4].valueString", "RECIST 1.1", "RANO"},
		{"bundle.json:135: entry[0].resource.conclusion", "Partial Response", "Better"},
		{"bundle.json:114: entry[0].resource.subject.reference", "Patient/10081007", "Patient/\xff"},
		{"bundle.json:31: entry[0].resource.resourceType", `"DiagnosticReport"`, `"Patient"`},
		{"bundle.json:28: entry[0].resource", `"resource": {`, `"content": {`},
		{"bundle.json:100: entry[0].resource.status", `"final"`, `"preliminary"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			records := read(t, "bundle.json", strings.Replace(seed(t), c.from, c.to, 1))
			if got := refusals(records); len(got) != 1 || got[0] != c.name {
				t.Errorf("got  %v\nwant %s", results(records), c.name)
			}
			if len(records) != 2 || records[1].Submission.Assessment.ID != "792" {
				t.Errorf("the other report is not handed on: %v", results(records))
			}
		})
	}
	t.Run("truncated, the Bundle is refused whole", func(t *testing.T) {
		whole := seed(t)
		got := results(read(t, "bundle.json", whole[:strings.LastIndex(whole, "conclusion")]))
		if diff := cmp.Diff([]string{"bundle.json:245: entry: the file ends in the middle"}, got); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("with the same report twice", func(t *testing.T) {
		report, _ := resources(t, goodAssessment())
		got := refusals(read(t, "bundle.json", bundleOf(report, report)))
		if diff := cmp.Diff([]string{"bundle.json:3: entry[1].resource.identifier[0].value"}, got); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("with an Observation that is not even JSON", func(t *testing.T) {
		report, obs := resources(t, goodAssessment())
		got := refusals(read(t, "bundle.json", bundleOf(report, obs[0], strings.Replace(obs[1], "T02", "T\xff", 1))))
		if len(got) != 2 || got[1] != "bundle.json:2: entry[0].resource.result[1]" {
			t.Error(got)
		}
	})
}

func TestObservationsFillTheLesions(t *testing.T) {
	a := goodAssessment()
	report, obs := resources(t, a)
	bare := a
	bare.Lesions = []events.Lesion{{ID: "T01"}, {ID: "T02"}}
	other := a
	other.ID = "791"
	otherReport, otherObs := resources(t, other)

	t.Run("wherever they stand", func(t *testing.T) {
		for _, order := range [][]string{{report, obs[0], obs[1]}, {obs[1], report, obs[0]}, {obs[0], obs[1], report}} {
			records := read(t, "b.json", bundleOf(order...))
			if len(records) != 1 || records[0].Err != nil {
				t.Fatal(results(records))
			}
			if diff := cmp.Diff(a, records[0].Submission.Assessment); diff != "" {
				t.Error(diff)
			}
		}
	})
	t.Run("a report without them, alone or one a line, has its lesions by name", func(t *testing.T) {
		for _, name := range []string{"r.json", "r.ndjson"} {
			records := read(t, name, report)
			if diff := cmp.Diff(bare, records[0].Submission.Assessment); diff != "" {
				t.Error(diff)
			}
		}
	})
	for _, c := range []struct {
		name string
		text string
		want []string
	}{
		{
			"one that is refused takes its report with it, not the others",
			bundleOf(report, obs[0], strings.Replace(obs[1], "Disappeared", "Gone", 1), otherReport, otherObs[0], otherObs[1]),
			[]string{
				"b.json:4: entry[2].resource.extension[2].valueString",
				"b.json:2: entry[0].resource.result[1]",
			},
		},
		{
			"one that comes twice",
			bundleOf(report, obs[0], obs[1], obs[1], otherReport, otherObs[0], otherObs[1]),
			[]string{"b.json:2: entry[0].resource", "b.json:5: entry[3].resource.identifier[0].value"},
		},
		{
			"one of another subject",
			bundleOf(report, obs[0], strings.Replace(obs[1], "10081007", "10081008", 1), otherReport, otherObs[0], otherObs[1]),
			[]string{"b.json:4: entry[2].resource.subject.reference", "b.json:2: entry[0].resource"},
		},
		{
			"one of no report in the Bundle",
			bundleOf(otherReport, otherObs[0], otherObs[1], obs[0]),
			[]string{"b.json:5: entry[3].resource.identifier[0].value"},
		},
		{
			"one alone",
			obs[0],
			[]string{"b.json:1: resourceType"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			records := read(t, "b.json", c.text)
			if diff := cmp.Diff(c.want, refusals(records)); diff != "" {
				t.Error(diff, results(records))
			}
			if c.text == obs[0] {
				return
			}
			last := records[len(records)-1]
			if diff := cmp.Diff(other, last.Submission.Assessment); diff != "" {
				t.Error(results(records), diff)
			}
		})
	}
}

func TestEnvelopesOfBundles(t *testing.T) {
	report, _ := resources(t, goodAssessment())
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"a Bundle of another type", strings.Replace(bundleOf(report), "collection", "transaction", 1), []string{"b.json:1: type: a Bundle of type transaction cannot be imported; searchset and collection can"}},
		{"a member twice", strings.Replace(bundleOf(report), `"type"`, `"resourceType":"Bundle","type"`, 1), []string{"b.json:1: resourceType: is there twice, first in line 1"}},
		{"entries that are no array", `{"resourceType":"Bundle","entry":{}}`, []string{`b.json:1: entry: found "{" instead of one of "["; the rest of the file is not read`}},
		{"an entry that is no object", `{"resourceType":"Bundle","entry":[1]}`, []string{"b.json:1: entry[0].resource: is missing"}},
		{"a resource of no type", `{"resourceType":"Bundle","entry":[` + "\n" + `{"resource":{}}]}`, []string{"b.json:2: entry[0].resource.resourceType: is missing"}},
		{"no entry", `{"resourceType":"Bundle","type":"searchset","total":0}`, nil},
		{"a type that is none", `{"resourceType":"Bundles"}`, []string{"b.json:1: resourceType: Bundles cannot be imported; a DiagnosticReport can, and in a Bundle the Observations of its lesions"}},
		{"the type behind the entries", strings.Replace(strings.Replace(bundleOf(report), `"resourceType":"Bundle",`, "", 1), "\n]", `],"resourceType":"Bundle"`, 1), []string{"b.json:2 790"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, results(read(t, "b.json", c.text))); diff != "" {
				t.Error(diff)
			}
		})
	}
}
