package api_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/klauspost/compress/gzip"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/fhir"
	"github.com/seed-e88a4ece/signoff/subscriber/api"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// countedReader is a read model that counts the searches of its file.
type countedReader struct {
	*readmodel.Model
	searches atomic.Int64
}

func (r *countedReader) Search(ctx context.Context, q readmodel.Query) (readmodel.Page, error) {
	r.searches.Add(1)
	return r.Model.Search(ctx, q)
}

// count serves the same read model through a countedReader.
func (s *modelServer) count(cfg api.Config) (*server, *countedReader) {
	reader := &countedReader{Model: s.model}
	counted := serveReader(s.t, reader, cfg)
	counted.accessToken = s.accessToken
	return counted, reader
}

func TestAKnownPageIsServedWithoutTheFile(t *testing.T) {
	model := serveModel(t, api.Config{}, "S1")
	for i := range 5 {
		model.report(events.ReportSigned, fhir.Report{Assessment: assessment("S1", strconv.Itoa(i+1), i+1, 16)})
	}
	model.wait()
	s, reader := model.count(api.Config{})
	const search = "/DiagnosticReport?researchstudy=S1"
	first := s.get(t, search)
	tag := header("If-None-Match", first.header.Get("Etag"))
	for name, c := range map[string]struct {
		path    string
		options []func(*http.Request)
		status  int
	}{
		"the same page":               {search, nil, 200},
		"in other words":              {"/DiagnosticReport/?RESEARCHSTUDY=S1&page=1&unknown=x&date=", nil, 200},
		"by POST":                     {"/DiagnosticReport/_search", []func(*http.Request){form(formType, "researchstudy=S1")}, 200},
		"with its tag":                {search, []func(*http.Request){tag}, 304},
		"with its tag, by HEAD":       {search, []func(*http.Request){tag, method("HEAD")}, 304},
		"with its tag, in the query":  {search + "&x-partnerid=acme", []func(*http.Request){tag, header("X-Partnerid")}, 0},
		"compressed":                  {search, []func(*http.Request){header("Accept-Encoding", "br, gzip;q=0.5")}, 200},
		"compressed, not by gzip":     {search, []func(*http.Request){header("Accept-Encoding", "gzip;q=0, br")}, 200},
		"compressed, with another":    {search, []func(*http.Request){header("Accept-Encoding", "GZIP")}, 200},
		"compressed, by HEAD":         {search, []func(*http.Request){header("Accept-Encoding", "gzip"), method("HEAD")}, 200},
		"compressed, and not changed": {search, []func(*http.Request){header("Accept-Encoding", "gzip"), tag}, 304},
	} {
		t.Run(name, func(t *testing.T) {
			before := reader.searches.Load()
			a := s.get(t, c.path, c.options...)
			if c.status == 0 { // another page
				if a.status != 200 || reader.searches.Load() != before+1 {
					t.Errorf("got %d", a.status)
				}
				return
			}
			if a.status != c.status || a.header.Get("Etag") != first.header.Get("Etag") || a.header.Get("Cache-Control") != "private, no-cache" {
				t.Errorf("got %d with %v", a.status, a.header)
			}
			if n := reader.searches.Load() - before; n != 0 {
				t.Errorf("%d searches", n)
			}
			if len(a.body) > 0 && !bytes.Equal(plain(t, a), first.body) {
				t.Errorf("another body: %s", a.body)
			}
		})
	}
}

