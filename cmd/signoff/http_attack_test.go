package main

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"
)

// TestHostilePartnerOverHTTP tries, with the credentials of one partner, to see or disturb
// what belongs to another. No attempt may have an effect, and after each group both
// partners must get their own pages as before.
func TestHostilePartnerOverHTTP(t *testing.T) {
	t.Parallel()
	s := startAttackedServer(t)
	for name, group := range map[string]func(*testing.T){
		"another partner's id":            s.anotherPartner,
		"another study":                   s.anotherStudy,
		"another study in any parameter":  s.anyParameter,
		"page links of another partner":   s.pageLinks,
		"ids guessed":                     s.guessedIDs,
		"methods":                         s.methods,
		"header smuggling":                s.smuggling,
		"paths":                           s.paths,
		"sizes":                           s.sizes,
		"lines in the log":                s.logLines,
		"what other listeners are for":    s.otherFaces,
		"tokens and secrets where not to": s.misplacedSecrets,
	} {
		t.Run(name, func(t *testing.T) {
			group(t)
			s.honest()
		})
	}
}

func (s *attackedServer) anotherPartner(t *testing.T) {
	bearer := header{"Authorization", "Bearer " + s.attacker.token}
	page := base + "/DiagnosticReport?researchstudy="
	for name, a := range map[string]attack{
		"in the header":                {target: page + theirs, headers: []header{bearer, {"x-partnerid", "rival"}}},
		"of the own study too":         {target: page + mine, headers: []header{bearer, {"x-partnerid", "rival"}}},
		"in the query":                 {target: page + theirs + "&x-partnerid=rival", headers: []header{bearer}},
		"in the query, in capitals":    {target: page + theirs + "&X-PARTNERID=rival", headers: []header{bearer}},
		"in the query, encoded":        {target: page + theirs + "&%78-partnerid=%72ival", headers: []header{bearer}},
		"in the query, beside the own": {target: page + theirs + "&x-partnerid=acme&x-partnerid=rival", headers: []header{bearer}},
		"in both places":               {target: page + theirs + "&x-partnerid=rival", headers: s.asAttacker()},
		"in two headers":               {target: page + theirs, headers: append(s.asAttacker(), header{"X-PartnerID", "rival"})},
		"in two headers, first":        {target: page + theirs, headers: append([]header{{"X-PartnerID", "rival"}}, s.asAttacker()...)},
		"as a list":                    {target: page + theirs, headers: []header{bearer, {"x-partnerid", "acme, rival"}}},
		"as a list of one":             {target: page + mine, headers: []header{bearer, {"x-partnerid", "acme,"}}},
		"in another case":              {target: page + mine, headers: []header{bearer, {"x-partnerid", "ACME"}}},
		"with an underscore":           {target: page + mine, headers: []header{bearer, {"x_partnerid", "acme"}}},
		"none":                         {target: page + mine, headers: []header{bearer}},
		"an empty one":                 {target: page + mine, headers: []header{bearer, {"x-partnerid", ""}}},
		"with the other's study as id": {target: page + mine, headers: []header{bearer, {"x-partnerid", theirs}}},
	} {
		t.Run(name, func(t *testing.T) { s.refused(t, a, http.StatusUnauthorized) })
	}
}

