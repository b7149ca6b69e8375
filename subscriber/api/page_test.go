package api_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/subscriber/api"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// reports returns a page of n small reports with the ids 1, 2, 3 ….
func reports(n int) readmodel.Page {
	page := readmodel.Page{Total: n, ChainHead: events.ChainHead{Number: uint64(n)}}
	for i := range n {
		id := strconv.Itoa(i + 1)
		page.Reports = append(page.Reports, readmodel.Report{
			ID: id, Study: "S1", Version: uint64(i + 1), LastUpdated: noon, Available: true,
			Body: fmt.Appendf(nil, `{"resourceType":"DiagnosticReport","id":%q}`, id),
		})
	}
	return page
}

func TestPages(t *testing.T) {
	s := serve(t, api.Config{Count: 5, MaxCount: 10}, "S1")
	for _, c := range []struct {
		name    string
		reports int
		query   string
		links   []string
		entries int
	}{
		{"nothing matches", 0, "", []string{"self page=1", "first page=1", "last page=1"}, 0},
		{"one page", 5, "", []string{"self page=1", "first page=1", "last page=1"}, 5},
		{"the first of several", 11, "", []string{"self page=1", "first page=1", "last page=3", "next page=2"}, 5},
		{"one in the middle", 11, "&page=2", []string{"self page=2", "first page=1", "last page=3", "previous page=1", "next page=3"}, 5},
		{"the last", 11, "&page=3", []string{"self page=3", "first page=1", "last page=3", "previous page=2"}, 1},
		{"just behind the last", 11, "&page=4", []string{"self page=4", "first page=1", "last page=3", "previous page=3"}, 0},
		{"far behind the last", 11, "&page=2147483647", []string{"self page=2147483647", "first page=1", "last page=3", "previous page=3"}, 0},
		{"behind nothing", 0, "&page=2", []string{"self page=2", "first page=1", "last page=1", "previous page=1"}, 0},
		{"another size", 11, "&_count=7&page=2", []string{"self _count=7&page=2", "first _count=7&page=1", "last _count=7&page=2", "previous _count=7&page=1"}, 4},
		{"a size above the maximum", 11, "&_count=99", []string{"self _count=10&page=1", "first _count=10&page=1", "last _count=10&page=2", "next _count=10&page=2"}, 10},
		{"the total only", 11, "&_summary=count", []string{"self _summary=count&page=1"}, 0},
		{"no reports wanted", 11, "&_count=0", []string{"self _count=0&page=1"}, 0},
		{"no reports wanted, with a page", 11, "&_count=0&page=3", []string{"self _count=0&page=3"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.reader.change(func(r *scriptedReader) { r.page = reports(c.reports); r.page.Position = 17 })
			b := s.get(t, "/DiagnosticReport?researchstudy=S1"+c.query).bundle(t)
			for i := range c.links {
				relation, query, _ := strings.Cut(c.links[i], " ")
				c.links[i] = relation + " researchstudy=S1&" + query
				if relation != "self" && relation != "first" {
					c.links[i] += "&asof=17"
				}
			}
			if diff := cmp.Diff(c.links, b.links(t)); diff != "" {
				t.Errorf("links (-want +got):\n%s", diff)
			}
			if b.Total == nil || *b.Total != c.reports || len(b.Entry) != c.entries {
				t.Errorf("total %v, %d entries, want %d and %d", b.Total, len(b.Entry), c.reports, c.entries)
			}
		})
	}
}

func TestFollowingNextReturnsEachReportOnce(t *testing.T) {
	s := serve(t, api.Config{}, "A B+/é")
	s.reader.page = reports(23)
	var seen []string
	path := "/DiagnosticReport?researchstudy=A%20B%2B%2F%C3%A9&_count=4&name=x+y&name=%C3%A9%26%3D"
	for pages := 0; path != "" && pages < 10; pages++ {
		b := s.get(t, path, header("X-Partnerid", partnerID)).bundle(t)
		for _, e := range b.Entry {
			want := publicURL + api.DefaultBasePath + "/DiagnosticReport?researchstudy=A%20B%2B%2F%C3%A9&_Id="
			id, ok := strings.CutPrefix(e.FullURL, want)
			if !ok {
				t.Fatalf("fullUrl is %s", e.FullURL)
			}
			seen = append(seen, id)
		}
		path = ""
		for _, l := range b.Link {
			if strings.ContainsAny(l.URL, "+ ") {
				t.Errorf("link is not encoded as in RFC 3986: %s", l.URL)
			}
			if l.Relation == "next" {
				path = strings.TrimPrefix(l.URL, publicURL+api.DefaultBasePath)
			}
		}
	}
	var want []string
	for i := range 23 {
		want = append(want, strconv.Itoa(i+1))
	}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("reports (-want +got):\n%s", diff)
	}
}

