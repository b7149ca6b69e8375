package subscriber_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/subscriber"
)

// clock is set by the test.
type clock struct{ nanoseconds atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.nanoseconds.Store(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) time() time.Time      { return time.Unix(0, c.nanoseconds.Load()) }
func (c *clock) pass(d time.Duration) { c.nanoseconds.Add(int64(d)) }

func failing(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }

// respond returns a handler that answers with a status, a media type and a body.
func respond(status int, kind, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

const jsonType = "application/json"

func TestDialRefusesWhatIsNoTokenEndpoint(t *testing.T) {
	token := func(token string) string {
		return fmt.Sprintf(`{"token_type":"Bearer","access_token":%q,"expires_in":3600}`, token)
	}
	for name, answer := range map[string]http.HandlerFunc{
		"a page":                            respond(200, "text/html", "<html>welcome</html>"),
		"a page that says JSON":             respond(200, jsonType, "<html>welcome</html>"),
		"JSON that says page":               respond(200, "text/html", token("t")),
		"nothing":                           respond(200, jsonType, ""),
		"a huge access token":               respond(200, jsonType, token(strings.Repeat("x", 20_000))),
		"an endless answer":                 respond(200, jsonType, `{"access_token":"`+strings.Repeat("x", 10<<20)),
		"an access token with a line break": respond(200, jsonType, token("a\r\nb")),
		"no token":                          respond(200, jsonType, `{"token_type":"Bearer","expires_in":3600}`),
		"another type of token":             respond(200, jsonType, `{"token_type":"mac","access_token":"t"}`),
		"a number as token":                 respond(200, jsonType, `{"token_type":"Bearer","access_token":1}`),
		"a life beyond all numbers":         respond(200, jsonType, `{"token_type":"Bearer","access_token":"t","expires_in":1e400}`),
		"an array":                          respond(200, jsonType, `[]`),
		"not found":                         respond(404, "text/html", "no such page"),
		"a 401 that is a proxy's":           respond(401, "text/html", "log in to the network"),
		"a request found wrong":             respond(400, jsonType, `{"error":"invalid_request","error_description":"`+secret+`"}`),
		"a redirect to another host":        redirect("https://elsewhere.invalid/token"),
	} {
		t.Run(name, func(t *testing.T) {
			d := newServer(t, "S1")
			d.change(func() { d.answer = answer })
			_, err := subscriber.Dial(t.Context(), d.credentials(), d.url(), subscriber.PartnerConfig{})
			if err == nil || errors.Is(err, subscriber.ErrAccessEnded) {
				t.Fatalf("Dial returned %v", err)
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the error tells the secret: %v", err)
			}
		})
	}
}

func redirect(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusTemporaryRedirect) }
}

func TestTheSecretGoesNowhereElse(t *testing.T) {
	var taken atomic.Int64
	rival := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		taken.Add(int64(len(body)) + 1)
	}))
	defer rival.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		d := newServer(t, "S1")
		d.change(func() {
			d.answer = func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, rival.URL, status) }
		})
		if _, err := subscriber.Dial(t.Context(), d.credentials(), d.url(), subscriber.PartnerConfig{}); !errors.Is(err, events.Invalid) {
			t.Errorf("Dial returned %v", err)
		}
	}
	if taken.Load() != 0 {
		t.Error("a redirect was followed")
	}
}