// spellings of another's study that must open nothing. Those of the first
// group name a study, so that whatever they name is refused as not granted.
func (s *attackedServer) anotherStudy(t *testing.T) {
	accent := theirStudies[5]
	search := base + "/DiagnosticReport?"
	unknown := s.refused(t, attack{target: search + "researchstudy=NOBODYS", headers: s.asAttacker()}, http.StatusForbidden)
	for _, query := range []string{
		"researchstudy=THEIRS", "researchstudy=mine", "researchstudy=Mine", "researchstudy=%54HEIRS", "researchstudy=%54%48%45%49%52%53",
		"RESEARCHSTUDY=THEIRS", "ResearchStudy=THEIRS", "%72esearchstudy=THEIRS", "researchstudy=THEIRS&researchstudy=THEIRS",
		"researchstudy=MINE,THEIRS", "researchstudy=THEIRS,MINE", "researchstudy=MINE%2CTHEIRS", "researchstudy=MINE%5C,THEIRS", "researchstudy=MINE%5C%5C,THEIRS",
		"researchstudy=MINE&researchstudy=THEIRS", "researchstudy=THEIRS&researchstudy=MINE", "researchstudy=MINE&ResearchStudy=THEIRS", "researchstudy=&researchstudy=THEIRS",
		"researchstudy=MINE%20", "researchstudy=MINE+", "researchstudy=%20MINE", "researchstudy=MINE%00", "researchstudy=MINE%00THEIRS", "researchstudy=MINE%0A", "researchstudy=MINE%0D%0ATHEIRS",
		"researchstudy=MINE%09", "researchstudy=MINE%C2%A0", "researchstudy=MINE%E2%80%8B", "researchstudy=MINE%EF%BB%BF", "researchstudy=%EF%BC%ADINE",
		"researchstudy=" + url.QueryEscape(accent), "researchstudy=" + url.QueryEscape(norm.NFD.String(accent)), "researchstudy=" + accent,
		"researchstudy=*", "researchstudy=MIN*", "researchstudy=%25", "researchstudy=MIN%25", "researchstudy=MIN_", "researchstudy=%3E", "researchstudy=MINE.%3E",
		"researchstudy=MINE%252CTHEIRS", "researchstudy=%2554HEIRS", "researchstudy=..%2FTHEIRS", "researchstudy=MINE/../THEIRS", "researchstudy=ResearchStudy/THEIRS",
		"researchstudy=MINE'%20or%20'1'='1", "researchstudy=MINE%22%20or%201=1--", "researchstudy=MINE)%20or%20(1=1", "researchstudy=MINE%3Bdrop%20table%20reports",
		"researchstudy=_access", "researchstudy=_partner/acme", "researchstudy=_partner/rival", "researchstudy=null", "researchstudy=undefined", "researchstudy=[]", "researchstudy=%7B%22%24ne%22:null%7D",
		"researchstudy=MINE;researchstudy=THEIRS", "researchstudy=MINE%26researchstudy=THEIRS", "researchstudy=MINE|THEIRS", "researchstudy=MINE%26page=1", "researchstudy=MINE/1",
	} {
		got := s.refused(t, attack{target: search + query, headers: s.asAttacker()}, http.StatusForbidden)
		if got.body != unknown.body {
			t.Errorf("%s is refused otherwise than a study nobody has:\n%s\n%s", query, got.body, unknown.body)
		}
	}
	for _, query := range []string{
		"researchstudy%00=THEIRS", "researchstudy[]=THEIRS", "researchstudy[0]=THEIRS", "researchstudy.identifier=THEIRS", "researchstudy%5B%5D=THEIRS",
		"research-study=THEIRS", "study=THEIRS", "researchstudy", "researchstudy=", "", "researchstudy%3DTHEIRS", "researchstudy%20=THEIRS", "%20researchstudy=THEIRS",
		"researchstudy:exact=THEIRS", "researchstudy:not=MINE", "researchstudy:missing=true", "researchstudy:in=THEIRS", "researchstudy:=THEIRS", "researchstudy:contains=M",
		"researchstudy=MINE&researchstudy:not=MINE", "researchstudy=%FF", "researchstudy=%", "researchstudy=%ZZ", "researchstudy=%C0%AE", "researchstudy=MINE&researchstudy=%C3%89tude-1",
	} {
		s.refused(t, attack{target: search + query, headers: s.asAttacker()}, http.StatusBadRequest)
	}
	t.Run("the own study goes by either normal form", func(t *testing.T) {
		for _, form := range []string{mineAccent, norm.NFD.String(mineAccent)} {
			got := s.refused(t, attack{target: search + "researchstudy=" + url.QueryEscape(form), headers: s.asAttacker()}, http.StatusOK)
			if !strings.Contains(got.body, "OWN-3") {
				t.Errorf("%q: %s", form, got.body)
			}
		}
	})
}

