package natsd

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
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
	cfg     OutsideConfig
	log     *slog.Logger
	old     oldServers
	refused chan error // the first refusal that does not pass
}

// Reach returns an Outside. It opens no connection: Connect does, and the Accounts do
// when they are used.
func Reach(cfg OutsideConfig) *Outside {
	cfg.Timeout = cmp.Or(cfg.Timeout, 250*time.Millisecond)
	cfg.Oldest = cmp.Or(cfg.Oldest, OldestServer)
	return &Outside{cfg: cfg, log: cmp.Or(cfg.Log, slog.Default()), refused: make(chan error, 1)}
}

// ClientURL returns the URL that clients connect to.
func (o *Outside) ClientURL() string { return o.cfg.URL }

// Hosts returns the addresses of the configured servers.
func (o *Outside) Hosts() (all []string) {
	for address := range strings.SplitSeq(o.cfg.URL, ",") {
		if u, err := url.Parse(strings.TrimSpace(address)); err == nil && u.Host != "" {
			address = u.Host // without the user's name and password
		}
		all = append(all, address)
	}
	return all
}

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

// TooOld returns an ErrOldServer if an open connection uses a server that is too old,
// although Connect would refuse it: a connection that was lost and came to this server, or
// had to wait for it, or one of a role whose connections are never refused. It names all
// such servers. Otherwise it returns nil.
func (o *Outside) TooOld(context.Context) error { return o.old.all() }

// AwaitRefusal waits until the servers refuse the credentials of an open connection, and
// returns an error that says so. A connection is taken for refused once it was refused, since
// it was last accepted, twice as often as there are servers: one server may have other keys
// than the rest for a while, as when all are started again with new keys. Logins that the
// servers did not finish count too, four times as many as there are servers. It returns nil
// when ctx ends.
func (o *Outside) AwaitRefusal(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-o.refused:
		return err
	}
}

// connectTimeout is longer than a server waits for the callout's answer to a login. A
// server asks the callout about credentials that it does not know.
const connectTimeout = tenancy.LoginWait + time.Second

// Connect opens a connection as role. It returns an error if the server refuses the
// role or cannot prove who it is. If no server can be reached, it returns a connection
// that goes on trying in the background; AwaitRefusal returns what it meets then. Options
// may replace the name, the timeout and the handler of errors that are set here, but not the
// credentials.
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
	all := append([]nats.Option{
		nats.Name("signoff " + string(role)),
		nats.Timeout(connectTimeout),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			o.log.Warn("nats: connection", "role", role, "error", err)
		}),
	}, opts...)
	all = append(all, own...)
	all = append(all, o.watch(role))
	nc, err := nats.Connect(o.cfg.URL, all...)
	if err == nil {
		if err = o.begin(role, nc); err != nil {
			nc.Close()
			return nil, err
		}
		o.watchRefusals(role, nc)
		return nc, nil
	}
	if unanswered(err) { // it says too little; it may pass, so it is no reason to give up
		err = fmt.Errorf("the server is very slow, or does not know these credentials and nobody answers logins: %w", err)
	}
	if errors.Is(err, nats.ErrAuthorization) {
		return nil, refusedError(role, err)
	}
	var unknown *tls.CertificateVerificationError
	if errors.As(err, &unknown) || errors.Is(err, nats.ErrSecureConnWanted) {
		return nil, fmt.Errorf("connect to NATS as %s: %w", role, err)
	}
	o.log.Warn("nats: not reached yet, trying on", "role", role, "error", err)
	notice := func(op *nats.Options) error {
		op.ConnectedCB = after(op.ConnectedCB, func(nc *nats.Conn) { o.notice(role, nc) })
		return nil
	}
	nc, err = nats.Connect(o.cfg.URL, append(all, nats.RetryOnFailedConnect(true), notice)...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS as %s: %w", role, err)
	}
	o.watchRefusals(role, nc)
	return nc, nil
}

// refusedError is that the servers refuse the credentials of a role.
func refusedError(role Role, err error) error {
	return fmt.Errorf("connect to NATS as %s: the servers refuse these credentials (%w); use those that signoff nats-config wrote last", role, err)
}

// watch returns the option with which a connection notices which server it has come to, and
// that it is closed. The caller's handlers are called too.
func (o *Outside) watch(role Role) nats.Option {
	return func(op *nats.Options) error {
		op.ReconnectedCB = after(op.ReconnectedCB, func(nc *nats.Conn) { o.notice(role, nc) })
		op.ClosedCB = after(op.ClosedCB, func(nc *nats.Conn) { o.old.set(nc, nil) })
		return nil
	}
}

// after returns a handler that calls fn and then the former handler, if there is one.
func after(former, fn nats.ConnHandler) nats.ConnHandler {
	return func(nc *nats.Conn) {
		fn(nc)
		if former != nil {
			former(nc)
		}
	}
}

// watchRefusals counts how often a connection is refused after it was accepted last, until it
// is closed. Package nats calls no handler for a refusal of the first connect.
//
// A login that the server has not finished when it sends its first PING was most probably
// asked of the callout in vain, as credentials of the callout's role with a former key are.
// It may also be that of a server that is very slow, so more of them are needed.
func (o *Outside) watchRefusals(role Role, nc *nats.Conn) {
	changed := nc.StatusChanged(nats.CONNECTED, nats.RECONNECTING, nats.CLOSED)
	go func() {
		for refusals, late := 0, 0; !nc.IsClosed(); {
			switch <-changed {
			case nats.CONNECTED:
				refusals, late = 0, 0
			case nats.RECONNECTING: // the last attempt has failed
				err, reported := nc.LastError(), refusals >= 2*len(nc.Servers()) || late >= 4*len(nc.Servers())
				switch {
				case errors.Is(err, nats.ErrAuthorization):
					refusals++
				case err != nil && unanswered(err):
					late++
				}
				if !reported && (refusals >= 2*len(nc.Servers()) || late >= 4*len(nc.Servers())) {
					o.reportRefusal(refusedError(role, err))
				}
			}
		}
	}()
}

// reportRefusal stores the error for AwaitRefusal, unless there is one already.
func (o *Outside) reportRefusal(err error) {
	o.log.Warn("nats: trying on", "error", err)
	select {
	case o.refused <- err:
	default:
	}
}

// unanswered reports whether err means that the server had not finished the login when
// it sent its first PING, after 2 s. The client has only this text for it.
func unanswered(err error) bool {
	return strings.Contains(err.Error(), "expected 'PONG', got 'PING'")
}
