package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/seed-e88a4ece/signoff/outbox/token"
)

func (s *attackedServer) smuggling(t *testing.T) {
	denied := base + "/DiagnosticReport?researchstudy=" + theirs
	own := base + "/DiagnosticReport?researchstudy=" + mine
	bearer := "Bearer " + s.attacker.token
	for name, a := range map[string]attack{
		"two Authorization headers":         {target: own, headers: append(s.asAttacker(), header{"Authorization", "Bearer x"})},
		"the same one twice":                {target: own, headers: append(s.asAttacker(), header{"authorization", bearer})},
		"two tokens in one":                 {target: own, headers: []header{{"Authorization", bearer + ", Bearer x"}, {"x-partnerid", "acme"}}},
		"an access token after a comma":     {target: own, headers: []header{{"Authorization", "Basic x, " + bearer}, {"x-partnerid", "acme"}}},
		"the token in another header":       {target: own, headers: []header{{"X-Authorization", bearer}, {"Proxy-Authorization", bearer}, {"x-partnerid", "acme"}}},
		"the token in a cookie":             {target: own, headers: []header{{"Cookie", "access_token=" + s.attacker.token + "; Authorization=" + bearer}, {"x-partnerid", "acme"}}},
		"headers of who terminates TLS":     {target: own, headers: []header{{"X-Forwarded-User", "rival"}, {"X-Remote-User", "rival"}, {"X-SSL-Client-Verify", "SUCCESS"}, {"x-partnerid", "rival"}}},
		"an identity named to be dropped":   {target: denied, headers: append(s.asAttacker(), header{"Connection", "close, authorization, x-partnerid"}, header{"x-partnerid", "rival"})},
		"a partner in the trailing headers": {target: denied, headers: append(s.asAttacker(), header{"Trailer", "x-partnerid"}, header{"X-Partnerid", "rival"})},
	} {
		t.Run(name, func(t *testing.T) { s.refused(t, a, http.StatusUnauthorized) })
	}
	for name, headers := range map[string][]header{
		"space before the colon":          {{"x-partnerid ", "rival"}},
		"a folded line":                   {{"X-A", "b\r\n x-partnerid: rival"}},
		"a bare carriage return":          {{"X-A", "b\rx-partnerid: rival"}},
		"a zero byte":                     {{"X-A", "b\x00"}},
		"two lengths":                     {{"Content-Length", "0"}, {"Content-Length", "5"}},
		"a negative length":               {{"Content-Length", "-1"}},
		"an encoding nobody knows":        {{"Transfer-Encoding", "xchunked"}},
		"two encodings":                   {{"Transfer-Encoding", "chunked"}, {"Transfer-Encoding", "identity"}},
		"no host twice":                   {{"Host", "a"}, {"Host", "b"}},
		"a name that is none":             {{"x partnerid", "rival"}},
		"a line without a name":           {{"", "rival"}},
		"a length that is none":           {{"Content-Length", "0x10"}},
		"an encoding with a vertical tab": {{"Transfer-Encoding", "\x0bchunked"}},
	} {
		t.Run(name, func(t *testing.T) {
			// A folded line is one value: it names no partner and changes nothing.
			s.refused(t, attack{target: denied, headers: append(s.asAttacker(), headers...)}, http.StatusBadRequest, http.StatusNotImplemented, http.StatusForbidden)
		})
	}
	t.Run("a request within another's body", func(t *testing.T) { s.requestWithin(t, denied) })
	t.Run("addresses and hosts that headers claim", func(t *testing.T) { s.claimedHosts(t) })
}

// requestWithin hides a request in the body of another, by each pair of
// statements about where the body ends. Only the outer one may be answered,
// or both, as what they are: requests of the attacker.
func (s *attackedServer) requestWithin(t *testing.T, denied string) {
	inner := "GET " + denied + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + s.attacker.token + "\r\nx-partnerid: rival\r\nConnection: close\r\n\r\n"
	length := fmt.Sprint(len(inner))
	for name, headers := range map[string][]header{
		"by length":             {{"Content-Length", length}},
		"by chunks and length":  {{"Content-Length", length}, {"Transfer-Encoding", "chunked"}},
		"by length and chunks":  {{"Transfer-Encoding", "chunked"}, {"Content-Length", length}},
		"by length, short":      {{"Content-Length", "0"}},
		"by chunks, misspelled": {{"Content-Length", length}, {"Transfer-encoding", "cow"}},
	} {
		for _, body := range []string{inner, "0\r\n\r\n" + inner} {
			got := s.send(t, attack{target: denied, headers: append(s.asAttacker(), headers...), body: body})
			if got.status < http.StatusBadRequest || strings.Contains(got.more, "200 OK") {
				t.Errorf("%s: %d, then %s", name, got.status, got.more)
			}
		}
	}
}

