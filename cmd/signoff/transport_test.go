package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/internal/testcert"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/natsflags"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/server"
)

// secured are settings with TLS on every listener that can have it.
func secured(api, broker testcert.Files) server.Settings {
	s := loopback()
	s.TLSCert, s.TLSKey = api.Cert, api.Key
	s.NATSTLSCert, s.NATSTLSKey = broker.Cert, broker.Key
	s.OpsListen = "0.0.0.0:0" // off loopback: with TLS
	return s
}

// startSecured runs the whole program with TLS, each listener with its pair.
func startSecured(t *testing.T, dir string) (p *server.Server, api, broker testcert.Files, roots *tls.Config) {
	t.Helper()
	apiPair, brokerPair := testcert.NewPair(t), testcert.NewPair(t)
	api, broker = testcert.NewFiles(t), testcert.NewFiles(t)
	api.Write(t, apiPair)
	broker.Write(t, brokerPair)
	p, _ = startWith(t, dir, secured(api, broker), slog.New(slog.DiscardHandler))
	return p, api, broker, testcert.Trusting(apiPair, brokerPair)
}

// call makes one request on a connection of its own.
func call(t *testing.T, config *tls.Config, url string) (*http.Response, error) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	_, _ = io.Copy(io.Discard, res.Body)
	return res, res.Body.Close()
}

// connectSecured connects to NATS with the operator's credentials. The server ends a
// handshake that takes more than two seconds.
func connectSecured(s datadir.Serving, config *tls.Config) error {
	nc, err := nats.Connect(s.NATS, nats.UserCredentials(s.NATSCreds), nats.Secure(config), nats.Timeout(10*time.Second))
	if err == nil {
		nc.Close()
	}
	return err
}

func TestTheWholeProgramSpeaksTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p, _, _, roots := startSecured(t, dir)
	announced, ok := p.Dir.Running()
	if !ok {
		t.Fatal("no serve.json")
	}
	t.Run("the read API, with HTTP/2 and links of https", func(t *testing.T) {
		if !strings.HasPrefix(p.PublicURL(), "https://127.0.0.1:") || announced.PublicURL != p.PublicURL() {
			t.Errorf("public URL %s, in serve.json %s", p.PublicURL(), announced.PublicURL)
		}
		res, err := call(t, roots, p.PublicURL()+p.Settings.BasePath+"/DiagnosticReport")
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != http.StatusUnauthorized || res.ProtoMajor != 2 || res.TLS.Version != tls.VersionTLS13 {
			t.Errorf("%s over %s, TLS %x", res.Status, res.Proto, res.TLS.Version)
		}
	})
	t.Run("not below TLS 1.2", func(t *testing.T) {
		old := roots.Clone()
		old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		if _, err := call(t, old, p.PublicURL()); err == nil {
			t.Error("TLS 1.1 was accepted")
		}
	})
	t.Run("nor with a CBC suite, on any listener", func(t *testing.T) {
		for _, c := range []struct {
			suite    uint16
			accepted bool
		}{{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, false}, {tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, true}} {
			only := roots.Clone()
			only.MaxVersion, only.CipherSuites = tls.VersionTLS12, []uint16{c.suite}
			for _, listener := range []net.Listener{p.APIListener, p.OpsListener} {
				address := net.JoinHostPort("127.0.0.1", strconv.Itoa(listener.Addr().(*net.TCPAddr).Port))
				conn, err := (&tls.Dialer{Config: only}).DialContext(t.Context(), "tcp", address)
				if (err == nil) != c.accepted {
					t.Errorf("HTTP with %s: %v", tls.CipherSuiteName(c.suite), err)
				}
				if err == nil {
					_ = conn.Close()
				}
			}
			connects := func() error { return connectSecured(announced, only) }
			if c.accepted {
				eventually(t, "NATS with "+tls.CipherSuiteName(c.suite), connects)
			} else if connects() == nil {
				t.Errorf("NATS accepts %s", tls.CipherSuiteName(c.suite))
			}
		}
	})
	t.Run("not in plain text", func(t *testing.T) {
		res, err := call(t, nil, "http://"+p.APIListener.Addr().String()+p.Settings.BasePath+"/metadata")
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != http.StatusBadRequest {
			t.Errorf("plain text is answered with %s", res.Status)
		}
	})
	t.Run("operations, off loopback", func(t *testing.T) {
		if !strings.HasPrefix(announced.OpsURL, "https://") {
			t.Errorf("serve.json has %s", announced.OpsURL)
		}
	})
	t.Run("NATS", func(t *testing.T) {
		eventually(t, "a connection", func() error { return connectSecured(announced, roots) })
	})
	t.Run("and the commands beside it go on working", func(t *testing.T) { commandsWork(t, dir) })
}

