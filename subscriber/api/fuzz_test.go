package api_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/subscriber/api"
)

// The answer to any query is a Bundle or an error of the caller, and the self link
// of a Bundle has the same answer.
func FuzzQuery(f *testing.F) {
	for _, query := range []string{
		"researchstudy=S1", "ResearchStudy=A%2CB&page=2", `researchstudy=A\,B`, "researchstudy=%C3%89&_count=3&page=9&x-partnerid=acme",
		"researchstudy=S1&date=ge01/31/2014&date=lt2015&_since=2014-01-01T10:00:00+02:00&issued=ne2014,eq2015",
		`researchstudy=S1&name=a\,b,c&conclusion=No&caseid=007&subject=Patient/A%2520B&_id=1,2&id=3`,
		"researchstudy=S1&_sort=-date,_LastUpdated&_elements=id,effective[x]&_total=none&_format=application/fhir+json&_summary=false",
		"researchstudy=S1&_summary=count&_count=0", "researchstudy=S1&%=1", "&&=&;", "researchstudy=S1&_id:x=1", "researchstudy=S1&_count=99999",
	} {
		f.Add(query)
	}
	s := serve(f, api.Config{}, "S1", "A,B", "É", "A\\B")
	s.reader.page = reports(3)
	handler := rest.Wrap(s.api, slog.New(slog.DiscardHandler))
	ask := func(query string) answer {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL = &url.URL{Path: api.DefaultBasePath + "/DiagnosticReport", RawQuery: query}
		r.Header.Set("Authorization", "Bearer "+s.accessToken)
		r.Header.Set("X-Partnerid", partnerID)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r.WithContext(context.Background()))
		return answer{w.Code, w.Header(), w.Body.Bytes()}
	}
	f.Fuzz(func(t *testing.T, query string) {
		a := ask(query)
		if a.status != http.StatusOK {
			if a.outcome(t); a.status >= 500 {
				t.Fatalf("%q: %d %s", query, a.status, a.body)
			}
			return
		}
		b, asked := a.bundle(t), s.reader.lastQuery(t)
		self := b.Link[0].URL
		if _, err := url.Parse(self); err != nil || strings.ContainsAny(self, "+ ") {
			t.Fatalf("%q: link %s (%v)", query, self, err)
		}
		_, again, _ := strings.Cut(self, "?")
		if c := ask(again); string(c.body) != string(a.body) || c.header.Get("Etag") != a.header.Get("Etag") {
			t.Errorf("%q:\n%s, its self link:\n%s", query, a.body, c.body)
		}
		if diff := cmp.Diff(asked, s.reader.lastQuery(t)); diff != "" {
			t.Errorf("%q and its self link %s ask for different reports:\n%s", query, again, diff)
		}
	})
}
