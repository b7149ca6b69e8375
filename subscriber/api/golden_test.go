package api_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir"
	"github.com/seed-e88a4ece/signoff/subscriber/api"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

var update = flag.Bool("update", false, "write the golden file")

// seedReports returns the two reports of the example, as signed by one PI.
func seedReports(t testing.TB) []fhir.Report {
	t.Helper()
	var b bundle
	if err := json.Unmarshal(readFile(t, "testdata/seed-bundle.json"), &b); err != nil {
		t.Fatal(err)
	}
	var all []fhir.Report
	for i, e := range b.Entry {
		assessment, err := fhir.ParseReport(e.Resource)
		if err != nil {
			t.Fatal(err)
		}
		at := noon.Add(time.Duration(i) * time.Microsecond)
		all = append(all, fhir.Report{
			Assessment:  assessment,
			Signature:   events.Signature{User: "jdoe", Name: "Jane Doe, MD", Meaning: "I have reviewed and approve this assessment", Time: at},
			Version:     uint64(i + 1),
			LastUpdated: at,
		})
	}
	return all
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// The answer for the example's two reports is the example: its elements in
// its order, with its number texts, and beside them only what is added to it.
func TestGoldenBundle(t *testing.T) {
	s := serve(t, api.Config{}, "FHIR-T")
	s.reader.page = readmodel.Page{Total: 2, ChainHead: events.ChainHead{Number: 2}}
	for _, r := range seedReports(t) {
		body, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		s.reader.page.Reports = append(s.reader.page.Reports, readmodel.Report{
			ID: r.Assessment.ID, Study: "FHIR-T", Version: r.Version, LastUpdated: r.LastUpdated, Available: true, Body: body,
		})
	}
	got := s.get(t, "/DiagnosticReport?researchstudy=FHIR-T").body
	compareWithSeed(t, got)

	var indented bytes.Buffer
	if err := json.Indent(&indented, got, "", "  "); err != nil {
		t.Fatal(err)
	}
	indented.WriteByte('\n')
	const golden = "testdata/golden-bundle.json"
	if *update {
		if err := os.WriteFile(golden, indented.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(readFile(t, golden)), indented.String()); diff != "" {
		t.Errorf("not the golden file:\n%s", diff)
	}
}

// asOf is the number as of which a link shows the study.
var asOf = regexp.MustCompile(`&asof=\d+`)

// compareWithSeed takes the additions out of the answer and wants the rest to
// be the example without its own last and next, token by token.
func compareWithSeed(t *testing.T, got []byte) {
	t.Helper()
	added := []string{"id", "meta", "code", "issued", "resultsInterpreter"}
	seed := flatten(t, readFile(t, "testdata/seed-bundle.json"), nil)
	if n := len(asOf.FindAll(got, -1)); n != 1 {
		t.Errorf("%d links have a position; want the one to the last page", n)
	}
	answer := flatten(t, asOf.ReplaceAll(got, nil), func(path string) bool {
		for _, name := range added {
			if strings.HasPrefix(path+".", "entry[].resource."+name+".") || strings.HasPrefix(path, "entry[].resource."+name+"[") {
				return true
			}
		}
		return false
	})
	base := publicURL + api.DefaultBasePath + "/DiagnosticReport?researchstudy=FHIR-T&page="
	seed = replaceOnce(t, seed, []string{
		`link[].relation = "last"`, `link[].url = "` + base + `2"`, `link[].relation = "next"`, `link[].url = "` + base + `2"`,
	}, []string{`link[].relation = "last"`, `link[].url = "` + base + `1"`})
	if diff := cmp.Diff(seed, answer); diff != "" {
		t.Errorf("differs from the example (-example +answer):\n%s", diff)
	}
}

// flatten returns a line for each value in the order of the text, numbers in
// their own digits.
func flatten(t testing.TB, data []byte, skip func(path string) bool) []string {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var lines []string
	var value func(path string)
	value = func(path string) {
		token, err := d.Token()
		if err != nil {
			t.Fatal(err)
		}
		delimiter, nested := token.(json.Delim)
		if !nested {
			if skip == nil || !skip(path) {
				text := fmt.Sprint(token)
				if s, ok := token.(string); ok {
					text = strconv.Quote(s)
				}
				lines = append(lines, path+" = "+text)
			}
			return
		}
		for d.More() {
			if delimiter == '[' {
				value(path + "[]")
				continue
			}
			name, err := d.Token()
			if err != nil {
				t.Fatal(err)
			}
			value(strings.TrimPrefix(path+"."+name.(string), "."))
		}
		if _, err := d.Token(); err != nil {
			t.Fatal(err)
		}
	}
	value("")
	return lines
}

// replaceOnce puts other lines in the place of some, which must be there.
func replaceOnce(t testing.TB, lines, old, with []string) []string {
	t.Helper()
	all, from := strings.Join(lines, "\n"), strings.Join(old, "\n")
	if strings.Count(all, from) != 1 {
		t.Fatalf("the example lacks\n%s", from)
	}
	return strings.Split(strings.Replace(all, from, strings.Join(with, "\n"), 1), "\n")
}
