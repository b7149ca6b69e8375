package natsd

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/publisher/operator"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// OutsideConfig describes how to connect to a server that runs elsewhere.
type OutsideConfig struct {
	// URL of the server, or of several of a cluster with commas between.
	// Required.
	URL string

	// Options returns the credentials of a connection for a role. Required.
	Options func(Role) ([]nats.Option, error)

	// Timeout bounds the wait for answers of all servers. Defaults to 250 ms:
	// one that is gone is waited for in vain.
	Timeout time.Duration

	// Oldest is the oldest version of a server that is accepted. Defaults to
	// OldestServer.
	Oldest string

	// Log defaults to slog.Default().
	Log *slog.Logger
}

// Outside is a NATS server or cluster that runs elsewhere, with the accounts of
// the service from its configuration: it stands for a Server where there is one
// already.
type Outside struct {
	cfg OutsideConfig
	log *slog.Logger
	old oldServers
}

// Reach returns an Outside without a connection; Connect and the others open them.
func Reach(cfg OutsideConfig) *Outside {
	cfg.Timeout = cmp.Or(cfg.Timeout, 250*time.Millisecond)
	cfg.Oldest = cmp.Or(cfg.Oldest, OldestServer)
	return &Outside{cfg: cfg, log: cmp.Or(cfg.Log, slog.Default())}
}

// ClientURL is where clients connect.
func (o *Outside) ClientURL() string { return o.cfg.URL }

// Accounts returns what keeps the accounts of partners on the servers. The keys and
// the preload are those of the servers' configuration. The caller must call Close.
func (o *Outside) Accounts(keys *operator.Keys, preload *operator.Preload) *operator.Accounts {
	return operator.NewAccounts(operator.Config{
		Connect: func() (*nats.Conn, error) {
			return o.Connect(Keeper, nats.MaxReconnects(-1), nats.ReconnectBufSize(-1), nats.IgnoreAuthErrorAbort())
		},
		Keys: keys, Preload: preload, Timeout: o.cfg.Timeout, Log: o.log,
	})
}

// TooOld returns an ErrOldServer of a server that a connection has come to since the
// start, or nil.
func (o *Outside) TooOld(context.Context) error { return o.old.first() }

// connectTimeout is longer than a server waits for the answer to a login, which
// credentials that it does not know make it ask for.
const connectTimeout = tenancy.LoginWait + time.Second

// Connect opens a connection as role. A server that refuses the role, or cannot
// prove who it is, is an error; one that cannot be reached is waited for, behind
// the connection that is returned. Options may add to it.
//
// A server that is too old is an error too, as is another of its cluster: except for
// people, who may have to look at it, and where it is found by a connection that was lost
// or had to wait.
func (o *Outside) Connect(role Role, opts ...nats.Option) (*nats.Conn, error) {
	own, err := o.cfg.Options(role)
	if err != nil {
		return nil, err
	}
	notice := func(nc *nats.Conn) { o.notice(role, nc) }
	all := append([]nats.Option{
		nats.Name("signoff " + string(role)),
		nats.Timeout(connectTimeout),
		nats.ReconnectHandler(notice),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			o.log.Warn("nats: connection", "role", role, "error", err)
		}),
	}, opts...)
	all = append(all, own...)
	nc, err := nats.Connect(o.cfg.URL, all...)
	if err == nil {
		return o.begin(role, nc)
	}
	if unanswered(err) {
		err = fmt.Errorf("the server is very slow, or does not know these credentials and nobody answers logins: %w", err)
	}
	var unknown *tls.CertificateVerificationError
	if errors.Is(err, nats.ErrAuthorization) || errors.As(err, &unknown) || errors.Is(err, nats.ErrSecureConnWanted) {
		return nil, fmt.Errorf("connect to NATS as %s: %w", role, err)
	}
	o.log.Warn("nats: not reached yet, trying on", "role", role, "error", err)
	nc, err = nats.Connect(o.cfg.URL, append(all, nats.RetryOnFailedConnect(true), nats.ConnectHandler(notice))...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS as %s: %w", role, err)
	}
	return nc, nil
}

// unanswered reports that the server had not finished the login when it sent its first
// PING, after 2 s. The client has no other error for that.
func unanswered(err error) bool {
	return strings.Contains(err.Error(), "expected 'PONG', got 'PING'")
}