func TestTheLinksOfALongQueryAreAccepted(t *testing.T) {
	s := serve(t, api.Config{MaxQuery: len("researchstudy=S1&_id=&") + 17*480 + 1}, "S1")
	const start = "researchstudy=S1&_id="
	query := "/DiagnosticReport?" + start + strings.Repeat("1234567890123456,", 480) + "1"
	if a := s.get(t, query+strings.Repeat("1", 64)); a.status != http.StatusRequestEntityTooLarge {
		t.Fatalf("the longest query is longer than it should be: %d", a.status)
	}
	b := s.get(t, query).bundle(t)
	self := strings.TrimPrefix(b.Link[0].URL, publicURL+api.DefaultBasePath)
	if len(self) < len(query)+500 {
		t.Fatalf("the link is not longer than the query: %d and %d bytes", len(self), len(query))
	}
	s.get(t, self).bundle(t)
}

func TestPartnerIDStaysInLinksOnlyIfItCameInTheQuery(t *testing.T) {
	s := serve(t, api.Config{}, "S1")
	for _, c := range []struct {
		name, query string
		header      []string
		kept        bool
	}{
		{"in the header", "", []string{partnerID}, false},
		{"in the query", "&X-PARTNERID=acme", nil, true},
		{"in both", "&x-partnerid=acme", []string{partnerID}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := s.get(t, "/DiagnosticReport?researchstudy=S1"+c.query, header("X-Partnerid", c.header...)).bundle(t)
			if got := strings.Contains(b.Link[0].URL, "&x-partnerid=acme&"); got != c.kept {
				t.Errorf("link is %s", b.Link[0].URL)
			}
		})
	}
}

func TestTheAuthorizationSchemeIsReadWithoutRegardToCase(t *testing.T) {
	s := serve(t, api.Config{}, "S1")
	for _, scheme := range []string{"Bearer ", "bearer ", "BEARER  "} {
		if a := s.get(t, "/DiagnosticReport?researchstudy=S1", header("Authorization", scheme+s.accessToken)); a.status != http.StatusOK {
			t.Errorf("%s: %d %s", scheme, a.status, a.body)
		}
	}
}

func TestHeadAnswersLikeGetWithoutABody(t *testing.T) {
	s := serve(t, api.Config{}, "S1")
	s.reader.page = reports(3)
	s.reader.reports = map[string]readmodel.Report{"1": s.reader.page.Reports[0]}
	plain := header("Accept-Encoding", "identity")
	for _, path := range []string{"/DiagnosticReport?researchstudy=S1", "/DiagnosticReport/1", "/DiagnosticReport/none", "/DiagnosticReport"} {
		get, head := s.get(t, path, plain), s.get(t, path, plain, method("HEAD"))
		if head.status != get.status || len(head.body) != 0 || len(get.body) == 0 {
			t.Errorf("%s: HEAD: %d and %d bytes, GET: %d and %d", path, head.status, len(head.body), get.status, len(get.body))
		}
		for _, name := range []string{"Content-Type", "Etag", "Last-Modified", "Cache-Control", "Content-Length"} {
			if g, h := get.header.Get(name), head.header.Get(name); g != h || name == "Content-Type" && g == "" {
				t.Errorf("%s: %s is %q by GET, %q by HEAD", path, name, g, h)
			}
		}
	}
}

func TestARevokedGrantIsRefusedAtOnce(t *testing.T) {
	s := serve(t, api.Config{}, "S1", "S2")
	s.reader.page = reports(1)
	s.reader.reports = map[string]readmodel.Report{"1": s.reader.page.Reports[0]}
	const search, read = "/DiagnosticReport?researchstudy=S1", "/DiagnosticReport/1"
	tag := s.get(t, search).header.Get("Etag")
	s.reader.change(func(r *scriptedReader) {
		p, _ := r.directory.Partner(partnerID)
		p.Studies = []string{"S2"}
		r.directory = r.directory.WithPartner(p)
	})
	if a := s.get(t, search, header("If-None-Match", tag)); a.status != http.StatusForbidden {
		t.Errorf("search: %d %s", a.status, a.body)
	}
	if a := s.get(t, read, header("If-None-Match", `W/"1"`)); a.status != http.StatusNotFound {
		t.Errorf("read: %d %s", a.status, a.body)
	}
	s.reader.change(func(r *scriptedReader) {
		p, _ := r.directory.Partner(partnerID)
		p.Enabled = false
		r.directory = r.directory.WithPartner(p)
	})
	if a := s.get(t, search); a.status != http.StatusUnauthorized {
		t.Errorf("search of a removed partner: %d %s", a.status, a.body)
	}
}
