package rest_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/fhir/rest/connections"
)

// limitedServer is a server with a limit of connections. The path /slow is answered when
// the test ends.
type limitedServer struct {
	address string
	limited *connections.Listener
	slow    chan struct{} // receives each request for /slow
	clock   *setClock
}

// setClock is a clock that a test sets.
type setClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *setClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *setClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func serveLimited(t *testing.T, cfg connections.Config, config *tls.Config) *limitedServer {
	t.Helper()
	var listen net.ListenConfig
	l, err := listen.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &limitedServer{address: l.Addr().String(), slow: make(chan struct{}, 100), clock: &setClock{now: time.Now()}}
	cfg.Clock = s.clock.Now
	s.limited = connections.Limit(l, cfg)
	ended := make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/slow" {
			s.slow <- struct{}{}
			select {
			case <-ended:
			case <-r.Context().Done():
			}
		}
		_, _ = io.WriteString(w, "hello")
	})
	server := rest.NewServer(handler, slog.New(slog.DiscardHandler), rest.ServerConfig{
		TLS: config, ReadHeaderTimeout: time.Hour, IdleTimeout: time.Hour, ReadTimeout: time.Hour,
	})
	done := make(chan error, 1)
	go func() { done <- rest.Serve(server, s.limited) }()
	t.Cleanup(func() {
		close(ended)
		if err := errors.Join(server.Close(), <-done); err != nil {
			t.Error(err)
		}
	})
	return s
}

// connect opens a connection and sends text on it.
func (s *limitedServer) connect(t *testing.T, text string) *bufio.ReadWriter {
	t.Helper()
	var dialer net.Dialer
	c, err := dialer.DialContext(t.Context(), "tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return bufio.NewReadWriter(bufio.NewReader(c), bufio.NewWriter(c))
}

const (
	request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	form    = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\n" // without its eight bytes
)

// answered reads the answer to a request, and reports whether there was one.
func answered(t *testing.T, c *bufio.ReadWriter) bool {
	t.Helper()
	response, err := http.ReadResponse(c.Reader, nil)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, response.Body)
	return err == nil && response.StatusCode == http.StatusOK && response.Body.Close() == nil
}

// closedConnections returns how many connections were closed, by cause.
func (s *limitedServer) closedConnections(t *testing.T) map[string]int {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(s.limited.Metrics()...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if n := int(m.GetCounter().GetValue()); strings.HasSuffix(f.GetName(), "_total") && n > 0 {
				got[m.GetLabel()[0].GetValue()] = n
			}
		}
	}
	return got
}

func TestConnectionsThatSendNothingKeepNobodyOut(t *testing.T) {
	for name, text := range map[string]string{"nothing": "", "a byte": "G", "half a head": "GET / HTTP/1.1\r\nHost: x\r\n", "half a form": form + "user"} {
		t.Run(name, func(t *testing.T) {
			s := serveLimited(t, connections.Config{Max: 4}, nil)
			for range 20 {
				s.connect(t, text)
			}
			if !answered(t, s.connect(t, request)) {
				t.Error("a request is not answered")
			}
			if closed := s.closedConnections(t); closed["no request"] < 17 {
				t.Errorf("closed: %v", closed)
			}
		})
	}
}

func TestARequestThatIsAnsweredIsNotInterruptedForANewConnection(t *testing.T) {
	s := serveLimited(t, connections.Config{Max: 2}, nil)
	for _, text := range []string{request, form + "user=dr."} {
		s.connect(t, strings.Replace(text, "/", "/slow", 1))
		<-s.slow
	}
	waiting := s.connect(t, request) // until one of them takes too long
	if closed := s.closedConnections(t); len(closed) > 0 {
		t.Errorf("closed: %v", closed)
	}
	s.clock.advance(time.Minute)
	if !answered(t, waiting) {
		t.Error("a new connection is not answered although others are overdue")
	}
	if closed := s.closedConnections(t); closed["slow answer"] == 0 {
		t.Errorf("closed: %v", closed)
	}
}

func TestConnectionsOfOneAddressMayBeLimited(t *testing.T) {
	s := serveLimited(t, connections.Config{Max: 100, PerAddress: 2}, nil)
	first, second := s.connect(t, request), s.connect(t, request)
	if !answered(t, first) || !answered(t, second) {
		t.Fatal("two connections are not answered")
	}
	if answered(t, s.connect(t, request)) {
		t.Error("a third connection of the address is answered")
	}
	if closed := s.closedConnections(t); closed["address"] != 1 {
		t.Errorf("closed: %v", closed)
	}
}

func TestConnectionsWithTLSAreLimitedFromTheirHandshakeOn(t *testing.T) {
	example := httptest.NewTLSServer(nil) // for its certificate
	example.Close()
	roots := x509.NewCertPool()
	roots.AddCert(example.Certificate())
	config := &tls.Config{Certificates: example.TLS.Certificates, MinVersion: tls.VersionTLS12}
	client := &tls.Config{RootCAs: roots, ServerName: "example.com", MinVersion: tls.VersionTLS12}
	s := serveLimited(t, connections.Config{Max: 4}, config)
	for range 20 {
		s.connect(t, "") // no handshake
	}
	for _, http2 := range []bool{true, false} {
		transport := &http.Transport{TLSClientConfig: client.Clone(), ForceAttemptHTTP2: http2}
		for range 3 { // the connection is kept between requests
			response, err := (&http.Client{Transport: transport, Timeout: time.Minute}).Get("https://" + s.address)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, response.Body); err != nil || response.Body.Close() != nil || response.ProtoMajor == 2 != http2 {
				t.Errorf("%s, %v", response.Proto, err)
			}
		}
		transport.CloseIdleConnections()
	}
}

// A connection of HTTP/2 may have a request that is answered slowly beside quick ones.
func TestQuickRequestsDoNotKeepAConnectionWithASlowOne(t *testing.T) {
	plain := httptest.NewUnstartedServer(nil)
	plain.StartTLS() // for its certificate
	defer plain.Close()
	s := serveLimited(t, connections.Config{Max: 2}, plain.TLS)
	roots := x509.NewCertPool()
	roots.AddCert(plain.Certificate())
	client := func() *http.Client {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport, Timeout: time.Minute}
	}
	get := func(c *http.Client, path string) error {
		response, err := c.Get("https://" + s.address + path)
		if err != nil {
			return err
		}
		return errors.Join(response.Body.Close(), map[bool]error{false: errors.New(response.Proto)}[response.ProtoMajor == 2])
	}
	var slow sync.WaitGroup
	defer slow.Wait()
	clients := []*http.Client{client(), client()}
	for _, c := range clients {
		slow.Go(func() { _ = get(c, "/slow") })
		<-s.slow
	}
	for range 3 {
		s.clock.advance(15 * time.Second)
		for _, c := range clients {
			if err := get(c, "/"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := get(client(), "/"); err != nil {
		t.Errorf("another client: %v", err)
	}
	if closed := s.closedConnections(t); closed["slow answer"] == 0 {
		t.Errorf("closed: %v", closed)
	}
}