func TestDialWaitsForATokenEndpointThatIsAway(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"that fails":                failing,
		"that wants fewer requests": respond(429, jsonType, `{}`),
		"that answers half": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, `{"access_token`)
		},
		"that does not answer": func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newServer(t, "S1")
			d.change(func() { d.answer = answer })
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			reported := make(chan error, 1000)
			cfg := subscriber.PartnerConfig{Outage: func(err error) { reported <- err }, Timeout: 100 * time.Millisecond}
			result := make(chan error, 1)
			go func() {
				p, err := subscriber.Dial(ctx, d.credentials(), d.url(), cfg)
				if err == nil {
					p.Close()
				}
				result <- err
			}()
			if err := <-reported; err == nil || strings.Contains(err.Error(), secret) {
				t.Errorf("reported %v", err)
			}
			d.change(func() { d.answer = nil })
			if err := <-result; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestDialRefusesToSendSecretsInClear(t *testing.T) {
	good := subscriber.Credentials{TokenURL: "https://publisher.invalid/token", ClientID: acme, Secret: subscriber.Secret(secret)}
	for name, c := range map[string]struct {
		change func(*subscriber.Credentials)
		url    string
	}{
		"to a token endpoint":     {func(c *subscriber.Credentials) { c.TokenURL = "http://publisher.invalid/token" }, "tls://publisher.invalid"},
		"in the token URL":        {func(c *subscriber.Credentials) { c.TokenURL = "https://a:b@publisher.invalid/" }, "tls://publisher.invalid"},
		"in the NATS URL":         {func(*subscriber.Credentials) {}, "tls://user:password@publisher.invalid"},
		"to no token endpoint":    {func(c *subscriber.Credentials) { c.TokenURL = "publisher.invalid" }, "tls://publisher.invalid"},
		"to no NATS server":       {func(*subscriber.Credentials) {}, "http://publisher.invalid"},
		"without a secret":        {func(c *subscriber.Credentials) { c.Secret = nil }, "tls://publisher.invalid"},
		"without a client id":     {func(c *subscriber.Credentials) { c.ClientID = "" }, "tls://publisher.invalid"},
		"with a strange client":   {func(c *subscriber.Credentials) { c.ClientID = "a.b>" }, "tls://publisher.invalid"},
		"to one of many servers ": {func(*subscriber.Credentials) {}, "tls://publisher.invalid,nats://u:p@publisher.invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			credentials := good
			c.change(&credentials)
			_, err := subscriber.Dial(t.Context(), credentials, c.url, subscriber.PartnerConfig{})
			if code := events.CodeOf(err); code != events.Invalid && code != events.Required {
				t.Errorf("Dial returned %v", err)
			}
		})
	}
}

func TestTLS(t *testing.T) {
	d := newServer(t, "S1")
	safe := httptest.NewUnstartedServer(http.HandlerFunc(d.serveToken))
	safe.Config.ErrorLog = log.New(io.Discard, "", 0) // of the handshake that fails
	safe.StartTLS()
	defer safe.Close()
	c := d.credentials()
	c.TokenURL = safe.URL

	_, err := subscriber.Dial(t.Context(), c, d.url(), subscriber.PartnerConfig{})
	if !errors.Is(err, events.Forbidden) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("with an unknown certificate Dial returned %v", err)
	}

	roots := x509.NewCertPool()
	roots.AddCert(safe.Certificate())
	_, err = subscriber.Dial(t.Context(), c, d.url(), subscriber.PartnerConfig{TLS: &tls.Config{RootCAs: roots}})
	if !errors.Is(err, events.Forbidden) || !strings.Contains(err.Error(), "no TLS") {
		t.Errorf("with a NATS server without TLS Dial returned %v", err)
	}

	d.stop()
	d.tls = &tls.Config{Certificates: safe.TLS.Certificates}
	if err := d.start(); err != nil {
		t.Fatal(err)
	}
	p, err := subscriber.Dial(t.Context(), c, d.url(), subscriber.PartnerConfig{TLS: &tls.Config{RootCAs: roots}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if tail, err := p.Tail(t.Context(), "S1"); err != nil || !tail.Quiet() {
		t.Errorf("Tail = %+v, %v", tail, err)
	}
}

func TestSecretFile(t *testing.T) {
	path := t.TempDir() + "/secret"
	read := subscriber.SecretFile(path)
	if _, err := read(); err == nil {
		t.Error("a file that does not exist returned no error")
	}
	for _, text := range []string{"one", "two\n", "\n three\r\n"} {
		write(t, path, []byte(text))
		if got, err := read(); err != nil || got != strings.TrimSpace(text) {
			t.Errorf("%q, %v", got, err)
		}
	}
	write(t, path, bytes.Repeat([]byte("x"), 1<<20))
	if got, err := read(); err != nil || len(got) > 8<<10 {
		t.Errorf("%d bytes were read, %v", len(got), err)
	}
}