// commandsWork runs the commands that ask a running server.
func commandsWork(t *testing.T, dir string) {
	t.Helper()
	eventually(t, "a status with a server that is ready", func() error {
		if facts := statusOf(t, dir); facts.Server != "ready" {
			return fmt.Errorf("the server is %q: %v", facts.Server, facts.Findings)
		}
		return nil
	})
	mustSignoff(t, "rebuild", "--data", dir)
	if r := mustSignoff(t, "partner", "add", "beside", "--data", dir); r.err != "" {
		t.Errorf("partner add prints %s", r.err)
	}
}

func TestACertificateIsRenewedUnderTheRunningProgram(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p, api, broker, old := startSecured(t, dir)
	apiPair, brokerPair := testcert.NewPair(t), testcert.NewPair(t)
	api.Write(t, apiPair)
	broker.Write(t, brokerPair)
	eventually(t, "the new certificate of the read API", func() error {
		_, err := call(t, testcert.Trusting(apiPair), p.PublicURL())
		return err
	})
	if _, err := call(t, old, p.PublicURL()); err == nil {
		t.Error("the old certificate is still presented")
	}
	announced, _ := p.Dir.Running()
	eventually(t, "the new certificate of NATS", func() error { return connectSecured(announced, testcert.Trusting(brokerPair)) })
	commandsWork(t, dir)
}

func TestCommandsTrustOnlyTheServerOfTheirDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p, _, _, _ := startSecured(t, dir)
	impostor := httptest.NewTLSServer(http.NotFoundHandler())
	defer impostor.Close()
	for url, good := range map[string]bool{impostor.URL: false, p.PublicURL(): true} {
		res, err := call(t, datadir.Dir(dir).Trusted(), url)
		if good != (err == nil) {
			t.Errorf("%s: %v, %v", url, res, err)
		}
		if !good && !strings.Contains(err.Error(), "is not that of the server on") {
			t.Errorf("the complaint is %v", err)
		}
	}
}

