package rest

import (
	"cmp"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/seed-e88a4ece/signoff/fhir/rest/connections"
)

// ServerConfig holds the limits of a server.
type ServerConfig struct {
	ReadHeaderTimeout time.Duration // Defaults to 5 s
	ReadTimeout       time.Duration // for the whole request. Defaults to 30 s
	WriteTimeout      time.Duration // from the end of the header to the end of the answer. Defaults to 60 s
	IdleTimeout       time.Duration // between requests of a connection. Defaults to 120 s
	MaxHeaderBytes    int           // including the request line. Defaults to 32 KiB

	// TLS has the server's certificate. With TLS the server offers HTTP/2, and
	// ReadHeaderTimeout covers the handshake. Defaults to plain text.
	TLS *tls.Config
}

// protocolHTTP2 is the name of HTTP/2 in a TLS handshake.
const protocolHTTP2 = "h2"

// NewServer returns a server for h with a limit on the time and the size of each
// request. It does not call Wrap. Errors of net/http, such as a broken
// connection, go to log.
func NewServer(h http.Handler, log *slog.Logger, cfg ServerConfig) *http.Server {
	if cfg.TLS != nil {
		cfg.TLS = cfg.TLS.Clone()
		cfg.TLS.NextProtos = []string{protocolHTTP2, "http/1.1"}
	}
	return &http.Server{
		Handler:                      h,
		DisableGeneralOptionsHandler: true, // h answers OPTIONS *
		ReadHeaderTimeout:            cmp.Or(cfg.ReadHeaderTimeout, 5*time.Second),
		ReadTimeout:                  cmp.Or(cfg.ReadTimeout, 30*time.Second),
		WriteTimeout:                 cmp.Or(cfg.WriteTimeout, 60*time.Second),
		IdleTimeout:                  cmp.Or(cfg.IdleTimeout, 120*time.Second),
		MaxHeaderBytes:               cmp.Or(cfg.MaxHeaderBytes, 32<<10),
		TLSConfig:                    cfg.TLS,
		ErrorLog:                     slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// Serve serves connections from l until the server is shut down, and then returns
// nil. It uses TLS if the server has a TLS configuration. A request of
// HTTP/1.1 whose head is malformed or too large is answered with an
// OperationOutcome. If l is a connections.Listener, the server reports to it what its
// connections do.
func Serve(s *http.Server, l net.Listener) error {
	if limited, ok := l.(*connections.Listener); ok {
		limited.Observe(s, accepted)
	}
	if s.TLSConfig != nil {
		l = newTLSListener(l, s.TLSConfig, cmp.Or(s.ReadHeaderTimeout, 5*time.Second), s.ErrorLog)
	} else {
		l = plainListener{l, s.ErrorLog}
	}
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// accepted returns the connection below TLS, as the listener that Serve was called with
// has accepted it.
func accepted(c net.Conn) net.Conn {
	switch c := c.(type) {
	case plainConn:
		return c.Conn
	case tlsConn:
		return c.NetConn()
	case *tls.Conn:
		return c.NetConn()
	}
	return c
}
