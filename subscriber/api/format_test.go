package api_test

import (
	"net/http"
	"testing"

	"github.com/seed-e88a4ece/signoff/subscriber/api"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

func TestFormats(t *testing.T) {
	s := serve(t, api.Config{}, "S1")
	s.reader.page = reports(1)
	s.reader.reports = map[string]readmodel.Report{"1": s.reader.page.Reports[0]}
	const fhirJSON, plainJSON = "application/fhir+json", "application/json"
	for _, c := range []struct {
		name, query, accept string
		want                string // empty: 406
	}{
		{"nothing asked", "", "", fhirJSON},
		{"anything", "", "*/*", fhirJSON},
		{"what browsers send", "", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", fhirJSON},
		{"JSON by Accept", "", "application/json", plainJSON},
		{"the better of two", "", "application/json;q=0.5, application/fhir+json;q=0.9", fhirJSON},
		{"the better of two, the other way", "", "application/fhir+json;q=0.1, application/json", plainJSON},
		{"a range", "", "application/*", fhirJSON},
		{"upper case", "", "Application/JSON", plainJSON},
		{"excluded by weight", "", "application/fhir+json;q=0, application/json;q=0", ""},
		{"something else", "", "application/xml", ""},
		{"json by _format", "_format=json", "application/xml", plainJSON},
		{"application/json by _format", "_format=application%2Fjson", "", plainJSON},
		{"FHIR JSON by _format", "_format=application%2Ffhir%2Bjson", "application/json", fhirJSON},
		{"FHIR JSON by _format, its plus unescaped", "_format=application/fhir+json", "", fhirJSON},
		{"_format without regard to case of the name", "_FORMAT=json", "", plainJSON},
		{"something else by _format", "_format=xml", "application/json", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			accept := header("Accept")
			if c.accept != "" {
				accept = header("Accept", c.accept)
			}
			for _, path := range []string{"/DiagnosticReport?researchstudy=S1&", "/DiagnosticReport/1?"} {
				a := s.get(t, path+c.query, accept)
				switch {
				case c.want == "" && a.status != http.StatusNotAcceptable:
					t.Errorf("%s: got %d %s", path, a.status, a.header.Get("Content-Type"))
				case c.want != "" && (a.status != http.StatusOK || a.header.Get("Content-Type") != c.want):
					t.Errorf("%s: got %d %s", path, a.status, a.header.Get("Content-Type"))
				}
			}
		})
	}
}
