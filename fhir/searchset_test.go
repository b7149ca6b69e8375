package fhir_test

import (
	"encoding/json"
	"os"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/seed-e88a4ece/signoff/fhir"
)

// exampleSearchset returns the documented example, taken apart by the standard
// library.
func exampleSearchset(t *testing.T) (data []byte, s fhir.Searchset) {
	t.Helper()
	data, err := os.ReadFile("testdata/bundle.json")
	if err != nil {
		t.Fatal(err)
	}
	var bundle struct {
		Total int
		Link  []fhir.Link
		Entry []struct {
			FullURL  string
			Resource json.RawMessage
		}
	}
	if err := json.Unmarshal(data, &bundle); err != nil {
		t.Fatal(err)
	}
	s = fhir.Searchset{Study: "FHIR-T", Total: bundle.Total, Links: bundle.Link}
	for _, e := range bundle.Entry {
		s.Entries = append(s.Entries, fhir.Entry{FullURL: e.FullURL, Resource: e.Resource})
	}
	return data, s
}

func TestASearchsetHasTheMembersOfTheDocumentedExample(t *testing.T) {
	example, s := exampleSearchset(t)
	got := s.Append([]byte("before "))
	if diff := cmp.Diff(parseOrdered(t, example), parseOrdered(t, got[len("before "):])); diff != "" {
		t.Errorf("(-example +ours):\n%s", diff)
	}
	if added := len(got) - len("before "); added > s.Size() {
		t.Errorf("%d bytes, at most %d were announced", added, s.Size())
	}
}

func TestAnEmptySearchsetHasNoEntries(t *testing.T) {
	s := fhir.Searchset{Study: `A "B"`, Links: []fhir.Link{{Relation: "self", URL: "https://example.org/?a=1&b=2"}}}
	want := `{"resourceType":"Bundle","identifier":{"system":"https://fhir.mskcc.org/structure-definitions/#IDB.Protocol","value":"A \"B\""},` +
		`"type":"searchset","total":0,"link":[{"relation":"self","url":"https://example.org/?a=1&b=2"}]}`
	if diff := cmp.Diff(want, string(s.Append(nil))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAnOutcomeIsJSONWhateverItsTextHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := string(rapid.SliceOf(rapid.Byte()).Draw(t, "text"))
		o := fhir.OperationOutcome{Issues: []fhir.Issue{
			{Severity: "error", Code: "value", Text: text, Diagnostics: text}, {Severity: "information", Code: "x", Text: "y"},
		}}
		encoded := o.Append(nil)
		if !json.Valid(encoded) || !utf8.Valid(encoded) {
			t.Fatalf("%q", encoded)
		}
	})
	o := fhir.OperationOutcome{Issues: []fhir.Issue{{Severity: "error", Code: "required", Text: "Missing required query parameter."}}}
	want := `{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"required","details":{"text":"Missing required query parameter."}}]}`
	if diff := cmp.Diff(want, string(o.Append(nil))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