func (s *attackedServer) claimedHosts(t *testing.T) {
	for _, h := range []header{
		{"X-Forwarded-Host", "evil.example"}, {"Forwarded", "host=evil.example;proto=https"}, {"X-Forwarded-Proto", "evil"}, {"X-Forwarded-Prefix", "/evil.example"},
		{"X-Original-URL", base + "/DiagnosticReport?researchstudy=" + theirs}, {"X-Rewrite-URL", base + "/DiagnosticReport?researchstudy=" + theirs},
		{"X-Forwarded-Port", "666"}, {"X-Host", "evil.example"}, {"Referer", "http://evil.example"}, {"Origin", "http://evil.example"},
	} {
		got := s.refused(t, attack{target: base + "/DiagnosticReport?researchstudy=" + mine, headers: append(s.asAttacker(), h)}, http.StatusOK)
		if strings.Contains(got.body, "evil") || strings.Contains(got.body, ":666/") || got.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%v is believed: %s", h, got.body)
		}
		if !strings.Contains(got.body, s.p.PublicURL()) || strings.Contains(got.body, "example.org/msk") {
			t.Errorf("links are those of the Host header: %s", got.body)
		}
	}
	got := s.refused(t, attack{target: "http://evil.example" + base + "/DiagnosticReport?researchstudy=" + mine, headers: s.asAttacker()}, http.StatusOK)
	if strings.Contains(got.body, "evil") {
		t.Errorf("links are those of the request line: %s", got.body)
	}
}

func (s *attackedServer) paths(t *testing.T) {
	query := "?researchstudy=" + theirs
	for _, target := range []string{"*", "evil.example:80", "http://", "http://evil.example", "DiagnosticReport", "", "?researchstudy=" + theirs, "/%", "/%zz"} {
		s.nowhere(t, target)
	}
	for _, path := range []string{
		base + "//DiagnosticReport", "//" + base[1:] + "/DiagnosticReport", base + "/./DiagnosticReport", base + "/x/../DiagnosticReport", base + "/DiagnosticReport/",
		base + "/DiagnosticReport//", base + "/DiagnosticReport//t-0", base + "/DiagnosticReport/./t-0", base + "/DiagnosticReport/m-1/../t-0", base + "/DiagnosticReport/m-1/%2e%2e/t-0",
		base + "%2fDiagnosticReport", base + "/DiagnosticReport%2ft-0", base + "/DiagnosticReport%2Ft-0", base + "/DiagnosticReport/..%2f..%2f..%2f..%2fetc%2fpasswd",
		base + "/DiagnosticReport;a=b", base + ";a=b/DiagnosticReport", base + "/DiagnosticReport/t-0;a=b", base + "/DiagnosticReport/t-0/", base + "/DiagnosticReport/t-0/_history/1",
		base + "/DiagnosticReport/t-0%20", base + "/DiagnosticReport%00", base + "/DiagnosticReport%0d%0a", base + "/diagnosticreport", base + "/DiagnosticReport/$everything", base + "/Patient/" + rivals[:5],
		base + "/Observation", base + "/observation", base + "/ResearchStudy", base + "/_history", base + "/$export", base, base + "/", "/", "/..", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd",
		"/serve.json", "/data/serve.json", "/keys/token.jwk", "/outbox.db", "/.git/config", "/healthz", "/readyz", "/metrics", "/debug/pprof/", "/debug/vars", token.Path + "/", token.Path + "/../jwks/x", token.JWKSPath + "/token.jwk",
		"/msk-apim", `/msk-apim\external`, base + `\DiagnosticReport`, "//evil.example/DiagnosticReport", "///evil.example", "/%2f/evil.example", `/\evil.example`,
	} {
		s.nowhere(t, path+query)
	}
}

