package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-e88a4ece/signoff/subscriber/api"
)

// deviations are what R4 does not allow and the answers have nevertheless, because the
// description of the API has it.
var deviations = map[string]string{
	"CapabilityStatement.fhirVersion: enum":       "the API is described with FHIR 4.1.0, which was between R4 and R4B",
	"DiagnosticReport.effectiveDateTime: pattern": "the described example has a time without a zone; a date is answered as the source wrote it",
	"Observation.effectiveDateTime: pattern":      "a lesion has the date of its report",
}

// r4Calls are calls of which the answers are compared with R4. In their paths, STUDY is the
// study, GONE a report that was withdrawn, and the report is of the first case.
var r4Calls = []struct {
	path   string
	status int
	change func(*http.Request)
}{
	{"/metadata", 200, nil},
	{"/DiagnosticReport?researchstudy=STUDY", 200, nil},
	{"/DiagnosticReport?researchstudy=STUDY&_count=2&page=2", 200, nil},
	{"/DiagnosticReport?researchstudy=STUDY&page=99", 200, nil},
	{"/DiagnosticReport?researchstudy=STUDY&_include=DiagnosticReport:result", 200, nil},
	{"/DiagnosticReport?researchstudy=STUDY&_elements=effective", 200, nil},
	{"/DiagnosticReport?researchstudy=STUDY&_summary=true", 200, nil},
	{"/DiagnosticReport?researchstudy=STUDY&_summary=text", 200, nil},
	{"/DiagnosticReport?researchstudy=STUDY&_summary=data", 200, nil},
	{"/DiagnosticReport?researchstudy=STUDY&_summary=count", 200, nil},
	{"/DiagnosticReport?researchstudy=STUDY&name=None", 200, nil},
	{"/DiagnosticReport/1-1.v", 200, nil},
	{"/Observation?researchstudy=STUDY&category=imaging", 200, nil},
	{"/Observation?researchstudy=STUDY&_elements=value", 200, nil},
	{"/Observation?researchstudy=STUDY&_summary=count", 200, nil},
	{"/_history?researchstudy=STUDY&_count=1000", 200, nil},
	{"/_history?researchstudy=STUDY&_count=0", 200, nil},
	{"/_history?researchstudy=STUDY&_sort=_lastUpdated&_sinceNumber=5&_count=3", 200, nil},
	{"/DiagnosticReport/_history?researchstudy=STUDY", 200, nil},
	{"/DiagnosticReport/GONE/_history", 200, nil},
	{"/DiagnosticReport", 400, nil},
	{"/DiagnosticReport?researchstudy=STUDY&date=yesterday", 400, nil},
	{"/DiagnosticReport?researchstudy=STUDY&subject:Patient=1", 400, nil},
	{"/DiagnosticReport?researchstudy=STUDY&foo=bar", 400, func(r *http.Request) { r.Header.Set("Prefer", "handling=strict") }},
	{"/DiagnosticReport?researchstudy=STUDY", 401, func(r *http.Request) { r.Header.Del("Authorization") }},
	{"/DiagnosticReport?researchstudy=STUDY", 401, func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") }},
	{"/DiagnosticReport?researchstudy=STUDY", 401, func(r *http.Request) { r.Header.Del("X-Partnerid") }},
	{"/DiagnosticReport?researchstudy=none", 403, nil},
	{"/DiagnosticReport/none", 404, nil},
	{"/Patient/1", 404, nil},
	{"/DiagnosticReport?researchstudy=STUDY", 405, func(r *http.Request) { r.Method = http.MethodDelete }},
	{"/DiagnosticReport?researchstudy=STUDY&_format=xml", 406, nil},
	{"/DiagnosticReport/GONE", 410, nil},
	{"/DiagnosticReport?researchstudy=STUDY&_id=" + strings.Repeat("x", 9000), 413, nil},
	{"/DiagnosticReport/_search", 415, func(r *http.Request) {
		r.Method, r.Body = http.MethodPost, io.NopCloser(strings.NewReader("{}"))
		r.Header.Set("Content-Type", "application/json")
	}},
	{"/_history?researchstudy=STUDY&_sinceNumber=999999", 503, nil},
}

// r4Answer is an answer with the name of its call.
type r4Answer struct {
	Name     string          `json:"name"`
	Resource json.RawMessage `json:"resource"`
}

// compareWithR4 compares answers of each kind with FHIR R4, as packages of others have it.
// Each of the deviations must occur, and no other.
func compareWithR4(t *testing.T, c *partnerClient, gone string) {
	if reason := missingClients(t); reason != "" {
		t.Skip(reason)
	}
	var answers []r4Answer
	for _, call := range r4Calls {
		path := strings.NewReplacer("STUDY", url.QueryEscape(polledStudy), "GONE", gone).Replace(call.path)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.p.PublicURL()+api.DefaultBasePath+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+c.token)
		req.Header.Set("X-Partnerid", c.id)
		if call.change != nil {
			call.change(req)
		}
		status, body := c.do(req)
		if status != call.status || !json.Valid(body) {
			t.Fatalf("%.200s: %d %.300s", call.path, status, body)
		}
		answers = append(answers, r4Answer{call.path, body})
	}
	i := slices.IndexFunc(answers, func(a r4Answer) bool { return strings.HasPrefix(a.Name, "/_history") })
	const spoiled = "a history that is called a searchset" // shows that the invariants are checked
	answers = append(answers, r4Answer{spoiled, bytes.Replace(answers[i].Resource, []byte(`"type":"history"`), []byte(`"type":"searchset"`), 1)})

	occurred := map[string]bool{}
	for _, d := range findDeviations(t, answers) {
		occurred[d.Deviation] = true
		if deviations[d.Deviation] == "" && d.Name != spoiled {
			t.Errorf("%s: %s", d.Name, d.Deviation)
		}
	}
	for d := range maps.Keys(deviations) {
		if !occurred[d] {
			t.Errorf("%s does not occur; remove it from the list", d)
		}
	}
	if !slices.ContainsFunc(slices.Collect(maps.Keys(occurred)), func(d string) bool { return strings.Contains(d, "bdl-3") }) {
		t.Errorf("the validator does not notice %s", spoiled)
	}
}

type deviation struct{ Name, Deviation string }

// findDeviations runs the validators in Node.
func findDeviations(t *testing.T, answers []r4Answer) (found []deviation) {
	t.Helper()
	var input bytes.Buffer
	for _, a := range answers {
		if err := json.NewEncoder(&input).Encode(a); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", filepath.Join(clientsDir, "validate.js"))
	cmd.Stdin, cmd.Stderr = &input, t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for lines := json.NewDecoder(bytes.NewReader(out)); lines.More(); {
		var d deviation
		if err := lines.Decode(&d); err != nil {
			t.Fatal(err)
		}
		found = append(found, d)
	}
	return found
}
