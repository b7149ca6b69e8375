package natsd_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/publisher/natsd"
)

func TestTheListenerSpeaksTLSIfToldTo(t *testing.T) {
	example := httptest.NewTLSServer(nil) // for its certificate
	example.Close()
	certificate := example.TLS.Certificates[0]
	roots := x509.NewCertPool()
	roots.AddCert(example.Certificate())
	s := start(t, natsd.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0", TLS: &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return &certificate, nil
		},
	}})
	if !strings.HasPrefix(s.ClientURL(), "tls://127.0.0.1:") {
		t.Errorf("client URL %q", s.ClientURL())
	}
	user := credentialsOf(t, s, natsd.Reader)

	t.Run("to who trusts its certificate", func(t *testing.T) {
		nc, err := nats.Connect(s.ClientURL(), append(user, nats.Secure(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}))...)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		state, err := nc.TLSConnectionState()
		if err != nil || state.Version < tls.VersionTLS12 {
			t.Errorf("version %x, %v", state.Version, err)
		}
	})
	t.Run("and not to who does not", func(t *testing.T) {
		if nc, err := nats.Connect(s.ClientURL(), user...); err == nil {
			nc.Close()
			t.Error("connected to a server that nobody vouches for")
		}
	})
	t.Run("nor below version 1.2", func(t *testing.T) {
		old := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
		if nc, err := nats.Connect(s.ClientURL(), append(user, nats.Secure(old))...); err == nil {
			nc.Close()
			t.Error("connected with TLS 1.1")
		}
	})
	t.Run("nothing is taken in plain text", func(t *testing.T) {
		if answer := plainly(t, s); strings.Contains(answer, "PONG") {
			t.Errorf("the server answered %q", answer)
		}
	})
	t.Run("connections within the process do without", func(t *testing.T) {
		if _, err := connect(t, s, natsd.Publisher).TLSConnectionState(); !errors.Is(err, nats.ErrConnectionNotTLS) {
			t.Errorf("the state of TLS: %v", err)
		}
	})
}

// plainly says hello over TCP without TLS and gives all that the server says.
func plainly(t *testing.T, s *natsd.Server) string {
	t.Helper()
	var dialer net.Dialer
	conn, err := dialer.DialContext(t.Context(), "tcp", strings.TrimPrefix(s.ClientURL(), "tls://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("CONNECT {\"user\":\"acme\",\"pass\":\"secret\",\"verbose\":true}\r\nPING\r\n")); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(conn) // until it is cut off
	return string(answer)
}