// nowhere wants a target to lead to a refusal, or to be cleaned by a redirect
// to this server and nowhere else.
func (s *attackedServer) nowhere(t *testing.T, target string) {
	t.Helper()
	got := s.send(t, attack{target: target, headers: s.asAttacker()})
	switch got.status {
	case http.StatusMovedPermanently, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		if to := got.header.Get("Location"); !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.HasPrefix(to, `/\`) {
			t.Errorf("%s is sent to %s", target, to)
		}
	case http.StatusNotFound, http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusMethodNotAllowed:
	default:
		t.Errorf("%s: %d %.200s", target, got.status, got.body)
	}
}

func (s *attackedServer) sizes(t *testing.T) {
	own := base + "/DiagnosticReport?researchstudy=" + mine
	long := strings.Repeat("a", 100<<10)
	for name, a := range map[string]attack{
		"a header line":          {target: own, headers: append(s.asAttacker(), header{"X-Long", long})},
		"an access token":        {target: own, headers: []header{{"Authorization", "Bearer " + long}, {"x-partnerid", "acme"}}},
		"a partner's id":         {target: own, headers: []header{{"Authorization", "Bearer " + s.attacker.token}, {"x-partnerid", long}}},
		"an address":             {target: own + "&name=" + long, headers: s.asAttacker()},
		"a path":                 {target: base + "/DiagnosticReport/" + long, headers: s.asAttacker()},
		"ten thousand headers":   {target: own, headers: append(s.asAttacker(), many(10_000)...)},
		"a method":               {method: strings.Repeat("G", 100<<10), target: own, headers: s.asAttacker()},
		"a request line of dots": {target: "/" + strings.Repeat("../", 30<<10), headers: s.asAttacker()},
	} {
		t.Run(name, func(t *testing.T) {
			got := s.refused(t, a, http.StatusRequestHeaderFieldsTooLarge, http.StatusRequestEntityTooLarge, http.StatusRequestURITooLong, http.StatusBadRequest)
			if !strings.Contains(got.body, `"OperationOutcome"`) {
				t.Errorf("%d without an OperationOutcome: %.200s", got.status, got.body)
			}
		})
	}
	for name, query := range map[string]string{
		"values":         "&_id=" + strings.Repeat("a,", 600) + "a",
		"parameters":     strings.Join(numbered("&_id=a-", 600), ""),
		"a long query":   "&name=" + strings.Repeat("a", 9<<10),
		"a page":         "&page=99999999999999999999",
		"a page size":    "&_count=-1",
		"a negative one": "&page=-1",
	} {
		t.Run(name, func(t *testing.T) {
			s.refused(t, attack{target: own + query, headers: s.asAttacker()}, http.StatusBadRequest, http.StatusRequestEntityTooLarge)
		})
	}
	t.Run("a token request", func(t *testing.T) {
		body := "grant_type=client_credentials&client_id=acme&client_secret=" + strings.Repeat("a", 20<<10)
		s.refused(t, attack{method: "POST", target: token.Path, body: body, headers: []header{
			{"Content-Type", "application/x-www-form-urlencoded"}, {"Content-Length", fmt.Sprint(len(body))},
		}}, http.StatusBadRequest)
	})
}

func numbered(prefix string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprint(prefix, i)
	}
	return all
}

func many(n int) []header {
	all := make([]header, n)
	for i := range all {
		all[i] = header{fmt.Sprint("X-H", i), "v"}
	}
	return all
}

// logLines has callers try to write lines of their own into the log. That none
// did is checked when the test ends.
func (s *attackedServer) logLines(t *testing.T) {
	forged := `{"time":"2026-01-01T00:00:00Z","level":"ERROR","msg":"INJECTED"}`
	own := base + "/DiagnosticReport?researchstudy=" + mine
	for _, h := range []header{
		{"X-Request-Id", "a INJECTED"}, {"X-Request-Id", forged}, {"X-Request-Id", "a%0aINJECTED"}, {"X-Request-Id", "a\tINJECTED"}, {"X-Request-Id", "INJECTED" + strings.Repeat("x", 100)},
		{"X-Request-Id", "INJECTED\xff"}, {"X-Request-Id", "a\u2028INJECTED"}, {"User-Agent", forged}, {"Referer", forged}, {"X-Forwarded-For", forged}, {"traceparent", forged},
	} {
		got := s.refused(t, attack{target: own, headers: append(s.asAttacker(), h)}, http.StatusOK)
		if id := got.header.Get("X-Request-Id"); strings.Contains(id, "INJECTED") || len(id) > 64 {
			t.Errorf("%v comes back as %q", h, id)
		}
	}
	for _, target := range []string{base + "/%0d%0a%7B%22time%22:1%7D", base + "/DiagnosticReport/%0a%7B%22level%22:%22ERROR%22%7D", base + "/%1b%5B2J", base + "/%e2%80%a8x"} {
		s.refused(t, attack{target: target, headers: s.asAttacker()}, http.StatusNotFound, http.StatusBadRequest)
	}
	s.refused(t, attack{target: own, headers: append(s.asAttacker(), header{"X-Request-Id", "a\r\nX-Partnerid: rival"})}, http.StatusUnauthorized)
	t.Run("a sane one is kept", func(t *testing.T) {
		got := s.refused(t, attack{target: own, headers: append(s.asAttacker(), header{"X-Request-Id", "my-request.1"})}, http.StatusOK)
		if id := got.header.Get("X-Request-Id"); id != "my-request.1" {
			t.Errorf("it comes back as %q", id)
		}
		if !strings.Contains(s.log.String(), `"request":"my-request.1"`) {
			t.Error("it is not in the log")
		}
	})
}

// otherFaces checks that metrics and readiness are not on the partners' listener, that the
// key set has only public keys, and that no metric contains a secret.
func (s *attackedServer) otherFaces(t *testing.T) {
	for _, path := range []string{"/metrics", "/readyz", "/healthz"} {
		s.refused(t, attack{target: path, headers: s.asAttacker()}, http.StatusNotFound)
	}
	keys := s.refused(t, attack{target: token.JWKSPath}, http.StatusOK)
	if slash := s.refused(t, attack{target: token.JWKSPath + "/"}, http.StatusOK); slash.body != keys.body {
		t.Errorf("with a slash at the end the keys are %s", slash.body)
	}
	if strings.Contains(keys.body, `"d"`) || !strings.Contains(keys.body, `"x"`) {
		t.Errorf("the keys are %s", keys.body)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.p.OpsListener.Addr().String()+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, figures := s.attacker.do(req)
	for value, what := range s.secrets {
		if strings.Contains(string(figures), value) {
			t.Errorf("the figures hold %s", what)
		}
	}
}

// misplacedSecrets sends good credentials where they do not belong. They must
// open nothing there, and what is logged of the request is searched at the end.
func (s *attackedServer) misplacedSecrets(t *testing.T) {
	own := base + "/DiagnosticReport?researchstudy=" + mine
	id := header{"x-partnerid", "acme"}
	for name, a := range map[string]attack{
		"in the query":              {target: own + "&access_token=" + s.attacker.token, headers: []header{id}},
		"as the partner's id":       {target: own, headers: []header{{"Authorization", "Bearer " + s.attacker.token}, {"x-partnerid", s.attacker.token}}},
		"as HTTP Basic":             {target: own, headers: []header{{"Authorization", "Basic " + s.attacker.token}, id}},
		"without a scheme":          {target: own, headers: []header{{"Authorization", s.attacker.token}, id}},
		"of another, with own id":   {target: own, headers: []header{{"Authorization", "Bearer " + s.other.token}, id}},
		"of another, in two places": {target: base + "/DiagnosticReport?researchstudy=" + theirs + "&x-partnerid=acme", headers: []header{{"Authorization", "Bearer " + s.other.token}, id}},
	} {
		t.Run(name, func(t *testing.T) { s.refused(t, a, http.StatusUnauthorized) })
	}
	for name, a := range map[string]attack{
		"a token request by its address": {method: "POST", target: token.Path + "?" + tokenForm("acme", s.secret("a secret in an address", "misplaced-secret-1"))},
		"a token request by GET":         {target: token.Path + "?" + tokenForm("acme", s.secret("a secret in a GET", "misplaced-secret-2"))},
	} {
		t.Run(name, func(t *testing.T) { s.refused(t, a, http.StatusBadRequest, http.StatusMethodNotAllowed) })
	}
}
