package token_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/events/leaktest"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/outbox/token"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const (
	partnerID = "acme"
	secret    = "s3cret+with/odd=chars"
	formType  = "application/x-www-form-urlencoded"
)

var now = time.Date(2026, 1, 31, 12, 0, 0, 500_000_000, time.UTC)

// partners is a Clients of fixed partners. Some ids cause an error.
type partners map[string]access.Partner

func (p partners) AuthenticateClient(_ context.Context, id, secret, address string) (access.Partner, error) {
	switch {
	case address != "127.0.0.1" && address != "192.0.2.1":
		return access.Partner{}, errors.New("an address is needed")
	case id == "throttled":
		err := events.Errorf(events.Throttled, "internal text")
		err.RetryAfter = 15 * time.Minute
		return access.Partner{}, err
	case id == "busy":
		return access.Partner{}, events.Errorf(events.Unavailable, "internal text")
	case id == "broken":
		return access.Partner{}, errors.New("disk full")
	case !p[id].Opens(secret, now):
		return access.Partner{}, events.Errorf(events.Unauthenticated, "internal text")
	}
	return p[id], nil
}

// clients returns a Clients that knows the partner acme.
func clients() partners {
	return partners{partnerID: {
		ID: partnerID, Enabled: true, Secrets: []access.Secret{{SHA256: access.DigestSecret(secret)}},
	}}
}

func newSigner(t testing.TB) *access.Signer {
	t.Helper()
	key, err := access.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	signer, err := access.NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// server serves the endpoint and the key set over HTTP, behind rest.Wrap, and
// collects the log.
type server struct {
	*httptest.Server
	endpoint *token.Endpoint
	signer   *access.Signer
	mu       sync.Mutex
	log      bytes.Buffer
}

func (s *server) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(p)
}

func serve(t *testing.T) *server {
	t.Helper()
	s := &server{signer: newSigner(t)}
	s.endpoint = token.New(clients(), s.signer, token.Config{
		Issuer: "https://example.org" + token.Path,
		Clock:  func() time.Time { return now },
		NewID:  func() string { return "token-1" },
	})
	mux := http.NewServeMux()
	mux.Handle(token.Path, s.endpoint)
	mux.Handle(token.JWKSPath, token.JWKS(func() []access.Key {
		return []access.Key{s.signer.Key(now)}
	}, func() time.Time { return now }))
	s.Server = httptest.NewServer(rest.Wrap(mux, slog.New(slog.NewJSONHandler(s, nil))))
	t.Cleanup(s.Close)
	return s
}

// answer is an answer with an access token or a refusal.
type answer struct {
	status int
	header http.Header
	text   string

	TokenType        string `json:"token_type"`
	AccessToken      string `json:"access_token"`
	Scope            string `json:"scope"`
	ExpiresIn        int64  `json:"expires_in"`
	ConsentedOn      int64  `json:"consented_on"`
	Error            string `json:"error"`
	ErrorDescription string `json:"error_description"`
}

func (s *server) send(t *testing.T, request *http.Request) answer {
	t.Helper()
	response, err := s.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{status: response.StatusCode, header: response.Header, text: string(body)}
	if err := json.Unmarshal(body, &a); err != nil {
		t.Fatalf("%v in %q", err, body)
	}
	return a
}

func (s *server) request(t *testing.T, method, path, body string) *http.Request {
	t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", formType)
	return request
}

// logged closes the server and returns its log.
func (s *server) logged() string {
	s.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}