// plain returns the body of an answer, decompressed if it is compressed.
func plain(t testing.TB, a answer) []byte {
	t.Helper()
	if a.header.Get("Content-Encoding") == "" {
		return a.body
	}
	r, err := gzip.NewReader(bytes.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestAPageIsCompressedOnce(t *testing.T) {
	model := serveModel(t, api.Config{}, "S1")
	model.report(events.ReportSigned, fhir.Report{Assessment: assessment("S1", "1", 1, 60)})
	model.wait()
	for _, size := range []int64{0, -1} { // with the cache and without
		s, _ := model.count(api.Config{CacheBytes: size})
		const search = "/DiagnosticReport?researchstudy=S1"
		want := s.get(t, search, header("Accept-Encoding", "identity"))
		a := s.get(t, search, header("Accept-Encoding", "gzip"))
		if a.header.Get("Content-Encoding") != "gzip" || !bytes.Equal(plain(t, a), want.body) || len(a.body) > len(want.body)/2 {
			t.Errorf("%v, %d bytes of %d", a.header, len(a.body), len(want.body))
		}
		again := s.get(t, search, header("Accept-Encoding", "gzip"))
		if !bytes.Equal(again.body, a.body) || again.header.Get("Vary") == "" {
			t.Errorf("another answer with %v", again.header)
		}
	}
}

// Partners share pages, and each needs the grant.
func TestACachedPageNeedsTheGrant(t *testing.T) {
	model := serveModel(t, api.Config{}, "S1")
	model.report(events.ReportSigned, fhir.Report{Assessment: assessment("S1", "1", 1, 1)})
	other := access.Partner{ID: "other", Studies: []string{"S1"}, Secrets: secrets(), Enabled: true}
	model.announce(events.AccessPartner, other.EventSubject(), other)
	s, reader := model.count(api.Config{})
	as := func(r *http.Request) {
		r.Header.Set("Authorization", "Bearer "+issue(t, model.signer, "other", noon))
		r.Header.Set("X-Partnerid", "other")
	}
	const search = "/DiagnosticReport?researchstudy=S1"
	mine, theirs := s.get(t, search), s.get(t, search, as)
	if !bytes.Equal(mine.body, theirs.body) || reader.searches.Load() != 1 {
		t.Errorf("%d searches for the same page", reader.searches.Load())
	}
	other.Studies = nil
	model.announce(events.AccessPartner, other.EventSubject(), other)
	for _, option := range []func(*http.Request){func(*http.Request) {}, header("If-None-Match", theirs.header.Get("Etag")), header("If-None-Match", "*")} {
		if a := s.get(t, search, as, option); a.status != http.StatusForbidden {
			t.Errorf("without the grant: %d %s", a.status, a.body)
		}
	}
	if a := s.get(t, search); a.status != http.StatusOK {
		t.Errorf("the other partner: %d", a.status)
	}
}

func TestThePageCacheKeepsToItsBound(t *testing.T) {
	const bound = 256 << 10
	model := serveModel(t, api.Config{}, "S1")
	for i := range 40 {
		model.report(events.ReportSigned, fhir.Report{Assessment: assessment("S1", strconv.Itoa(i+1), i+1, 16)})
	}
	model.wait()
	cfg := unhurried
	cfg.CacheBytes = bound
	s, reader := model.count(cfg)
	var clients sync.WaitGroup
	for client := range 4 {
		clients.Go(func() {
			for i := range 40 {
				page := (i*7+client*11)%40 + 1
				a := s.get(t, fmt.Sprintf("/DiagnosticReport?researchstudy=S1&_count=2&page=%d", page), header("Accept-Encoding", []string{"gzip", "identity"}[i%2]))
				if want := min(2, max(0, 40-(page-1)*2)); bytes.Count(plain(t, a), []byte(`"fullUrl"`)) != want {
					t.Errorf("page %d: %d %s", page, a.status, a.body)
				}
				if size := figures(t, s.api)["page_cache_bytes"]; size > bound {
					t.Errorf("the cache has %v bytes", size)
				}
			}
		})
	}
	clients.Wait()
	got := figures(t, s.api)
	if got["page_cache_lookups_total hit"]+got["page_cache_lookups_total miss"] != 160 || got["page_cache_lookups_total miss"] != float64(reader.searches.Load()) {
		t.Errorf("%v, %d searches", got, reader.searches.Load())
	}
	before := reader.searches.Load()
	for range 2 { // too large for a quarter of the cache
		s.get(t, "/DiagnosticReport?researchstudy=S1&_count=40")
	}
	if n := reader.searches.Load() - before; n != 2 {
		t.Errorf("%d searches for a page that is too large", n)
	}
}

// A model that nothing feeds in this process may change by another one, so that
// its file must be read.
func TestAModelThatIsNotFedIsReadEachTime(t *testing.T) {
	model := serveModel(t, api.Config{}, "S1")
	model.report(events.ReportSigned, fhir.Report{Assessment: assessment("S1", "1", 1, 1)})
	model.wait()
	still, err := readmodel.Open(t.Context(), model.path, readmodel.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { still.Close() })
	s := serveReader(t, still, api.Config{})
	s.accessToken = model.accessToken
	const search = "/DiagnosticReport?researchstudy=S1"
	tag := s.get(t, search).header.Get("Etag")
	if a := s.get(t, search, header("If-None-Match", tag)); a.status != http.StatusNotModified || a.header.Get("Etag") != model.get(t, search).header.Get("Etag") {
		t.Errorf("got %d with %v", a.status, a.header)
	}
	model.report(events.ReportSigned, fhir.Report{Assessment: assessment("S1", "2", 2, 1)})
	model.wait()
	if b := s.get(t, search, header("If-None-Match", tag)).bundle(t); *b.Total != 2 {
		t.Errorf("total %d", *b.Total)
	}
}
