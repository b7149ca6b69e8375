package rest_test

import (
	"net/http/httptest"
	"testing"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
)

const (
	fhirJSON  = "application/fhir+json"
	plainJSON = "application/json"
	refused   = ""
)

func TestFormatAndAcceptDecideTheMediaType(t *testing.T) {
	for _, c := range []struct{ query, accept, want string }{
		{"", "", fhirJSON},
		{"", "*/*", fhirJSON},
		{"", "application/*", fhirJSON},
		{"", "application/json", plainJSON},
		{"", "APPLICATION/JSON", plainJSON},
		{"", "application/fhir+json", fhirJSON},
		{"", "application/fhir+json; fhirVersion=4.1; charset=utf-8", fhirJSON},
		{"", "application/fhir+json;fhirVersion=4.1.0", fhirJSON},
		{"", "application/fhir+json;fhirVersion=4.0", refused},
		{"", "application/fhir+json;fhirVersion=4.10", refused},
		{"", "application/json, application/fhir+json", fhirJSON},
		{"", "application/fhir+json;q=0.5, application/json", plainJSON},
		{"", "application/json, text/plain, */*", plainJSON},
		{"", "text/html,application/xml;q=0.9,*/*;q=0.8", fhirJSON},
		{"", "application/fhir+json;q=0, */*", plainJSON},
		{"", "*/*;q=0", refused},
		{"", "text/html", refused},
		{"", "application/fhir+xml", refused},
		{"", "application/json;q=2, text/html", refused},
		{"", "nonsense", refused},
		{"", `application/fhir+json;profile="http://a/b,c"`, fhirJSON},
		{"", `application/json;profile="a, application/fhir+json;q=1, b";q=0.3`, plainJSON},
		{"", `text/html;a="b, */*"`, refused},
		{"", `text/html;a="\", */*"`, refused},
		{"", `text/html;a="\\", */*`, fhirJSON},
		{"", `application/fhir+json;profile="never closed, */*`, refused},
		{"", ";;, application/json", plainJSON},
		{"_format=json", "", plainJSON},
		{"_format=json", "text/html", plainJSON},
		{"_format=application/json", "", plainJSON},
		{"_format=application%2Ffhir%2Bjson", plainJSON, fhirJSON},
		{"_format=application/fhir+json", plainJSON, fhirJSON},
		{"_format=application/fhir%20json", "", fhirJSON},
		{"_FORMAT=JSON", "", plainJSON},
		{"_format=xml,json", "", plainJSON},
		{"_format=xml", "", refused},
		{"_format=json%20", "", plainJSON},
		{"_format=%20application/fhir%20json+,xml", "", fhirJSON},
		{"_format=application/fhir+json;%20fhirVersion=4.0", "", refused},
		{"_format=application/fhir+json;%20fhirVersion=4.1", "", fhirJSON},
		{"_format=application/fhir+json;+fhirVersion=4.0", "", refused},
		{"_format=application/fhir++json", "", refused},
		{"_format=", "", fhirJSON},
		{"_format", "application/json", plainJSON},
		{"_format=&_format=json", "", plainJSON},
		{"_format=%zz", "", refused},
		{"researchstudy=S&_format=xml", "*/*", refused},
		{"researchstudy=_format", "", fhirJSON},
	} {
		r := httptest.NewRequest("GET", "/DiagnosticReport?"+c.query, nil)
		if c.accept != "" {
			r.Header.Set("Accept", c.accept)
		}
		got, err := rest.Negotiate(r)
		if got != c.want || (err != nil) != (c.want == refused) {
			t.Errorf("_format %q and Accept %q: %q, %v; want %q", c.query, c.accept, got, err, c.want)
		}
	}
}

func TestAnUnreadableFormatIsMalformedAndAnUnknownOneNotAcceptable(t *testing.T) {
	for query, want := range map[string]events.Code{"_format=%zz": events.Invalid, "_format=xml": events.NotAcceptable} {
		_, err := rest.Negotiate(httptest.NewRequest("GET", "/?"+query, nil))
		if events.CodeOf(err) != want {
			t.Errorf("%s: %v", query, err)
		}
	}
}

func FuzzNegotiate(f *testing.F) {
	f.Add("_format=json", "*/*;q=0.1")
	f.Add("a=b&_format=application/fhir+json", "text/html, application/json;q=0.3;fhirVersion=4.1")
	f.Fuzz(func(t *testing.T, query, accept string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.URL.RawQuery = query
		r.Header["Accept"] = []string{accept}
		got, err := rest.Negotiate(r)
		if (err == nil) != (got == fhirJSON || got == plainJSON) {
			t.Errorf("%q, %v", got, err)
		}
	})
}

func TestPreferences(t *testing.T) {
	for _, c := range []struct {
		headers []string
		want    string
	}{
		{nil, ""},
		{[]string{"handling=strict"}, "strict"},
		{[]string{"Handling = strict ; x=1"}, "strict"},
		{[]string{`handling="strict"`}, "strict"},
		{[]string{`handling="str\ict"`}, "strict"},
		{[]string{"return=minimal, handling=lenient", "handling=strict"}, "lenient"},
		{[]string{"return=minimal", "handling=strict"}, "strict"},
		{[]string{"handling"}, ""},
		{[]string{`x="a, handling=strict"`}, ""},
		{[]string{`x="a\", handling=strict"`}, ""},
		{[]string{`x="a", handling=strict`}, "strict"},
		{[]string{"respond-async; handling=strict"}, ""},
		{[]string{`x="a; b", handling=lenient; handling=strict`}, "lenient"},
		{[]string{`x="never closed`, "handling=strict"}, ""},
	} {
		if got := rest.Prefers(c.headers, "handling"); got != c.want {
			t.Errorf("%q: got %q, want %q", c.headers, got, c.want)
		}
	}
}
