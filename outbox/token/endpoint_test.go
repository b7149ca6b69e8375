package token_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/outbox/token"
)

const good = "grant_type=client_credentials&scope=full&client_id=acme&client_secret=s3cret%2Bwith%2Fodd%3Dchars"

// basic returns an Authorization header; id and secret must be form-encoded.
func basic(id, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))
}

func TestGoodCredentialsGetAnAccessTokenThatTheKeysVerify(t *testing.T) {
	encoded := url.QueryEscape(secret)
	for _, c := range []struct{ what, body, authorization string }{
		{"in the form", good, ""},
		{"without a scope", strings.Replace(good, "&scope=full", "", 1), ""},
		{"with an empty scope", strings.Replace(good, "full", "", 1), ""},
		{"with an unknown parameter", good + "&resource=x", ""},
		{"with an unknown parameter twice", good + "&resource=https%3A%2F%2Fa&resource=https%3A%2F%2Fb", ""},
		{"with an unknown parameter thrice, once empty", "audience=&audience=a&" + good + "&audience=b", ""},
		{"with an unknown parameter that is not encoded", good + "&resource=https://a;b&a=%ff&b=%zz&c", ""},
		{"with empty repetitions of known parameters", "scope=&client_id=&client_secret=&grant_type=&" + good + "&scope=&grant_type", ""},
		{"as HTTP Basic with an empty client_secret in the form", "grant_type=client_credentials&client_secret=", basic(partnerID, encoded)},
		{"as HTTP Basic", "grant_type=client_credentials&scope=full", basic(partnerID, encoded)},
		{"as HTTP Basic with the client_id in the form too", "grant_type=client_credentials&client_id=acme", basic(partnerID, encoded)},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := serve(t)
			request := s.request(t, http.MethodPost, token.Path, c.body)
			if c.authorization != "" {
				request.Header.Set("Authorization", c.authorization)
			}
			got := s.send(t, request)
			if got.status != 200 || got.TokenType != "Bearer" || got.Scope != "full" || got.ExpiresIn != 3600 || got.ConsentedOn != now.Unix() {
				t.Fatalf("%d %s", got.status, got.text)
			}
			if h := got.header; h.Get("Cache-Control") != "no-store" || h.Get("Pragma") != "no-cache" || h.Get("Content-Type") != "application/json" {
				t.Errorf("headers: %v", h)
			}
			claims, err := access.Directory{}.WithKey(s.signer.Key(now.Add(-time.Second))).Verify(got.AccessToken, now)
			if err != nil || claims.Partner != partnerID || claims.Secret != access.SecretID(secret) {
				t.Errorf("claims %+v, error %v", claims, err)
			}
			log := s.logged()
			if strings.Contains(log, "s3cret") || strings.Contains(log, got.AccessToken) || !strings.Contains(log, `"partner":"acme"`) {
				t.Errorf("logged %s", log)
			}
		})
	}
}

