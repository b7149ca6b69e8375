package api_test

import (
	"testing"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/subscriber/api"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

func TestPartsOfAReport(t *testing.T) {
	const (
		head     = `{"resourceType":"DiagnosticReport","id":"1",`
		meta     = `"meta":{"versionId":"3","lastUpdated":"2026-03-01T12:00:00.000000Z"}`
		tagged   = `"meta":{"versionId":"3","lastUpdated":"2026-03-01T12:00:00.000000Z","tag":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationValue","code":"SUBSETTED"}]}`
		values   = `,"extension":[{"url":"#CurrentValue","valueDecimal":50.0},{"url":"#X","valueDecimal":1E2}]`
		name     = `,"identifier":[{"value":"a \" \\ {é} \u003c"}]`
		status   = `,"status":"final"`
		category = `,"category":[{"text":"Radiology"}]`
		code     = `,"code":{"text":"x"}`
		people   = `,"subject":{"reference":"Patient/1"}`
		dates    = `,"effectiveDateTime":"2014-01","issued":"2026-03-01T12:00:00.000000Z","resultsInterpreter":[{"display":"N"}]`
		results  = `,"result":[{"display":"1-1-T01"}],"conclusion":"No"}`
		whole    = head + meta + values + name + status + category + code + people + dates + results
	)
	s := serve(t, api.Config{}, "S1")
	report := readmodel.Report{ID: "1", Study: "S1", Version: 3, LastUpdated: noon, Available: true, Body: []byte(whole)}
	s.reader.page = readmodel.Page{Total: 1, ChainHead: events.ChainHead{Number: 3}, Reports: []readmodel.Report{report}}
	s.reader.reports = map[string]readmodel.Report{"1": report}
	for _, c := range []struct{ name, query, want string }{
		{"all of it, byte for byte", "", whole},
		{"all of it, by _summary", "_summary=false", whole},
		{"decimals keep their digits", "_elements=extension", head + tagged + values + status + code + `}`},
		{"several elements, in their own order", "_elements=conclusion,identifier", head + tagged + name + status + code + `,"conclusion":"No"}`},
		{"several elements, asked for apart", "_elements=conclusion&_elements=identifier", head + tagged + name + status + code + `,"conclusion":"No"}`},
		{"one element under its other names", "_elements=effective,effective%5Bx%5D,DiagnosticReport.effectiveDateTime", head + tagged + status + code + `,"effectiveDateTime":"2014-01"}`},
		{"an element no report has", "_elements=media", head + tagged + status + code + `}`},
		{"the summary", "_summary=true", head + tagged + name + status + category + code + people + dates + `}`},
		{"text and what is mandatory", "_summary=text", head + tagged + status + code + `}`},
		{"everything but text", "_summary=data", head + tagged + values + name + status + category + code + people + dates + results},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := string(s.get(t, "/DiagnosticReport/1?"+c.query).body); got != c.want {
				t.Errorf("read:\n%s, want\n%s", got, c.want)
			}
			b := s.get(t, "/DiagnosticReport?researchstudy=S1&"+c.query).bundle(t)
			if got := string(b.Entry[0].Resource); got != c.want {
				t.Errorf("search:\n%s, want\n%s", got, c.want)
			}
		})
	}
	for _, query := range []string{"_summary=count", "_summary=x", "_elements=x", "_elements:x=id", "_summary=true&_summary=text"} {
		if a := s.get(t, "/DiagnosticReport/1?"+query); a.status != 400 {
			t.Errorf("%s: got %d %s", query, a.status, a.body)
		}
	}
}
