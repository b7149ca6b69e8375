package api_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/subscriber/api"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

func TestReadIsConditional(t *testing.T) {
	s := serve(t, api.Config{}, "S1")
	report := readmodel.Report{ID: "1", Study: "S1", Version: 17, LastUpdated: noon.Add(300 * time.Millisecond), Available: true, Body: []byte(`{"id":"1"}`)}
	s.reader.reports = map[string]readmodel.Report{"1": report}
	first := s.get(t, "/DiagnosticReport/1")
	for name, want := range map[string]string{"Etag": `W/"17"`, "Last-Modified": "Sun, 01 Mar 2026 12:00:00 GMT", "Cache-Control": "private, no-cache"} {
		if got := first.header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	const date = "Sun, 01 Mar 2026 12:00:00 GMT"
	for _, c := range []struct {
		name    string
		options []func(*http.Request)
		status  int
	}{
		{"the same tag", []func(*http.Request){header("If-None-Match", `W/"17"`)}, 304},
		{"the same tag, strong", []func(*http.Request){header("If-None-Match", `"17"`)}, 304},
		{"one of several tags", []func(*http.Request){header("If-None-Match", `"a", W/"b"`, `W/"17"`)}, 304},
		{"any tag", []func(*http.Request){header("If-None-Match", `*`)}, 304},
		{"another tag", []func(*http.Request){header("If-None-Match", `W/"16"`)}, 200},
		{"the same date, which another version may have too", []func(*http.Request){header("If-Modified-Since", date)}, 200},
		{"a later date, when the version may not have been here yet", []func(*http.Request){header("If-Modified-Since", "Sun, 01 Mar 2026 13:00:00 GMT")}, 200},
		{"a malformed date", []func(*http.Request){header("If-Modified-Since", "yesterday")}, 200},
		{"the same tag beats an earlier date", []func(*http.Request){header("If-None-Match", `W/"17"`), header("If-Modified-Since", "Sun, 01 Mar 2026 11:59:59 GMT")}, 304},
		{"another tag beats the same date", []func(*http.Request){header("If-None-Match", `W/"16"`), header("If-Modified-Since", date)}, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := s.get(t, "/DiagnosticReport/1", c.options...)
			if a.status != c.status || (a.status == 304) != (len(a.body) == 0) || a.header.Get("Etag") != `W/"17"` {
				t.Errorf("got %d, %d bytes, ETag %s", a.status, len(a.body), a.header.Get("Etag"))
			}
		})
	}
}

func TestSearchTagChangesWithTheAnswer(t *testing.T) {
	s := serve(t, api.Config{}, "S1", "S2")
	s.reader.page = reports(60)
	const path = "/DiagnosticReport?researchstudy=S1&date=2014"
	tag := func(path string, options ...func(*http.Request)) string {
		t.Helper()
		a := s.get(t, path, options...)
		if a.status != http.StatusOK || a.header.Get("Etag") == "" || a.header.Get("Cache-Control") != "private, no-cache" {
			t.Fatalf("got %d with headers %v", a.status, a.header)
		}
		return a.header.Get("Etag")
	}
	first := tag(path)
	if a := s.get(t, path, header("If-None-Match", first)); a.status != http.StatusNotModified || len(a.body) != 0 || a.header.Get("Etag") != first {
		t.Errorf("with its own tag: %d, %d bytes", a.status, len(a.body))
	}
	if got := tag("/DiagnosticReport?DATE=2014&unknown=1&researchstudy=S1&page=1"); got != first {
		t.Errorf("the same search in other words has another tag")
	}
	seen := map[string]string{first: "the first search"}
	for _, c := range []struct{ name, path, accept string }{
		{"another page", path + "&page=2", ""},
		{"another size", path + "&_count=50", ""},
		{"another study", "/DiagnosticReport?researchstudy=S2&date=2014", ""},
		{"another filter", "/DiagnosticReport?researchstudy=S1&date=2015", ""},
		{"the partner in the query", path + "&x-partnerid=acme", ""},
		{"another format", path, "application/json"},
		{"the total only", path + "&_summary=count", ""},
		{"parts", path + "&_elements=id", ""},
	} {
		got := tag(c.path, header("Accept", c.accept))
		if other, ok := seen[got]; ok {
			t.Errorf("%s has the tag of %s", c.name, other)
		}
		seen[got] = c.name
	}
	s.reader.change(func(r *scriptedReader) { r.page.ChainHead.Number++ })
	if _, ok := seen[tag(path)]; ok {
		t.Errorf("a later event of the study leaves the tag as it was")
	}
}