func TestTheAnswerHasTheMembersOfTheContractInOrder(t *testing.T) {
	s := serve(t)
	got := s.send(t, s.request(t, http.MethodPost, token.Path, good))
	want := fmt.Sprintf(`{"token_type":"Bearer","access_token":%q,"scope":"full","expires_in":3600,"consented_on":%d}`, got.AccessToken, now.Unix())
	if diff := cmp.Diff(want, got.text); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestBadRequestsAreRefusedAsTheRFCSays(t *testing.T) {
	edit := func(old, with string) string { return strings.Replace(good, old, with, 1) }
	noSecret := edit("&client_secret=s3cret%2Bwith%2Fodd%3Dchars", "")
	for _, c := range []struct {
		what, body, authorization string
		status                    int
		code                      string
	}{
		{"a wrong secret", edit("s3cret", "S3cret"), "", 401, "invalid_client"},
		{"an unknown client", edit("acme", "nobody"), "", 401, "invalid_client"},
		{"no secret", noSecret, "", 401, "invalid_client"},
		{"an empty secret", noSecret + "&client_secret=", "", 401, "invalid_client"},
		{"an empty body", "", "", 401, "invalid_client"},
		{"a wrong secret as HTTP Basic", noSecret, basic(partnerID, "wrong"), 401, "invalid_client"},
		{"an unencoded secret as HTTP Basic", noSecret, basic(partnerID, "100%"), 401, "invalid_client"},
		{"broken base64", noSecret, "Basic ???", 401, "invalid_client"},
		{"another scheme", noSecret, "Bearer abc", 401, "invalid_client"},
		{"secrets in both places", good, basic(partnerID, url.QueryEscape(secret)), 400, "invalid_request"},
		{"two client ids", edit("acme", "other"), basic(partnerID, "x"), 400, "invalid_request"},
		{"other ids in header and form", "grant_type=client_credentials&client_id=other", basic(partnerID, "x"), 400, "invalid_request"},
		{"no grant type", edit("grant_type=client_credentials&", ""), "", 400, "invalid_request"},
		{"another grant type", edit("client_credentials", "password"), "", 400, "unsupported_grant_type"},
		{"another scope", edit("full", "admin"), "", 400, "invalid_scope"},
		{"one scope too many", edit("full", "full+admin"), "", 400, "invalid_scope"},
		{"a parameter twice", good + "&scope=full", "", 400, "invalid_request"},
		{"a grant type twice", good + "&grant_type=client_credentials", "", 400, "invalid_request"},
		{"a client twice, once by another spelling of the name", good + "&client%5Fid=acme", "", 400, "invalid_request"},
		{"a secret twice", good + "&client_secret=x", "", 400, "invalid_request"},
		{"a semicolon in the secret", good + ";a=1", "", 401, "invalid_client"},
		{"a broken escape in a known parameter", edit("full", "full%zz"), "", 400, "invalid_request"},
		{"a broken escape in a name", good + "&%zz=1", "", 400, "invalid_request"},
		{"no UTF-8 in a known parameter", edit("full", "%ff"), "", 400, "invalid_request"},
		{"too large a body", good + "&a=" + strings.Repeat("x", 9000), "", 400, "invalid_request"},
		{"too many failures", edit("acme", "throttled"), "", 429, "temporarily_unavailable"},
		{"a busy server", edit("acme", "busy"), "", 503, "temporarily_unavailable"},
		{"a broken server", edit("acme", "broken"), "", 500, "server_error"},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := serve(t)
			request := s.request(t, http.MethodPost, token.Path, c.body)
			if c.authorization != "" {
				request.Header.Set("Authorization", c.authorization)
			}
			got := s.send(t, request)
			if got.status != c.status || got.Error != c.code || got.ErrorDescription == "" || got.AccessToken != "" {
				t.Errorf("%d %s, want %d %s", got.status, got.text, c.status, c.code)
			}
			if strings.ContainsAny(got.ErrorDescription, `"\`) || strings.Contains(got.text, "internal text") {
				t.Errorf("sent %s", got.text)
			}
			checkHeaders(t, got)
			log := s.logged()
			if strings.Contains(log, "s3cret") || strings.Contains(log, "S3cret") {
				t.Errorf("logged %s", log)
			}
			if c.status == 500 && strings.Count(log, "disk full") != 1 {
				t.Errorf("the cause is not once in the log: %s", log)
			}
		})
	}
}

func checkHeaders(t *testing.T, a answer) {
	t.Helper()
	if a.header.Get("Cache-Control") != "no-store" || a.header.Get("Pragma") != "no-cache" {
		t.Errorf("headers: %v", a.header)
	}
	want := map[int][2]string{
		401: {"WWW-Authenticate", `Basic realm="signoff", charset="UTF-8"`}, 429: {"Retry-After", "900"}, 503: {"Retry-After", "5"},
	}[a.status]
	if want[0] != "" && a.header.Get(want[0]) != want[1] {
		t.Errorf("%s is %q, want %q", want[0], a.header.Get(want[0]), want[1])
	}
}

func TestAnUnknownClientAndAWrongSecretHaveTheSameAnswer(t *testing.T) {
	s := serve(t)
	wrong := s.send(t, s.request(t, http.MethodPost, token.Path, strings.Replace(good, "s3cret", "x", 1)))
	unknown := s.send(t, s.request(t, http.MethodPost, token.Path, strings.Replace(good, "acme", "nobody", 1)))
	if wrong.text != unknown.text || wrong.status != unknown.status {
		t.Errorf("%s\n%s", wrong.text, unknown.text)
	}
}

func TestABodyThatIsNotAFormIsRefused(t *testing.T) {
	s := serve(t)
	for _, contentType := range []string{"", "application/json", "multipart/form-data; boundary=x", ";"} {
		request := s.request(t, http.MethodPost, token.Path, good)
		request.Header.Set("Content-Type", contentType)
		if got := s.send(t, request); got.status != 400 || got.Error != "invalid_request" {
			t.Errorf("%q: %d %s", contentType, got.status, got.text)
		}
	}
	request := s.request(t, http.MethodPost, token.Path, good)
	request.Header.Set("Content-Type", formType+"; charset=utf-8")
	if got := s.send(t, request); got.status != 200 {
		t.Errorf("with a charset: %d %s", got.status, got.text)
	}
}

func TestCredentialsInTheURLAreRefused(t *testing.T) {
	s := serve(t)
	got := s.send(t, s.request(t, http.MethodPost, token.Path+"?client_secret=x", good))
	if got.status != 400 || got.Error != "invalid_request" {
		t.Errorf("%d %s", got.status, got.text)
	}
}

func TestTwoAuthorizationHeadersAreRefused(t *testing.T) {
	s := serve(t)
	request := s.request(t, http.MethodPost, token.Path, "grant_type=client_credentials")
	request.Header.Add("Authorization", basic(partnerID, url.QueryEscape(secret)))
	request.Header.Add("Authorization", "Bearer x")
	if got := s.send(t, request); got.status != 400 || got.Error != "invalid_request" {
		t.Errorf("%d %s", got.status, got.text)
	}
}

func TestOnlyPOSTGetsAnAccessToken(t *testing.T) {
	s := serve(t)
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
		got := s.send(t, s.request(t, method, token.Path, good))
		if got.status != 405 || got.header.Get("Allow") != "POST" || got.Error != "invalid_request" {
			t.Errorf("%s: %d %s", method, got.status, got.text)
		}
	}
}

func TestRequestsAreCountedByOutcome(t *testing.T) {
	s := serve(t)
	for _, body := range []string{good, good, strings.Replace(good, "full", "x", 1), strings.Replace(good, "acme", "throttled", 1), ""} {
		s.send(t, s.request(t, http.MethodPost, token.Path, body))
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(s.endpoint.Metrics()...)
	families, err := registry.Gather()
	if err != nil || len(families) != 1 || families[0].GetName() != "signoff_token_requests_total" {
		t.Fatalf("%v, %v", families, err)
	}
	got := map[string]float64{}
	for _, m := range families[0].GetMetric() {
		got[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
	}
	want := map[string]float64{
		"issued": 2, "invalid_client": 1, "invalid_scope": 1, "throttled": 1,
		"invalid_request": 0, "unsupported_grant_type": 0, "temporarily_unavailable": 0, "server_error": 0,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTheKeySetHasTheKeysOfTokensThatHaveNotExpired(t *testing.T) {
	current, old, older := newSigner(t).Key(now), newSigner(t).Key(now.Add(-48*time.Hour)), newSigner(t).Key(now.Add(-72*time.Hour))
	old.Until, older.Until = now.Add(-time.Hour+time.Second), now.Add(-time.Hour)
	handler := token.JWKS(func() []access.Key { return []access.Key{current, old, older} }, func() time.Time { return now })
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, token.JWKSPath, nil))
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(recorder.Body.Bytes(), &set); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, k := range set.Keys {
		ids = append(ids, k["kid"])
		if k["d"] != "" || k["kty"] != "EC" || k["alg"] != "ES256" || k["use"] != "sig" {
			t.Errorf("key %v", k)
		}
	}
	if diff := cmp.Diff([]string{current.ID(), old.ID()}, ids); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTheKeySetHasNoPrivateKey(t *testing.T) {
	private, err := access.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	var key access.Key
	if err := json.Unmarshal(private, &key.JWK); err != nil || key.JWK.IsPublic() {
		t.Fatal("not a private key", err)
	}
	recorder := httptest.NewRecorder()
	token.JWKS(func() []access.Key { return []access.Key{key} }, time.Now).
		ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, token.JWKSPath, nil))
	if body := recorder.Body.String(); !strings.Contains(body, key.ID()) || strings.Contains(body, `"d":`) {
		t.Error(body)
	}
}

func TestTheKeySetNeedsNoCredentials(t *testing.T) {
	s := serve(t)
	got := s.send(t, s.request(t, http.MethodGet, token.JWKSPath, ""))
	if got.status != 200 || got.header.Get("Content-Type") != "application/json" || !strings.HasPrefix(got.header.Get("Cache-Control"), "public") {
		t.Errorf("%d %v", got.status, got.header)
	}
	got = s.send(t, s.request(t, http.MethodPost, token.JWKSPath, ""))
	if got.status != 405 || got.header.Get("Allow") != "GET, HEAD" {
		t.Errorf("%d %v", got.status, got.header)
	}
}

func FuzzTokenRequest(f *testing.F) {
	f.Add(good, "")
	f.Add("grant_type=client_credentials&scope=full+full", basic(partnerID, url.QueryEscape(secret)))
	f.Add("client_id=acme&client_secret=%00&grant_type=x", "Basic Og==")
	endpoint := token.New(clients(), newSigner(f), token.Config{Clock: func() time.Time { return now }})
	f.Fuzz(func(t *testing.T, body, authorization string) {
		request := httptest.NewRequest(http.MethodPost, token.Path, strings.NewReader(body))
		request.Header.Set("Content-Type", formType)
		if authorization != "" {
			request.Header["Authorization"] = []string{authorization}
		}
		recorder := httptest.NewRecorder()
		endpoint.ServeHTTP(recorder, request)
		var a answer
		if err := json.Unmarshal(recorder.Body.Bytes(), &a); err != nil {
			t.Fatalf("%v in %s", err, recorder.Body)
		}
		if (a.AccessToken == "") != (recorder.Code != 200) || (a.Error == "") != (recorder.Code == 200) || recorder.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%d %s", recorder.Code, recorder.Body)
		}
		if recorder.Code == 200 && !hasSecret(body, authorization) {
			t.Errorf("an access token for %q and %q", body, authorization)
		}
	})
}

// hasSecret reports whether the secret is in the request. It decodes the request
// in another way than the endpoint.
func hasSecret(body, authorization string) bool {
	decoded, _ := base64.StdEncoding.DecodeString(authorization[min(len(authorization), len("Basic ")):])
	for _, text := range []string{body, string(decoded)} {
		plain, _ := url.QueryUnescape(text)
		if strings.Contains(plain, secret) {
			return true
		}
	}
	return false
}