// anyParameter asks for the own study and puts the other one, its reports and
// its partner into each other parameter there is or might be. Whatever the
// answer, nothing of the other's is in it: send checks.
func (s *attackedServer) anyParameter(t *testing.T) {
	known := []string{
		"_id", "id", "date", "issued", "_lastUpdated", "_since", "subject", "patient", "conclusion", "caseid", "name",
		"_sort", "_elements", "_summary", "_total", "_format", "_count", "page",
	}
	others := []string{
		"studyid", "study", "protocol", "identifier", "_query", "_filter", "_has", "_has:ResearchStudy:x", "_include", "_revinclude", "_include:iterate",
		"_text", "_content", "_list", "_type", "_source", "_profile", "_security", "_tag", "_contained", "_at", "_offset", "_page", "_getpages", "ct", "cursor",
		"tenant", "partner", "partnerid", "client_id", "admin", "debug", "callback", "access_token", "subject.identifier", "result.subject", "based-on",
	}
	values := []string{theirs, "t-0", rivals, "rival", "Patient/" + rivals, mine + "," + theirs, "DiagnosticReport:" + theirs, "1 or 1=1", "' union select body from reports--", "*"}
	for _, name := range append(known, others...) {
		for _, value := range values {
			for _, order := range []string{"researchstudy=%[1]s&%[2]s=%[3]s", "%[2]s=%[3]s&researchstudy=%[1]s"} {
				target := base + "/DiagnosticReport?" + fmt.Sprintf(order, mine, name, url.QueryEscape(value))
				got := s.refused(t, attack{target: target, headers: s.asAttacker()}, http.StatusOK, http.StatusBadRequest, http.StatusNotAcceptable)
				if got.status == http.StatusOK && strings.Contains(got.body, `"t-`) {
					t.Errorf("%s: %s", target, got.body)
				}
			}
		}
	}
	for _, id := range []string{"t-0", "m-1,t-0", "m-1&id=t-0", "DiagnosticReport/t-0"} {
		got := s.send(t, attack{target: base + "/DiagnosticReport?researchstudy=" + mine + "&_id=" + id, headers: s.asAttacker()})
		unknown := s.send(t, attack{target: base + "/DiagnosticReport?researchstudy=" + mine + "&_id=" + strings.ReplaceAll(id, "t-0", "x-0"), headers: s.asAttacker()})
		if strings.ReplaceAll(got.body, "t-0", "x-0") != unknown.body || got.status != unknown.status {
			t.Errorf("_id=%s distinguishes an id that exists elsewhere from an unknown one:\n%s\n%s", id, got.body, unknown.body)
		}
	}
}

var urls = regexp.MustCompile(`"(?:url|fullUrl)":"(http://[^"]*DiagnosticReport\?[^"]*)"`)

func (s *attackedServer) pageLinks(t *testing.T) {
	_, body := s.other.get("/DiagnosticReport?researchstudy=" + theirs + "&_count=1")
	links := urls.FindAllStringSubmatch(string(body), -1)
	if len(links) < 3 {
		t.Fatalf("the other's page has the links %v", links)
	}
	for _, link := range links {
		u, err := url.Parse(link[1])
		if err != nil {
			t.Fatal(err)
		}
		s.refused(t, attack{target: u.RequestURI(), headers: s.asAttacker()}, http.StatusForbidden)
		s.refused(t, attack{target: link[1], headers: s.asAttacker()}, http.StatusForbidden)
		s.refused(t, attack{target: u.RequestURI() + "&x-partnerid=rival", headers: s.asAttacker()}, http.StatusUnauthorized)
	}
	t.Run("validators of another's answers", func(t *testing.T) {
		for _, path := range []string{"/DiagnosticReport?researchstudy=" + theirs, "/DiagnosticReport/t-0"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.p.PublicURL()+base+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+s.other.token)
			req.Header.Set("X-Partnerid", "rival")
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			tag := res.Header.Get("Etag")
			if tag == "" {
				t.Fatalf("%s has no ETag", path)
			}
			for _, h := range []header{
				{"If-None-Match", tag}, {"If-None-Match", "*"}, {"If-Match", tag}, {"If-Modified-Since", "Mon, 01 Jan 2120 00:00:00 GMT"}, {"Range", "bytes=0-10"},
			} {
				s.refused(t, attack{target: base + path, headers: append(s.asAttacker(), h)}, http.StatusForbidden, http.StatusNotFound)
			}
		}
	})
}

