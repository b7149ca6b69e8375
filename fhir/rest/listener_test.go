package rest_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/fhir/rest"
)

// listen runs rest.Serve on a port of its own until the test ends. Config is the
// server's TLS configuration or nil.
func listen(t *testing.T, config *tls.Config) (address string, log *logged) {
	t.Helper()
	log = new(logged)
	logger := slog.New(slog.NewJSONHandler(log, nil))
	h := rest.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s over TLS %t", r.Proto, r.TLS != nil)
	}), logger)
	server := rest.NewServer(h, logger, rest.ServerConfig{TLS: config})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- rest.Serve(server, l) }()
	t.Cleanup(func() {
		if err := server.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String(), log
}

// exchange sends bytes over a connection and returns the answer, which must end
// with the connection.
func exchange(t *testing.T, c net.Conn, sent string) (*http.Response, string) {
	t.Helper()
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	_, unsent := io.WriteString(c, sent) // the server may answer and close before it has read all
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(errors.Join(err, unsent))
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

// unreadable are requests that net/http answers by itself.
var unreadable = []struct {
	name, sent string
	status     int
	code, text string
}{
	{"a request line too long", "GET /" + strings.Repeat("a", 40<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", 431, "too-long", "too large"},
	{"a header too long", "GET / HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("a", 40<<10) + "\r\n\r\n", 431, "too-long", "too large"},
	{"too many headers", "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("A: b\r\n", 10_000) + "\r\n", 431, "too-long", "too large"},
	{"a broken escape in the path", "GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400, "value", "malformed"},
	{"no version", "GET /\r\nHost: x\r\n\r\n", 400, "value", "malformed"},
	{"no request", "\x00\x01\x02\r\n\r\n", 400, "value", "malformed"},
	{"a space in the path", "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", 400, "value", "malformed"},
	{"a header without a colon", "GET / HTTP/1.1\r\nHost: x\r\nA\r\n\r\n", 400, "value", "malformed"},
	{"a space before the colon", "GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n", 400, "value", "malformed"},
	{"a null byte in a header", "GET / HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n", 400, "value", "malformed"},
	{"no host", "GET / HTTP/1.1\r\n\r\n", 400, "value", "malformed: missing required Host header"},
	{"two hosts", "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400, "value", "malformed"},
	{"a length that is no number", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: one\r\n\r\n", 400, "value", "malformed"},
	{"two lengths", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "value", "malformed"},
	{"an unknown transfer coding", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: zip\r\n\r\n", 501, "not-supported", "transfer coding"},
	{"an unknown version", "GET / HTTP/9.1\r\nHost: x\r\n\r\n", 505, "not-supported", "HTTP version"},
	{"an unknown expectation", "GET / HTTP/1.1\r\nHost: x\r\nExpect: cake\r\n\r\n", 417, "not-supported", "Expect"},
}

func TestARequestThatCannotBeReadIsAnsweredWithAnOutcome(t *testing.T) {
	certificate, pool := testCertificate(t)
	plain, log := listen(t, nil)
	encrypted, _ := listen(t, &tls.Config{Certificates: []tls.Certificate{certificate}})
	for name, dial := range map[string]func() (net.Conn, error){
		"plain": func() (net.Conn, error) { return net.Dial("tcp", plain) },
		"TLS": func() (net.Conn, error) {
			return tls.Dial("tcp", encrypted, &tls.Config{RootCAs: pool, ServerName: "example.com"})
		},
		"TLS with HTTP/1.1 by name": func() (net.Conn, error) {
			return tls.Dial("tcp", encrypted, &tls.Config{RootCAs: pool, ServerName: "example.com", NextProtos: []string{"http/1.1"}})
		},
	} {
		for _, c := range unreadable {
			t.Run(name+"/"+c.name, func(t *testing.T) {
				connection, err := dial()
				if err != nil {
					t.Fatal(err)
				}
				response, body := exchange(t, connection, c.sent)
				got := readOutcome(t, response, body)
				if got.Status != c.status || got.Code != c.code || !strings.Contains(got.Details.Text, c.text) || got.Diagnostics == "" {
					t.Errorf("got %+v", got)
				}
				h := response.Header
				if h.Get("Content-Type") != fhirJSON || h.Get("X-Request-Id") != got.Diagnostics || h.Get("Cache-Control") != "no-store" || !response.Close {
					t.Errorf("headers: %v", h)
				}
				if name == "plain" && !strings.Contains(log.String(), got.Diagnostics) {
					t.Errorf("request %s is not in the log", got.Diagnostics)
				}
			})
		}
	}
}

// A request of HTTP/2 is refused by the handler, which has read its headers.
func TestHeadersOfHTTP2ThatAreTooLargeAreAnsweredWithAnOutcome(t *testing.T) {
	certificate, pool := testCertificate(t)
	address, log := listen(t, &tls.Config{Certificates: []tls.Certificate{certificate}})
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "example.com"}}
	defer transport.CloseIdleConnections()
	for name, change := range map[string]func(*http.Request){
		"a path too long":   func(r *http.Request) { r.URL.Path = "/" + strings.Repeat("a", 40<<10) },
		"a header too long": func(r *http.Request) { r.Header.Set("A", strings.Repeat("a", 40<<10)) },
		"too many headers":  func(r *http.Request) { r.Header["A"] = slices.Repeat([]string{strings.Repeat("a", 90)}, 400) },
	} {
		t.Run(name, func(t *testing.T) {
			r, err := http.NewRequest(http.MethodGet, "https://"+address, nil)
			if err != nil {
				t.Fatal(err)
			}
			change(r)
			response, err := (&http.Client{Transport: transport}).Do(r)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			if err := errors.Join(err, response.Body.Close()); err != nil {
				t.Fatal(err)
			}
			got := readOutcome(t, response, string(body))
			if response.ProtoMajor != 2 || got.Status != 431 || got.Code != "too-long" || !strings.Contains(got.Details.Text, "too large") {
				t.Errorf("%s: %+v", response.Proto, got)
			}
			if h := response.Header; h.Get("Content-Type") != fhirJSON || h.Get("X-Request-Id") != got.Diagnostics || h.Get("Cache-Control") != "no-store" {
				t.Errorf("headers: %v", h)
			}
			if !strings.Contains(log.String(), got.Diagnostics) {
				t.Errorf("request %s is not in the log", got.Diagnostics)
			}
			reused := false
			trace := &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) { reused = c.Reused }}
			next, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), http.MethodGet, "https://"+address, nil)
			if err != nil {
				t.Fatal(err)
			}
			if response, err = (&http.Client{Transport: transport}).Do(next); err != nil {
				t.Fatal(err)
			}
			if err := response.Body.Close(); err != nil || !reused || response.StatusCode != http.StatusOK {
				t.Errorf("the next request: %s on the same connection %t, %v", response.Status, reused, err)
			}
		})
	}
}

func TestAReadableRequestIsAnsweredByTheHandler(t *testing.T) {
	certificate, pool := testCertificate(t)
	plain, _ := listen(t, nil)
	encrypted, _ := listen(t, &tls.Config{Certificates: []tls.Certificate{certificate}})
	for _, c := range []struct {
		url   string
		http2 bool
		want  string
	}{
		{"http://" + plain, false, "HTTP/1.1 over TLS false"},
		{"https://" + encrypted, false, "HTTP/1.1 over TLS true"},
		{"https://" + encrypted, true, "HTTP/2.0 over TLS true"},
	} {
		t.Run(c.want, func(t *testing.T) {
			transport := &http.Transport{ForceAttemptHTTP2: c.http2, TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "example.com"}}
			defer transport.CloseIdleConnections()
			for range 2 {
				response, err := (&http.Client{Transport: transport}).Get(c.url)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(response.Body)
				if err := response.Body.Close(); err != nil {
					t.Fatal(err)
				}
				if err != nil || string(body) != c.want {
					t.Errorf("got %q, %v", body, err)
				}
			}
		})
	}
}

// A request that is answered by net/http comes after one that the handler has
// answered on the same connection.
func TestTheSecondRequestOfAConnectionCannotBeRead(t *testing.T) {
	address, _ := listen(t, nil)
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(c)
	for _, status := range []int{200, 400} {
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != status {
			t.Errorf("got %d %s, %v", response.StatusCode, body, err)
		}
		if status == 400 {
			readOutcome(t, response, string(body))
		}
		response.Body.Close()
	}
}

func TestHTTPWithoutTLSIsAnsweredOnAPortWithTLS(t *testing.T) {
	certificate, _ := testCertificate(t)
	address, _ := listen(t, &tls.Config{Certificates: []tls.Certificate{certificate}})
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	response, body := exchange(t, c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if got := readOutcome(t, response, body); got.Status != 400 || !strings.Contains(got.Details.Text, "HTTPS") {
		t.Errorf("got %+v", got)
	}
}

// A client that does not complete its handshake delays neither other clients nor
// the end of the server.
func TestAClientWithoutAHandshakeDelaysNobody(t *testing.T) {
	certificate, pool := testCertificate(t)
	address, _ := listen(t, &tls.Config{Certificates: []tls.Certificate{certificate}})
	silent, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	c, err := tls.Dial("tcp", address, &tls.Config{RootCAs: pool, ServerName: "example.com"})
	if err != nil {
		t.Fatal(err)
	}
	response, _ := exchange(t, c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if response.StatusCode != 200 {
		t.Errorf("got %d", response.StatusCode)
	}
}

func TestOptionsOfTheServerAreForTheHandler(t *testing.T) {
	address, _ := listen(t, nil)
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if _, body := exchange(t, c, "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); !strings.Contains(body, "HTTP/1.1") {
		t.Errorf("got %q", body)
	}
}

// testCertificate returns the certificate of httptest, which is for example.com,
// and the pool of authorities that has it.
func testCertificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	return server.TLS.Certificates[0], pool
}
