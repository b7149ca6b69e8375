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

func TestJoinedEntriesAreThoseThatAppendWrites(t *testing.T) {
	const prefix = "https://example.org/?a=1&_id="
	s := fhir.Searchset{Study: `A "B"`, Total: 2, Links: []fhir.Link{{Relation: "self", URL: "https://example.org/?a=1&b=2"}}}
	want := s
	before, between, separator, end := fhir.EntryParts(prefix)
	for i, id := range []string{"790", "A.1-b"} {
		resource := `{"id":"` + id + `"}`
		want.Entries = append(want.Entries, fhir.Entry{FullURL: prefix + id, Resource: []byte(resource)})
		if i > 0 {
			s.Joined = append(s.Joined, separator...)
		}
		s.Joined = append(s.Joined, before+id+between+resource...)
	}
	s.Joined = append(s.Joined, end...)
	got := s.Append(nil)
	if len(got) > s.Size() {
		t.Errorf("%d bytes, at most %d were announced", len(got), s.Size())
	}
	if diff := cmp.Diff(string(want.Append(nil)), string(got)+string(s.Joined)); diff != "" {
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