func TestPlainTextStaysOnThisMachine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ flag, address, remedy string }{
		{"--listen", "0.0.0.0:0", "--tls-cert and --tls-key"},
		{"--listen", ":0", "--tls-cert and --tls-key"},
		{"--listen", "[::]:0", "--tls-cert and --tls-key"},
		{"--ops-listen", "0.0.0.0:0", "--tls-cert and --tls-key"},
		{"--desk-listen", "0.0.0.0:0", "--tls-cert and --tls-key"},
		{"--nats-listen", "0.0.0.0:0", "--nats-tls-cert and --nats-tls-key"},
		{"--nats-listen", "192.0.2.1:0", "--nats-tls-cert and --nats-tls-key"},
	} {
		t.Run(c.flag+" "+c.address, func(t *testing.T) {
			args := []string{"serve", "--data", t.TempDir()}
			for _, f := range []string{"--listen", "--ops-listen", "--desk-listen", "--nats-listen"} {
				if f == c.flag {
					args = append(args, f, c.address)
				} else {
					args = append(args, f, "127.0.0.1:0")
				}
			}
			refusal(t, exitUsage, args, c.flag+" "+c.address, c.remedy, "--insecure")
		})
	}
	t.Run("unless --insecure is set", func(t *testing.T) {
		s := loopback()
		s.Listen, s.OpsListen, s.DeskListen, s.NATSListen, s.Insecure = "0.0.0.0:0", "0.0.0.0:0", "0.0.0.0:0", "0.0.0.0:0", true
		s.DeskURL = "https://desk.example.org"
		dir := t.TempDir()
		p, _ := startWith(t, dir, s, slog.New(slog.DiscardHandler))
		if !strings.HasPrefix(p.PublicURL(), "http://") {
			t.Errorf("public URL %s", p.PublicURL())
		}
		commandsWork(t, dir)
	})
	t.Run("and what is not listened on is refused", func(t *testing.T) {
		args := append(serveArgs(t.TempDir()), "--nats-url", "nats://192.0.2.1:4222", "--nats-creds", "{role}")
		refusal(t, exitUsage, args, "--insecure", "nats://192.0.2.1:4222")
		refusal(t, exitUsage, append(args, "--nats-listen", "0.0.0.0:0"), "--nats-listen is for the embedded NATS server", "Try: signoff serve --help\n")
		refusal(t, exitUsage, append(args, "--nats-tls-cert", testcert.NewFiles(t).Cert), "--nats-tls-cert needs --nats-tls-key")
		pair := testcert.NewFiles(t)
		refusal(t, exitUsage, append(args, "--nats-tls-cert", pair.Cert, "--nats-tls-key", pair.Key), "is for the embedded NATS server")
	})
	t.Run("links that nobody can follow are warned of", func(t *testing.T) {
		var log lockedBuffer
		s := loopback()
		s.Listen, s.Insecure = "0.0.0.0:0", true
		startWith(t, t.TempDir(), s, slog.New(slog.NewTextHandler(&log, nil)))
		if !strings.Contains(log.String(), "--public-url") {
			t.Errorf("the log is %s", log.String())
		}
	})
	t.Run("localhost is this machine", func(t *testing.T) {
		if !natsflags.LoopbackOnly(t.Context(), "localhost:1") || !natsflags.LoopbackOnly(t.Context(), "[::1]:1") || !natsflags.LoopbackOnly(t.Context(), "127.8.9.1:1") {
			t.Error("an address of loopback is taken for another")
		}
	})
}

func TestCertificatesThatAreRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	good, other := testcert.NewFiles(t), testcert.NewFiles(t)
	garbage := testcert.NewFiles(t)
	garbage.WriteCert(t, []byte("garbage"))
	for name, c := range map[string]struct {
		status int
		args   []string
		words  []string
	}{
		"no key":            {exitUsage, []string{"--tls-cert", good.Cert}, []string{"--tls-cert needs --tls-key"}},
		"no certificate":    {exitUsage, []string{"--nats-tls-key", good.Key}, []string{"--nats-tls-key needs --nats-tls-cert"}},
		"another's key":     {exitRefused, []string{"--tls-cert", good.Cert, "--tls-key", other.Key}, []string{"--tls-cert", other.Key, "does not match"}},
		"a file missing":    {exitRefused, []string{"--nats-tls-cert", good.Cert + "x", "--nats-tls-key", good.Key}, []string{"--nats-tls-cert", good.Cert + "x", "no such file"}},
		"the wrong way":     {exitRefused, []string{"--tls-cert", good.Key, "--tls-key", good.Cert}, []string{"--tls-cert"}},
		"not a certificate": {exitRefused, []string{"--tls-cert", garbage.Cert, "--tls-key", garbage.Key}, []string{"--tls-cert", garbage.Cert}},
	} {
		t.Run(name, func(t *testing.T) {
			args := append(serveArgs(t.TempDir()), "--nats-listen", "127.0.0.1:0")
			refusal(t, c.status, append(args, c.args...), c.words...)
		})
	}
}

// A caller that connects and sends nothing, or little, is disconnected. The limits are
// fields of the server, so that no test has to wait for them.
func TestNoCallerKeepsAConnectionOpenForEver(t *testing.T) {
	t.Parallel()
	p, _ := startServer(t, t.TempDir())
	for name, s := range map[string]*http.Server{"read API": p.API, "operations": p.Ops} {
		for what, limit := range map[string]time.Duration{
			"header": s.ReadHeaderTimeout, "request": s.ReadTimeout, "answer": s.WriteTimeout, "idleness": s.IdleTimeout,
		} {
			if limit <= 0 || limit > 2*time.Minute {
				t.Errorf("%s: the time for the %s is %s", name, what, limit)
			}
		}
		if s.MaxHeaderBytes <= 0 || s.MaxHeaderBytes > 64<<10 {
			t.Errorf("%s: headers of %d bytes", name, s.MaxHeaderBytes)
		}
	}
}
