package natsd

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher/operator"
)

// Config of a server.
type Config struct {
	// Dir is the data directory. The server keeps its files in the
	// subdirectory "jetstream", which it creates. Required.
	Dir string

	// Listen is the host:port for clients over TCP; port 0 takes a free one.
	// Empty: no listener, only connections within the process.
	Listen string

	// TLS is the certificate of the listener. Connections within the process
	// do without. Defaults to plain text.
	TLS *tls.Config

	// Name of the server. Defaults to "signoff".
	Name string

	// MaxPayload is the size of the largest message, headers included, in
	// bytes. Defaults to 8 MiB, several times the largest report.
	MaxPayload int32

	// MaxConnections limits the connections over TCP, each of which needs a file
	// descriptor. Defaults to 65536.
	MaxConnections int

	// MaxStore limits the files of the stream, in bytes. Defaults to 1 PiB, so
	// that only the disk limits them. (The server's own default is three quarters
	// of what is free at its start: less at each start, as the disk fills.)
	MaxStore int64

	// ReadyTimeout bounds the wait for a server that recovers its files.
	// Defaults to one minute.
	ReadyTimeout time.Duration

	// Keys sign accounts and users. Defaults to those in the subdirectory
	// "keys/nats" of Dir, which are made if there is no such directory.
	Keys *operator.Keys

	// Log takes the server's own messages. Defaults to slog.Default().
	Log *slog.Logger
}

const (
	defaultMaxPayload = 8 << 20
	defaultMaxStore   = 1 << 50
	maxMemory         = 64 << 20 // of streams in memory; the service has none

	// ownConnections are those within the process, at most. The server's limit includes them.
	ownConnections = 16
)

// Server is a running server.
type Server struct {
	nats      *server.Server
	tls       bool // whether the listener uses TLS
	log       *slog.Logger
	operation *operation
}

// Start runs a server and returns when it accepts connections. An address in use is a
// Conflict Error; a directory that cannot be written is an Unavailable Error. The caller
// must call Shutdown.
func Start(cfg Config) (*Server, error) {
	if cfg.Dir == "" {
		return nil, events.Errorf(events.Required, "the embedded NATS server needs a data directory")
	}
	if err := writable(cfg.Dir); err != nil {
		return nil, err
	}
	if cfg.Keys == nil {
		var err error
		if cfg.Keys, err = operator.OpenKeys(KeysDir(cfg.Dir)); err != nil {
			return nil, err
		}
	}
	operation, err := operate(cfg.Dir, cfg.Keys)
	if err != nil {
		return nil, err
	}
	opts, err := options(cfg, operation)
	if err != nil {
		return nil, err
	}
	s, err := server.NewServer(opts)
	if err != nil {
		opts.AccountResolver.Close() // reading the options has started it
		return nil, fmt.Errorf("make NATS server: %w", err)
	}
	cfg.Log = cmp.Or(cfg.Log, slog.Default())
	log := newLogger(cfg.Log)
	s.SetLoggerV2(log, false, false, false)
	s.Start()
	if err := ready(s, log, cfg); err != nil {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, err
	}
	return &Server{nats: s, tls: cfg.TLS != nil, log: cfg.Log, operation: operation}, nil
}

// KeysDir returns the directory of keys in a data directory.
func KeysDir(dir string) string { return filepath.Join(dir, "keys", "nats") }

// options returns the options of the server, with the accounts of the service.
func options(cfg Config, operation *operation) (*server.Options, error) {
	opts := &server.Options{}
	if err := listen(opts, cfg.Listen); err != nil {
		return nil, err
	}
	if err := operation.apply(opts, cfg.Dir); err != nil {
		return nil, err
	}
	opts.ServerName = cmp.Or(cfg.Name, "signoff")
	opts.ClientAdvertise = opts.ServerName // so that INFO does not show strangers an address of the machine
	opts.JetStream = true
	opts.StoreDir = cfg.Dir
	opts.SyncAlways = true
	opts.JetStreamMaxStore = cmp.Or(cfg.MaxStore, defaultMaxStore)
	opts.JetStreamMaxMemory = maxMemory
	opts.MaxPayload = cmp.Or(cfg.MaxPayload, defaultMaxPayload)
	opts.MaxConn = cmp.Or(cfg.MaxConnections, server.DEFAULT_MAX_CONNECTIONS) + ownConnections
	opts.NoSigs = true // the program handles signals
	opts.TLS, opts.TLSConfig = cfg.TLS != nil, cfg.TLS
	opts.DisableJetStreamBanner = true
	return opts, nil
}

// listen sets the address for clients in the options.
func listen(opts *server.Options, address string) error {
	if address == "" {
		opts.DontListen = true
		return nil
	}
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return events.Errorf(events.Invalid, "NATS address %q is not host:port", address)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return events.Errorf(events.Invalid, "NATS address %q has no port from 0 to 65535", address)
	}
	opts.Host, opts.Port = host, int(port)
	if port == 0 {
		opts.Port = server.RANDOM_PORT
	}
	return nil
}

// writable returns an Unavailable Error if the directory cannot be written. The server
// itself starts without an error then.
func writable(dir string) error {
	probe, err := os.CreateTemp(dir, ".natsd-*")
	if err != nil {
		return &events.Error{Code: events.Unavailable, Message: "the directory of the NATS server cannot be written", Err: err}
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// ready waits until the server accepts connections. It returns an error if it does not
// in time, or did not start.
func ready(s *server.Server, log *logger, cfg Config) error {
	if text, cause := log.fatal(); text != "" {
		if errors.Is(cause, syscall.EADDRINUSE) {
			return &events.Error{Code: events.Conflict, Err: cause,
				Message: "NATS address " + cfg.Listen + " is in use; choose another, or stop the program that uses it"}
		}
		return events.Errorf(events.Unavailable, "the embedded NATS server does not start: %s", text)
	}
	wait := cmp.Or(cfg.ReadyTimeout, time.Minute)
	if !s.ReadyForConnections(wait) {
		return events.Errorf(events.Unavailable, "the embedded NATS server was not ready within %s", wait)
	}
	// The server reports no error if it could not start JetStream.
	if account, err := s.LookupAccount(cfg.Keys.App); err != nil || !account.JetStreamEnabled() {
		return events.Errorf(events.Unavailable, "the embedded NATS server has no JetStream")
	}
	return nil
}

// ClientURL returns the URL that clients connect to over TCP, with the port that was
// chosen if Config.Listen has port 0. It is empty if there is no listener.
func (s *Server) ClientURL() string {
	address, ok := s.nats.Addr().(*net.TCPAddr)
	if !ok {
		return ""
	}
	if s.tls {
		return "tls://" + address.String()
	}
	return "nats://" + address.String()
}

// InProcessConn returns a raw connection within the process; it authenticates
// like any other. It makes a Server a nats.InProcessConnProvider.
func (s *Server) InProcessConn() (net.Conn, error) { return s.nats.InProcessConn() }

// Shutdown ends the server and waits until its files are closed. The caller must drain
// its connections before. More than one call is harmless.
func (s *Server) Shutdown() {
	s.nats.Shutdown()
	s.nats.WaitForShutdown()
}
