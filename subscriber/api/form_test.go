package api_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/subscriber/api"
)

const formType = "application/x-www-form-urlencoded"

// form makes a request a POST with a body of a media type.
func form(mediaType, body string) func(*http.Request) {
	return func(r *http.Request) {
		r.Method = http.MethodPost
		r.Header.Set("Content-Type", mediaType)
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	}
}

// A search by POST has the answer of the search by GET with the parameters of URL
// and form.
func TestASearchByFormIsASearch(t *testing.T) {
	s := serve(t, api.Config{Count: 5}, "S1", "É 1")
	s.reader.page = reports(12)
	for _, c := range []struct{ name, query, body, get string }{
		{"all in the form", "", "researchstudy=S1&name=Follow-up+1&page=2", "researchstudy=S1&name=Follow-up+1&page=2"},
		{"all in the URL", "?researchstudy=S1&page=2", "", "researchstudy=S1&page=2"},
		{"some in each", "?researchstudy=S1&_count=3", "_sort=-date&page=2", "researchstudy=S1&_count=3&_sort=-date&page=2"},
		{"a filter in each", "?researchstudy=S1&_id=1", "_id=2", "researchstudy=S1&_id=1&_id=2"},
		{"the same in each", "?researchstudy=S1&_count=3", "researchstudy=S1&_count=3", "researchstudy=S1&_count=3"},
		{"the partner in the form", "", "researchstudy=S1&x-partnerid=acme", "researchstudy=S1&x-partnerid=acme"},
		{"the format in the form", "", "researchstudy=S1&_format=json", "researchstudy=S1&_format=json"},
		{"other characters", "", "researchstudy=%C3%89+1", "researchstudy=%C3%89+1"},
		{"a line end behind the form", "", "researchstudy=S1\r\n", "researchstudy=S1"},
		{"empty parameters", "?date=", "researchstudy=S1&&_id=&", "researchstudy=S1"},
		{"with a slash", "/?researchstudy=S1", "", "researchstudy=S1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			options := []func(*http.Request){form(formType, c.body)}
			if strings.Contains(c.body, "x-partnerid") {
				options = append(options, header("X-Partnerid"))
			}
			got, want := s.get(t, "/DiagnosticReport/_search"+c.query, options...), s.get(t, "/DiagnosticReport?"+c.get)
			if diff := cmp.Diff(string(want.body), string(got.body)); diff != "" || got.status != http.StatusOK {
				t.Errorf("%d, not the answer of GET:\n%s", got.status, diff)
			}
			for _, name := range []string{"Content-Type", "Cache-Control", "Etag"} {
				if got.header.Get(name) != want.header.Get(name) {
					t.Errorf("%s is %q, with GET %q", name, got.header.Get(name), want.header.Get(name))
				}
			}
		})
	}
	t.Run("without a media type there may be no body", func(t *testing.T) {
		if a := s.get(t, "/DiagnosticReport/_search?researchstudy=S1", method("POST")); a.status != http.StatusOK {
			t.Errorf("got %d %s", a.status, a.body)
		}
	})
	t.Run("a tag that the client has does not matter", func(t *testing.T) {
		tag := s.get(t, "/DiagnosticReport?researchstudy=S1").header.Get("Etag")
		if a := s.get(t, "/DiagnosticReport/_search", form(formType, "researchstudy=S1"), header("If-None-Match", tag)); a.status != http.StatusOK {
			t.Errorf("got %d", a.status)
		}
	})
	t.Run("a charset may be named", func(t *testing.T) {
		if a := s.get(t, "/DiagnosticReport/_search", form(formType+"; charset=UTF-8", "researchstudy=S1")); a.status != http.StatusOK {
			t.Errorf("got %d %s", a.status, a.body)
		}
	})
}

// The refusals of a search by form, in the order in which they are checked: each
// request also has the faults of the rows below it.
func TestRefusalsOfASearchByForm(t *testing.T) {
	s := serve(t, api.Config{}, "S1")
	long := "_format=xml&name=" + strings.Repeat("a", 60_000)
	for _, c := range []struct {
		name    string
		options []func(*http.Request)
		status  int
		code    string
		text    string
	}{
		{"GET", []func(*http.Request){method("GET"), header("Authorization")}, 405, "not-supported", "POST"},
		{"PUT", []func(*http.Request){method("PUT"), header("Authorization")}, 405, "not-supported", "POST"},
		{"no access token", []func(*http.Request){form("text/plain", long), header("Authorization"), header("X-Partnerid")}, 401, "login", ""},
		{"no partner", []func(*http.Request){form("text/plain", "x-partnerid=acme"), header("X-Partnerid")}, 401, "login", "Api Key"},
		{"another partner in the form", []func(*http.Request){form(formType, "x-partnerid=intruder&_format=xml")}, 401, "login", "Incorrect"},
		{"a format that is not offered", []func(*http.Request){form("text/plain", long), header("Accept", "application/xml")}, 406, "not-supported", ""},
		{"a format that is not offered, in the form", []func(*http.Request){form(formType, "_format=xml")}, 406, "not-supported", ""},
		{"too large a form", []func(*http.Request){form("text/plain", long)}, 413, "too-long", ""},
		{"too large a query", []func(*http.Request){form(formType, "name="+strings.Repeat("a", 9000))}, 413, "too-long", ""},
		{"no form", []func(*http.Request){form("application/json", `{"researchstudy":"S1"}`)}, 415, "not-supported", formType},
		{"no media type", []func(*http.Request){form("", "researchstudy=S1")}, 415, "not-supported", formType},
		{"another charset", []func(*http.Request){form(formType+"; charset=utf-16", "researchstudy=S1")}, 415, "not-supported", "UTF-8"},
		{"a compressed form", []func(*http.Request){form(formType, "researchstudy=S1"), header("Content-Encoding", "gzip")}, 415, "not-supported", "compressed"},
		{"no study", []func(*http.Request){form(formType, "date=2014")}, 400, "required", ""},
		{"a study that is not granted", []func(*http.Request){form(formType, "researchstudy=S2")}, 403, "security", ""},
		{"a study in the URL and another in the form", []func(*http.Request){form(formType, "researchstudy=S1"), query("researchstudy=S2")}, 403, "security", ""},
		{"a malformed value", []func(*http.Request){form(formType, "researchstudy=S1&date=x")}, 400, "value", "date"},
		{"a broken escape", []func(*http.Request){form(formType, "researchstudy=S1&name=%zz")}, 400, "value", "name"},
		{"different values in URL and form", []func(*http.Request){form(formType, "researchstudy=S1&page=1"), query("page=2")}, 400, "value", "page"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := s.get(t, "/DiagnosticReport/_search", c.options...)
			code, text := a.outcome(t)
			if a.status != c.status || code != c.code || !strings.Contains(text, c.text) {
				t.Errorf("got %d %s %q, want %d %s", a.status, code, text, c.status, c.code)
			}
			if got := a.header.Get("Allow"); (c.status == 405) != (got == "POST") {
				t.Errorf("Allow is %q", got)
			}
		})
	}
	if n := s.reader.searches(); n != 0 {
		t.Errorf("%d refused searches reached the read model", n)
	}
}

// query sets the query of the URL.
func query(raw string) func(*http.Request) { return func(r *http.Request) { r.URL.RawQuery = raw } }
