package intake_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/intake"
)

// good is a complete record, a member a line. The first member is in line 2.
const good = `{
 "id": "790",
 "study": "FHIR-T",
 "sponsorStudy": "C3861001",
 "trialName": "FHIR-T",
 "criteria": "RECIST 1.1",
 "case": {"id": 163, "revision": 5},
 "revision": 1,
 "revisionDate": "2006-10-20",
 "name": "Follow-up 2",
 "timepoint": 2,
 "subject": "10081007",
 "effective": "2006-10-13T09:31:24",
 "measurement": {
  "type": "targetsum",
  "value": 37.6,
  "unit": "mm",
  "changeFromPrevious": "-12.0 mm",
  "changeFromBaseline": "-42.3 mm",
  "changeFromNadir": "-12.0 mm"},
 "lesions": [
  {"id": "T01", "category": "Target", "organ": "Lung", "state": "Present", "value": 1E1, "unit": "mm",
   "modality": "CT", "label": "Long axis", "seriesNumber": 2, "seriesDescription": "Standard 5mm", "instanceNumber": 26,
   "changeFromPrevious": "--", "changeFromBaseline": "--", "changeFromNadir": "--"},
  {"id": "T02",
   "state": "Disappeared"}],
 "conclusion": "Partial Response"
}`

func ptr(n int32) *int32 { return &n }

// goodAssessment returns the assessment in good.
func goodAssessment() events.Assessment {
	return events.Assessment{
		ID: "790", Study: "FHIR-T", SponsorStudy: "C3861001", TrialName: "FHIR-T", Criteria: "RECIST 1.1",
		Case: events.Case{ID: 163, Revision: 5}, Revision: 1, RevisionDate: "2006-10-20", Name: "Follow-up 2", Timepoint: 2,
		Subject: "10081007", Effective: "2006-10-13T09:31:24", Conclusion: "Partial Response",
		Measurement: &events.Measurement{Type: "targetsum", Value: "37.6", Unit: "mm",
			ChangeFromPrevious: "-12.0 mm", ChangeFromBaseline: "-42.3 mm", ChangeFromNadir: "-12.0 mm"},
		Lesions: []events.Lesion{
			{ID: "T01", Category: "Target", Organ: "Lung", State: "Present", Value: "1E1", Unit: "mm", Modality: "CT", Label: "Long axis",
				SeriesNumber: ptr(2), SeriesDescription: "Standard 5mm", InstanceNumber: ptr(26),
				ChangeFromPrevious: "--", ChangeFromBaseline: "--", ChangeFromNadir: "--"},
			{ID: "T02", State: "Disappeared"},
		},
	}
}

// oneLine is good on one line, with another id.
func oneLine(id string) string {
	return strings.ReplaceAll(strings.Replace(good, `"790"`, `"`+id+`"`, 1), "\n", "")
}

// collect returns an emit function and the records that it is called with.
func collect() (func(intake.Record) error, *[]intake.Record) {
	var records []intake.Record
	return func(r intake.Record) error {
		records = append(records, r)
		return nil
	}, &records
}

// read reads a text as the file of that name.
func read(t testing.TB, name, text string) []intake.Record {
	t.Helper()
	emit, records := collect()
	if err := intake.ReadFrom(t.Context(), strings.NewReader(text), name, emit); err != nil {
		t.Fatal(err)
	}
	return *records
}

// results returns each record as its id, or its refusal as it would be printed.
func results(records []intake.Record) []string {
	var out []string
	for _, r := range records {
		if r.Err != nil {
			out = append(out, r.Place()+": "+r.Err.Error())
		} else {
			out = append(out, r.Place()+" "+r.Submission.Assessment.ID)
		}
	}
	return out
}

// refusals returns the refusals as file:line: field.
func refusals(records []intake.Record) []string {
	var out []string
	for _, r := range records {
		if r.Err != nil {
			out = append(out, r.Place()+": "+r.Err.Field)
		}
	}
	return out
}

