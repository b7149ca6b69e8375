package rest

import (
	"cmp"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// ServerConfig holds the limits of a server.
type ServerConfig struct {
	ReadHeaderTimeout time.Duration // Defaults to 5 s
	ReadTimeout       time.Duration // of a whole request. Defaults to 30 s
	WriteTimeout      time.Duration // from the end of the header to the end of the answer. Defaults to 60 s
	IdleTimeout       time.Duration // between requests of a connection. Defaults to 120 s
	MaxHeaderBytes    int           // request line included. Defaults to 32 KiB

	// TLS is how the server proves who it is. It offers HTTP/2 then, and the
	// time for the header holds for the handshake too. Defaults to plain text.
	TLS *tls.Config
}

// NewServer makes a server that no caller can hold up for ever. It does not
// wrap h, and listens to nothing before Serve is called. What
// net/http has to say, such as that a connection broke, goes to log.
func NewServer(h http.Handler, log *slog.Logger, cfg ServerConfig) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: cmp.Or(cfg.ReadHeaderTimeout, 5*time.Second),
		ReadTimeout:       cmp.Or(cfg.ReadTimeout, 30*time.Second),
		WriteTimeout:      cmp.Or(cfg.WriteTimeout, 60*time.Second),
		IdleTimeout:       cmp.Or(cfg.IdleTimeout, 120*time.Second),
		MaxHeaderBytes:    cmp.Or(cfg.MaxHeaderBytes, 32<<10),
		TLSConfig:         cfg.TLS,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// Serve answers on the listener until the server is shut down, which is no
// error; over TLS if the server was made with it.
func Serve(s *http.Server, l net.Listener) error {
	serve := s.Serve
	if s.TLSConfig != nil {
		serve = func(l net.Listener) error { return s.ServeTLS(l, "", "") }
	}
	if err := serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
