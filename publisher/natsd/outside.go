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

	// Timeout bounds the wait for answers of all servers. It is waited in full for
	// a server that is gone. Defaults to 250 ms.
	Timeout time.Duration

	// Oldest is the oldest version of nats-server that is accepted. Defaults to
	// OldestServer.
	Oldest string

	// Log defaults to slog.Default().
	Log *slog.Logger
}

// Outside is a NATS server or cluster that runs elsewhere, in place of a Server. It has
// the accounts of the service from its configuration.
type Outside struct {
	cfg OutsideConfig
	log *slog.Logger
	old oldServers
}

// Reach returns an Outside. It opens no connection: Connect does, and the Accounts do
// when they are used.
func Reach(cfg OutsideConfig) *Outside {
	cfg.Timeout = cmp.Or(cfg.Timeout, 250*time.Millisecond)
	cfg.Oldest = cmp.Or(cfg.Oldest, OldestServer)
	return &Outside{cfg: cfg, log: cmp.Or(cfg.Log, slog.Default())}
}

// ClientURL returns the URL that clients connect to.
func (o *Outside) ClientURL() string { return o.cfg.URL }

// Accounts returns the operator.Accounts with which partners' accounts are kept on the
// servers. The keys and the preload must be those of the servers' configuration. The
// caller must call Close of what is returned.
func (o *Outside) Accounts(keys *operator.Keys, preload *operator.Preload) *operator.Accounts {
	return operator.NewAccounts(operator.Config{
		Connect: func() (*nats.Conn, error) {
			return o.Connect(Keeper, nats.MaxReconnects(-1), nats.ReconnectBufSize(-1), nats.IgnoreAuthErrorAbort())
		},
		Keys: keys, Preload: preload, Timeout: o.cfg.Timeout, Log: o.log,
	})
}

// TooOld returns an ErrOldServer if a connection uses a server that is too old, although
// Connect would refuse it: a connection that was lost and came to this server, or had to
// wait for it, or one of a role whose connections are never refused. Only the server
// that a role's connections came to last counts. Otherwise it returns nil.
func (o *Outside) TooOld(context.Context) error { return o.old.first() }

// connectTimeout is longer than a server waits for the callout's answer to a login. A
// server asks the callout about credentials that it does not know.
const connectTimeout = tenancy.LoginWait + time.Second

// Connect opens a connection as role. It returns an error if the server refuses the
// role or cannot prove who it is. If no server can be reached, it returns a connection
// that goes on trying in the background. Options may replace the name, timeout and
// handlers that are set here, but not the credentials.
//
// It returns an ErrOldServer if the server, or another one of its cluster, is too old.
// Exceptions are the roles of people, who may have to look at such a server, and the
// Keeper. A connection that comes to such a server later is used, and TooOld returns
// the error.
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
	if unanswered(err) { // it says too little; it may pass, so it is no reason to give up
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

// unanswered reports whether err means that the server had not finished the login when
// it sent its first PING, after 2 s. The client has only this text for it.
func unanswered(err error) bool {
	return strings.Contains(err.Error(), "expected 'PONG', got 'PING'")
}