func TestAGoodRecordIsReadToTheLastDigit(t *testing.T) {
	for name, text := range map[string]string{
		"alone":                       good,
		"in an array":                 "[" + good + "]",
		"behind a byte order mark":    "\ufeff" + good,
		"with CR LF":                  strings.ReplaceAll(good, "\n", "\r\n"),
		"with escapes":                strings.Replace(good, `"FHIR-T"`, `"\u0046HIR\u002dT"`, 2),
		"with white space on the end": good + " \n\t\n",
	} {
		t.Run(name, func(t *testing.T) {
			records := read(t, "a.json", text)
			if len(records) != 1 || records[0].Err != nil {
				t.Fatalf("%v", results(records))
			}
			if diff := cmp.Diff(goodAssessment(), records[0].Submission.Assessment); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("with no more than is required", func(t *testing.T) {
		text := good
		for _, optional := range []string{`"revisionDate"`, `"measurement"`, `"lesions"`} {
			start := strings.Index(text, optional)
			end := start + strings.Index(text[start:], map[string]string{
				`"revisionDate"`: "\"name\"", `"measurement"`: "\"lesions\"", `"lesions"`: "\"conclusion\""}[optional])
			text = text[:start] + text[end:]
		}
		want := goodAssessment()
		want.RevisionDate, want.Measurement, want.Lesions = "", nil, nil
		records := read(t, "a.json", text)
		if diff := cmp.Diff(want, records[0].Submission.Assessment); diff != "" {
			t.Error(results(records), diff)
		}
	})
	t.Run("with the study number in normal form C", func(t *testing.T) {
		records := read(t, "a.json", strings.Replace(good, `"study": "FHIR-T"`, `"study": "e\u0301"`, 1))
		if got := records[0].Submission.Assessment.Study; got != "\u00e9" {
			t.Errorf("%q", got)
		}
	})
}

func TestMalformedRecordsAreRefusedWithLineAndField(t *testing.T) {
	for _, c := range []struct{ name, from, to, want string }{
		{"other criteria", `"RECIST 1.1"`, `"RANO"`, `a.json:6: criteria: "RANO" is not one of "RECIST 1.1"`},
		{"Follow-up 26", "Follow-up 2", "Follow-up 26", `a.json:10: name: "Follow-up 26" is neither Baseline nor Follow-up 1 to Follow-up 25`},
		{"unknown conclusion", "Partial Response", "Better", `a.json:27: conclusion: "Better" is not one of `},
		{"a decimal beyond all bounds", "37.6", "1e9999", "a.json:16: measurement.value: has an exponent beyond ±18"},
		{"a decimal of too many digits", "37.6", "37.60000000000000000000", "a.json:16: measurement.value: has 22 digits; at most 18 are allowed"},
		{"a negative value", "37.6", "-1", "a.json:16: measurement.value: must be a JSON number that is not negative"},
		{"a value as a string", "37.6", `"37.6"`, "a.json:16: measurement.value: must be a number, not a string"},
		{"a fraction for an integer", `"revision": 1,`, `"revision": 1.5,`, "a.json:8: revision: 1.5 is not an integer of at most 2147483647"},
		{"an exponent for an integer", `"timepoint": 2`, `"timepoint": 2e0`, "a.json:11: timepoint: 2e0 is not an integer of at most 2147483647"},
		{"an integer too large", `"id": 163`, `"id": 2147483648`, "a.json:7: case.id: 2147483648 is not an integer of at most 2147483647"},
		{"a null", `"subject": "10081007"`, `"subject": null`, "a.json:12: subject: must be a string, not null; leave out what has no value"},
		{"an empty text", `"Lung"`, `""`, "a.json:22: lesions[0].organ: is empty"},
		{"an unknown member", `"effective"`, `"visit": 1, "effective"`, "a.json:13: visit: unknown member; remove it"},
		{"a member in wrong case", `"effective"`, `"Effective"`, "a.json:13: Effective: unknown member; write effective"},
		{"an unknown member of a lesion", `"state": "Disappeared"`, `"status": "Disappeared"`, "a.json:26: lesions[1].status: unknown member; remove it"},
		{"a member twice", `"subject": "10081007"`, `"subject": "10081007", "study": "X"`, "a.json:12: study: is there twice, first in line 3"},
		{"a member twice by an escape", `"label"`, `"stat\u0065"`, "a.json:23: lesions[0].state: is there twice, first in line 22"},
		{"a missing member", `"trialName": "FHIR-T",`, "", "a.json:1: trialName: is missing"},
		{"a missing member of the case", `, "revision": 5`, "", "a.json:7: case.revision: is missing"},
		{"a missing member of the measurement", ` "unit": "mm",` + "\n  \"changeFromP", "\n  \"changeFromP", "a.json:14: measurement.unit: is missing"},
		{"a state that is unknown", "Disappeared", "Gone", `a.json:26: lesions[1].state: "Gone" is not one of `},
		{"a lesion twice", `"id": "T02"`, `"id": "T01"`, `a.json:25: lesions[1].id: "T01" is there twice`},
		{"a value without a unit", `1E1, "unit": "mm"`, "1E1", `a.json:22: lesions[0].unit: `},
		{"another type for an object", `{"id": 163, "revision": 5}`, "163", "a.json:7: case: must be an object, not a number"},
		{"another type for a lesion", `"lesions": [`, `"lesions": ["T01",`, "a.json:21: lesions[0]: must be an object, not a string"},
		{"invalid UTF-8", "10081007", "1008\xff", "a.json:12: subject: is not valid JSON: invalid UTF-8"},
		{"half a surrogate pair", "10081007", `\ud800`, "a.json:12: subject: is not valid JSON: invalid surrogate pair"},
		{"a control character", "10081007", "1008\x01", `a.json:12: subject: is not valid JSON: invalid character '\x01' in string`},
		{"an escaped control character", "10081007", `1008\u0007`, "a.json:12: subject: has a control character"},
		{"an unknown escape", "10081007", `\x41`, "a.json:12: subject: is not valid JSON: invalid escape sequence `\\x`"},
		{"a number with a leading zero", "37.6", "037.6", "a.json:16: measurement.value: is not valid JSON: invalid character '3' after 0"},
		{"a word that is no value", "37.6", "NaN", "a.json:16: measurement.value: is not valid JSON: invalid character 'N' at start of value"},
		{"a comma too many", `"Partial Response"`, `"Partial Response",`, "a.json:28: is not valid JSON: invalid character '}' after a comma"},
		{"a comma missing", `"FHIR-T",` + "\n" + ` "criteria"`, `"FHIR-T"` + "\n" + ` "criteria"`, "a.json:6: is not valid JSON: invalid character '\"' after object value"},
		{"a study number that starts with an underscore", `"study": "FHIR-T"`, `"study": "_access"`, "a.json:3: study: must not start with an underscore"},
		{"a date of no calendar", "2006-10-13T", "2006-02-30T", "a.json:13: effective: is no date of the calendar"},
		{"a FHIR resource of another type", `"id": "790"`, `"resourceType": "Patient", "id": "790"`, "a.json:2: resourceType: Patient cannot be imported"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if strings.Count(good, c.from) == 0 {
				t.Fatalf("%q is not there", c.from)
			}
			got := results(read(t, "a.json", strings.Replace(good, c.from, c.to, 1)))
			if len(got) != 1 || !strings.HasPrefix(got[0], c.want) {
				t.Errorf("got  %v\nwant %s", got, c.want)
			}
		})
	}
}

func TestFilesOfJSON(t *testing.T) {
	a, b, c := oneLine("1"), oneLine("2"), oneLine("3")
	bad := strings.Replace(oneLine("9"), "RECIST", "RACIST", 1)
	for _, f := range []struct {
		name, file, text string
		want             []string
	}{
		{"an array", "f.json", "[" + a + ",\n" + b + "\n]\n", []string{"f.json:1 1", "f.json:2 2"}},
		{"an array of nothing", "f.json", "[ ]", nil},
		{"lines", "f.ndjson", a + "\n\n" + b + "\r\n" + c, []string{"f.ndjson:1 1", "f.ndjson:3 2", "f.ndjson:4 3"}},
		{"the good ones beside a bad one", "f.json", "[" + a + ",\n" + bad + ",\n" + c + "]", []string{
			"f.json:1 1", `f.json:2: criteria: "RACIST 1.1" is not one of "RECIST 1.1"`, "f.json:3 3"}},
		{"the good ones beside one that is no JSON, in an array", "f.json", "[" + a + ",\n{\"id\": 01},\n" + c + "]", []string{
			"f.json:1 1", "f.json:2: id: is not valid JSON: invalid character '1' after 0", "f.json:3 3"}},
		{"the good lines beside one that is cut off", "f.ndjson", a + "\n" + b[:strings.Index(b, "C3861001")+2] + "\n" + c, []string{
			"f.ndjson:1 1", "f.ndjson:2: sponsorStudy: is not valid JSON: it ends in the middle", "f.ndjson:3 3"}},
		{"truncated in an array", "f.json", "[" + a + ",\n" + good[:strings.Index(good, "37.6")], []string{
			"f.json:1 1", "f.json:17: measurement.value: is not valid JSON: it ends in the middle", "f.json:17: the file ends in the middle"}},
		{"truncated alone", "f.json", good[:strings.Index(good, "10081007")+3], []string{
			"f.json:12: subject: is not valid JSON: it ends in the middle"}},
		{"truncated between elements", "f.json", "[" + a + ",\n", []string{"f.json:1 1", "f.json:2: the file ends in the middle"}},
		{"truncated before the bracket", "f.json", "[" + a + "\n", []string{"f.json:1 1", "f.json:2: the file ends in the middle"}},
		{"an id twice", "f.json", "[" + a + ",\n" + b + ",\n" + a + "]", []string{
			"f.json:1 1", "f.json:2 2", "f.json:3: id: 1 with case revision 5, revision 1 is in this file twice, first in line 1"}},
		{"an id with two versions", "f.ndjson", a + "\n" + strings.Replace(a, `"revision": 1,`, `"revision": 2,`, 1), []string{"f.ndjson:1 1", "f.ndjson:2 1"}},
		{"an id that was refused before", "f.ndjson", strings.Replace(a, "RECIST", "x", 1) + "\n" + a, []string{
			`f.ndjson:1: criteria: "x 1.1" is not one of "RECIST 1.1"`, "f.ndjson:2 1"}},
		{"two documents", "f.json", good + "\n" + good, []string{
			"f.json:29: something follows the end of the document; write one record a line, or put the records into an array"}},
		{"two records on a line", "f.ndjson", a + " " + b, []string{"f.ndjson:1: is not valid JSON: something follows the end of the value"}},
		{"something behind an array", "f.json", "[" + a + "]\n]", []string{"f.json:1 1",
			"f.json:2: something follows the end of the document; write one record a line, or put the records into an array"}},
		{"no comma between elements", "f.json", "[" + a + "\n" + b + "]", []string{"f.json:1 1",
			`f.json:2: found "{" instead of one of ",]"; the rest of the file is not read`}},
		{"a comma too many", "f.json", "[" + a + ",\n]", []string{"f.json:1 1",
			`f.json:2: found "]" instead of a value; the rest of the file is not read`}},
		{"no object", "f.json", "[1,\n\"x\",\n[]]", []string{
			"f.json:1: must be an object, not a number", "f.json:2: must be an object, not a string", "f.json:3: must be an object, not an array"}},
		{"empty", "f.json", "", []string{"f.json:1: the file is empty"}},
		{"blank", "f.json", "\n \n", []string{"f.json:3: the file is empty"}},
		{"no line", "f.ndjson", "\n \n", nil},
		{"a no-break space is no white space, before a record", "f.json", "\u00a0" + a, []string{
			`f.json:1: is not valid JSON: invalid character '\u00a0' at start of value`}},
		{"nor on a line of its own, or at the end of one", "f.ndjson", a + "\n\u00a0\n" + b + "\u00a0\n" + c, []string{
			"f.ndjson:1 1", `f.ndjson:2: is not valid JSON: invalid character '\u00a0' at start of value`,
			"f.ndjson:3: is not valid JSON: something follows the end of the value", "f.ndjson:4 3"}},
		{"a byte order mark between lines", "f.ndjson", a + "\n\ufeff" + b, []string{
			"f.ndjson:1 1", `f.ndjson:2: is not valid JSON: invalid character '\ufeff' at start of value`}},
	} {
		t.Run(f.name, func(t *testing.T) {
			if diff := cmp.Diff(f.want, results(read(t, f.file, f.text))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestReadFrom(t *testing.T) {
	emit, records := collect()

	t.Run("names records by the file and the line", func(t *testing.T) {
		err := intake.ReadFrom(t.Context(), strings.NewReader(good), "one.json", emit)
		if err != nil || len(*records) != 1 || (*records)[0].Place() != "one.json:1" {
			t.Errorf("%v, %v", err, results(*records))
		}
	})
	t.Run("stops at the first error of emit", func(t *testing.T) {
		full := errors.New("disk full")
		calls := 0
		err := intake.ReadFrom(t.Context(), strings.NewReader(oneLine("1")+"\n"+oneLine("2")), "a.ndjson", func(intake.Record) error {
			calls++
			return full
		})
		if !errors.Is(err, full) || calls != 1 {
			t.Errorf("%v after %d calls", err, calls)
		}
	})
	t.Run("stops when it is cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := intake.ReadFrom(ctx, strings.NewReader(good), "one.json", emit); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	})
	t.Run("returns the error of the disk", func(t *testing.T) {
		broken := errors.New("broken disk")
		err := intake.ReadFrom(t.Context(), failing{broken}, "a.json", emit)
		if !errors.Is(err, broken) {
			t.Errorf("%v", err)
		}
	})
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