// guessedIDs asks for reports that exist, that were withdrawn and that never
// were: the attacker must not be able to tell them apart.
func (s *attackedServer) guessedIDs(t *testing.T) {
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		for _, extra := range []header{{"Accept", "*/*"}, {"If-None-Match", "*"}, {"Accept", "application/xml"}, {"Prefer", "handling=strict"}} {
			for _, query := range []string{"", "?researchstudy=" + theirs, "?researchstudy=" + mine, "?_format=json", "?_summary=true", "?_elements=id", "?x-partnerid=acme"} {
				ask := func(id string) response {
					return s.send(t, attack{method: method, target: base + "/DiagnosticReport/" + id + query, headers: append(s.asAttacker(), extra)})
				}
				unknown := ask("x-0")
				if unknown.status == http.StatusGone || unknown.status < http.StatusBadRequest {
					t.Fatalf("an unknown report is answered with %d", unknown.status)
				}
				for _, id := range []string{"t-0", "t2-3", "gone-0"} {
					got := ask(id)
					same := got.status == unknown.status && strings.ReplaceAll(got.body, id, "x-0") == unknown.body && namesOf(got.header) == namesOf(unknown.header)
					if !same {
						t.Errorf("%s %s%s with %v can be distinguished from an unknown one:\n%d %s\n%d %s", method, id, query, extra, got.status, got.body, unknown.status, unknown.body)
					}
				}
			}
		}
	}
	for _, id := range []string{"T-0", "t-0%00", "t-0.", "t%2D0", "t-0%20", "m-1,t-0", "t-*", "%2e%2e%2ft-0", "t-0?x", "t-0;m-1", "t-0.json", "t-0'--", "m-1%2F..%2Ft-0"} {
		s.refused(t, attack{target: base + "/DiagnosticReport/" + id, headers: s.asAttacker()}, http.StatusNotFound, http.StatusBadRequest)
	}
}

// namesOf returns the names of the lines of a header.
func namesOf(h http.Header) string {
	names := make(map[string]string)
	for name := range h {
		names[name] = ""
	}
	return fmt.Sprint(names) // sorted
}

func (s *attackedServer) methods(t *testing.T) {
	for _, target := range []string{base + "/DiagnosticReport?researchstudy=" + theirs, base + "/DiagnosticReport/t-0", base + "/DiagnosticReport/x-0"} {
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "SEARCH", "PURGE", "get", "FOO"} {
			got := s.refused(t, attack{method: method, target: target, headers: s.asAttacker()}, http.StatusMethodNotAllowed)
			if allow := got.header.Get("Allow"); allow != "GET, HEAD" {
				t.Errorf("%s: Allow %q", method, allow)
			}
			if strings.Contains(got.body, "Bearer") {
				t.Errorf("%s returns the request", method)
			}
		}
		for _, name := range []string{"X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"} {
			s.refused(t, attack{target: target, headers: append(s.asAttacker(), header{name, "DELETE"})}, http.StatusForbidden, http.StatusNotFound)
		}
	}
	got := s.refused(t, attack{method: http.MethodHead, target: base + "/DiagnosticReport?researchstudy=" + theirs, headers: s.asAttacker()}, http.StatusForbidden)
	if got.body != "" {
		t.Errorf("HEAD is answered with %q", got.body)
	}
	s.refused(t, attack{method: http.MethodPost, target: base + "/DiagnosticReport/_search", body: "researchstudy=" + theirs, headers: append(s.asAttacker(),
		header{"Content-Type", "application/x-www-form-urlencoded"}, header{"Content-Length", "20"})}, http.StatusForbidden)
	s.refused(t, attack{method: http.MethodPost, target: base + "/DiagnosticReport/_search?researchstudy=" + mine, body: "researchstudy=" + theirs, headers: append(s.asAttacker(),
		header{"Content-Type", "application/x-www-form-urlencoded"}, header{"Content-Length", "20"})}, http.StatusForbidden)
	s.refused(t, attack{method: http.MethodPost, target: base + "/DiagnosticReport/_search", body: "x-partnerid=rival&researchstudy=" + theirs, headers: append(s.asAttacker(),
		header{"Content-Type", "application/x-www-form-urlencoded"}, header{"Content-Length", "38"})}, http.StatusUnauthorized)
	s.refused(t, attack{method: http.MethodGet, target: base + "/DiagnosticReport", body: "researchstudy=" + theirs, headers: append(s.asAttacker(),
		header{"Content-Type", "application/x-www-form-urlencoded"}, header{"Content-Length", "20"})}, http.StatusBadRequest)
}
