package rest

import (
	"cmp"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir/rest/connections"
)

// ServerConfig holds the limits of a server.
type ServerConfig struct {
	ReadHeaderTimeout time.Duration // Defaults to 5 s
	ReadTimeout       time.Duration // for the whole request. Defaults to 30 s
	WriteTimeout      time.Duration // from the end of the header to the end of the answer. Defaults to 60 s
	IdleTimeout       time.Duration // between requests of a connection. Defaults to 120 s
	MaxHeaderBytes    int           // approximate, including the request line. Defaults to 32 KiB

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
	cfg.MaxHeaderBytes = cmp.Or(cfg.MaxHeaderBytes, 32<<10)
	if cfg.TLS != nil {
		cfg.TLS = cfg.TLS.Clone()
		cfg.TLS.NextProtos = []string{protocolHTTP2, "http/1.1"}
		// Net/http refuses a request of HTTP/2 above its limit without an OperationOutcome. So
		// its limit is twice the one that limitedHead enforces.
		h = limitedHead(h, log, cfg.MaxHeaderBytes)
		cfg.MaxHeaderBytes *= 2
	}
	return &http.Server{
		Handler:                      h,
		DisableGeneralOptionsHandler: true, // h answers OPTIONS *
		ReadHeaderTimeout:            cmp.Or(cfg.ReadHeaderTimeout, 5*time.Second),
		ReadTimeout:                  cmp.Or(cfg.ReadTimeout, 30*time.Second),
		WriteTimeout:                 cmp.Or(cfg.WriteTimeout, 60*time.Second),
		IdleTimeout:                  cmp.Or(cfg.IdleTimeout, 120*time.Second),
		MaxHeaderBytes:               cfg.MaxHeaderBytes,
		TLSConfig:                    cfg.TLS,
		ErrorLog:                     slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// limitedHead answers requests whose request line and headers have more than limit bytes
// with an OperationOutcome and status 431. It calls h for all others.
func limitedHead(h http.Handler, log *slog.Logger, limit int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if headSize(r) <= limit {
			h.ServeHTTP(w, r)
			return
		}
		id := uuid.Must(uuid.NewV7()).String()
		log.Warn("request was answered before it was read", requestIDAttribute, id, "status", http.StatusRequestHeaderFieldsTooLarge)
		body, header := headOutcome(http.StatusRequestHeaderFieldsTooLarge, "", id), w.Header()
		header.Set("Content-Type", events.MediaFHIR)
		header.Set("Content-Length", strconv.Itoa(len(body)))
		header.Set("Cache-Control", "no-store")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set(requestIDHeader, id)
		if r.ProtoMajor == 1 { // over HTTP/2 the connection has requests of others too
			header.Set("Connection", "close")
		}
		w.WriteHeader(http.StatusRequestHeaderFieldsTooLarge)
		_, _ = w.Write(body) // fails only if the caller has gone
	})
}

// headSize returns the size of a request's line and headers as HTTP/1.1 would send them.
func headSize(r *http.Request) int {
	size := len(r.Method) + len(r.RequestURI) + len("  HTTP/1.1\r\nHost: \r\n") + len(r.Host)
	for name, values := range r.Header {
		for _, value := range values {
			size += len(name) + len(": ") + len(value) + len("\r\n")
		}
	}
	return size
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
