package rest

import (
	"cmp"
	"log/slog"
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
}

// NewServer makes a server that no caller can hold up for ever. It does not
// wrap h, and listens to nothing before Serve is called with a listener. What
// net/http has to say, such as that a connection broke, goes to log.
func NewServer(h http.Handler, log *slog.Logger, cfg ServerConfig) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: cmp.Or(cfg.ReadHeaderTimeout, 5*time.Second),
		ReadTimeout:       cmp.Or(cfg.ReadTimeout, 30*time.Second),
		WriteTimeout:      cmp.Or(cfg.WriteTimeout, 60*time.Second),
		IdleTimeout:       cmp.Or(cfg.IdleTimeout, 120*time.Second),
		MaxHeaderBytes:    cmp.Or(cfg.MaxHeaderBytes, 32<<10),
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}
