package intake_test

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/seed-e88a4ece/signoff/events"
)

// schema compiles the JSON Schema of a record.
func schema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	const name = "assessment.schema.json"
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	content, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource(name, content); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// validate returns what the schema has against a JSON text.
func validate(s *jsonschema.Schema, text []byte) error {
	content, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	return s.Validate(content)
}

func readme(t testing.TB) string {
	t.Helper()
	data, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestRecordsThatAreTakenAreValidBySchema(t *testing.T) {
	s := schema(t)
	_, example, _ := strings.Cut(readme(t), "```json\n")
	example, _, _ = strings.Cut(example, "```")
	texts := []string{good, example, oneLine("a.b-C"), strings.NewReplacer(`"Lung"`, "\"Left\u00a0lung\"", "37.6", "1E-18", "2006-10-20", "2006").Replace(good)}
	for _, name := range append([]string{events.Baseline}, events.FollowUp(1), events.FollowUp(25)) {
		timepoint := "7"
		if name == events.Baseline {
			timepoint = "0"
		}
		texts = append(texts, strings.NewReplacer(`"Follow-up 2"`, `"`+name+`"`, `"timepoint": 2`, `"timepoint": `+timepoint).Replace(good))
	}
	for _, words := range [][2]any{
		{"Partial Response", events.Conclusions}, {`"Target"`, events.LesionCategories}, {`"Present"`, events.LesionStates},
		{`"CT"`, events.LesionModalities}, {`"Long axis"`, events.LesionLabels},
	} {
		for _, word := range words[1].([]string) {
			old := strings.Trim(words[0].(string), `"`)
			texts = append(texts, strings.Replace(good, `"`+old+`"`, `"`+word+`"`, 1))
		}
	}
	for _, date := range []string{"2006-10", "2006-10-13T09:31:24Z", "2006-10-13T09:31:24.123456789+14:00"} {
		texts = append(texts, strings.Replace(good, "2006-10-13T09:31:24", date, 1))
	}
	for _, change := range []string{"--", "1 mm", "+123456789012345678.123456789012345678 mm"} {
		texts = append(texts, strings.Replace(good, "-42.3 mm", change, 1))
	}
	texts = append(texts, strings.Replace(good, `"study": "FHIR-T"`, `"study": "`+strings.Repeat("e\u0301", 150)+`"`, 1))
	for _, text := range texts {
		if got := results(read(t, "a.json", text)); len(got) != 1 || strings.Contains(got[0], ": ") {
			t.Errorf("refused: %v", got)
		}
		if err := validate(s, []byte(text)); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
	}
}

func TestWhatTheSchemaRefusesIsRefused(t *testing.T) {
	s := schema(t)
	refused := 0
	for _, change := range [][2]string{
		{`"RECIST 1.1"`, `"RANO"`}, {"Follow-up 2", "Follow-up 26"}, {"Follow-up 2", "Baseline"}, {`"timepoint": 2`, `"timepoint": 0`}, {"Partial Response", "Better"},
		{"37.6", "-1"}, {"37.6", `"37.6"`}, {`"id": 163`, `"id": 0`}, {`"id": 163`, `"id": 2147483648`}, {`"10081007"`, "null"}, {`"Lung"`, `""`},
		{`"effective"`, `"visit": 1, "effective"`}, {`"Disappeared"`, `"Gone"`}, {`1E1, "unit": "mm"`, "1E1"}, {`"value": 1E1, `, ""}, {"2006-10-13T09:31:24", "2006-10-13T09:31"},
		{`"790"`, `"7 90"`}, {`"study": "FHIR-T"`, `"study": "_x"`}, {"-42.3 mm", "-42.3"}, {`"revision": 1,`, `"revision": 1.5,`}, {`"trialName": "FHIR-T",`, ""},
		{"10081007", strings.Repeat("x", 201)}, {`"seriesNumber": 2`, `"seriesNumber": -2`},
	} {
		text := strings.Replace(good, change[0], change[1], 1)
		if text == good || validate(s, []byte(text)) == nil {
			t.Errorf("the schema takes %s", change)
		}
		for _, r := range read(t, "a.json", text) {
			if r.Err != nil {
				refused++
			}
		}
	}
	if refused != 23 {
		t.Errorf("%d are refused", refused)
	}
}

func TestTheREADMEAndTheSchemaNameEveryField(t *testing.T) {
	var content struct {
		Properties map[string]struct{ Properties map[string]any }
		Defs       struct {
			Lesion struct{ Properties map[string]any }
		} `json:"$defs"`
	}
	data, err := os.ReadFile("assessment.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &content); err != nil {
		t.Fatal(err)
	}
	var inSchema []string
	for name, p := range content.Properties {
		if name != "case" {
			inSchema = append(inSchema, name)
		}
		for inner := range p.Properties {
			inSchema = append(inSchema, name+"."+inner)
		}
	}
	for name := range content.Defs.Lesion.Properties {
		inSchema = append(inSchema, "lesions[]."+name)
	}
	text := readme(t)
	start, end := strings.Index(text, "| field | required |"), strings.Index(text, "- *text*")
	var inREADME []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(text[start:end], -1) {
		inREADME = append(inREADME, row[1])
	}
	slices.Sort(inSchema)
	slices.Sort(inREADME)
	if diff := cmp.Diff(inSchema, inREADME); diff != "" {
		t.Error(diff)
	}
	var fields map[string]any // of the program
	full := goodAssessment()
	encoded, err := json.Marshal(full)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(encoded, &fields); err != nil {
		t.Fatal(err)
	}
	if len(fields) != len(content.Properties) {
		t.Errorf("%d fields, %d in the schema", len(fields), len(content.Properties))
	}
}
