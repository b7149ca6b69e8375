package natsd

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

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

// Outside is a NATS server or cluster that runs elsewhere under a
// Configuration: it stands for a Server where there is one already.
//
// Partners' accounts are in that configuration, which only whoever runs the
// servers can change; what a login does not allow is refused all the same.
type Outside struct {
	cfg OutsideConfig
	log *slog.Logger
	old oldServers

	mu      sync.Mutex
	keeper  *nats.Conn
	lacking map[string]tenancy.Account // what SetAccount did not find on the servers, by name
}

// Reach returns an Outside without a connection; Connect and the others open them.
func Reach(cfg OutsideConfig) *Outside {
	cfg.Timeout = cmp.Or(cfg.Timeout, 250*time.Millisecond)
	cfg.Oldest = cmp.Or(cfg.Oldest, OldestServer)
	return &Outside{cfg: cfg, log: cmp.Or(cfg.Log, slog.Default()), lacking: make(map[string]tenancy.Account)}
}

// ClientURL is where clients connect.
func (o *Outside) ClientURL() string { return o.cfg.URL }

// Credentials returns none: OutsideConfig.Options has them.
func (o *Outside) Credentials(Role) Credentials { return Credentials{} }

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

// Shutdown closes what Outside opened for itself; the servers go on.
func (o *Outside) Shutdown() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.keeper != nil {
		o.keeper.Close()
		o.keeper = nil
	}
}

// ErrNotConfigured is that the servers do not let through what they should,
// and that only whoever runs them can change that.
var ErrNotConfigured = errors.New("the NATS configuration has to be written again (signoff nats-config) and reloaded")

// SetAccount stores what a partner's account must let through and logs what of it is
// missing on which server. It changes nothing on
// the servers. What is missing there cannot be used until the configuration has it; what
// they let through beyond the account, the permissions of logins refuse.
func (o *Outside) SetAccount(ctx context.Context, a tenancy.Account) error {
	missing, err := o.missing(ctx, a)
	if err != nil {
		return err
	}
	if missing != nil {
		o.log.Warn("a partner's account does not let everything through that is granted", "cause", missing)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lacking[a.Name] = a
	if missing == nil {
		delete(o.lacking, a.Name)
	}
	return nil
}

// Configured checks again what SetAccount found missing. An error that is
// ErrNotConfigured names something that still is, and where; one that is
// ErrOldServer a server that a connection has come to since the start.
func (o *Outside) Configured(ctx context.Context) error {
	if err := o.old.first(); err != nil {
		return err
	}
	o.mu.Lock()
	lacking := slices.Collect(maps.Values(o.lacking))
	o.mu.Unlock()
	for _, a := range lacking {
		missing, err := o.missing(ctx, a)
		if err := cmp.Or(err, missing); err != nil {
			return err
		}
		o.mu.Lock()
		delete(o.lacking, a.Name)
		o.mu.Unlock()
	}
	return nil
}

// missing asks all servers for the account, and whether its services have
// subscriptions: a server that has an account since its last reload has none until the next.
func (o *Outside) missing(ctx context.Context, a tenancy.Account) (missing, err error) {
	if a.Limits.Connections == 0 {
		return nil, nil
	}
	answers, err := o.ask(ctx, "$SYS.REQ.ACCOUNT."+a.Name+".INFO", nil)
	if err != nil {
		return nil, fmt.Errorf("look up account %s: %w", a.Name, err)
	}
	for _, answer := range answers {
		if what := answer.missing(a); what != "" {
			return fmt.Errorf("%w: %s is missing on server %s", ErrNotConfigured, what, answer.Server.Name), nil
		}
	}
	if len(a.Services) == 0 {
		return nil, nil
	}
	answers, err = o.ask(ctx, "$SYS.REQ.ACCOUNT."+a.Name+".SUBSZ", map[string]any{"test": a.Services[0].Import, "limit": 1})
	if err != nil {
		return nil, fmt.Errorf("look up account %s: %w", a.Name, err)
	}
	for _, answer := range answers {
		if answer.Data.Total == 0 {
			return fmt.Errorf("%w: account %s was new to server %s at its last reload and needs one more", ErrNotConfigured, a.Name, answer.Server.Name), nil
		}
	}
	return nil, nil
}

// Connections returns the open connections of a partner's account on all servers.
func (o *Outside) Connections(ctx context.Context, account string) ([]tenancy.Connection, error) {
	answers, err := o.ask(ctx, "$SYS.REQ.SERVER.PING.CONNZ", map[string]any{"acc": account, "auth": true, "limit": mostConnections})
	if err != nil {
		return nil, fmt.Errorf("list connections of account %s: %w", account, err)
	}
	var all []tenancy.Connection
	for _, answer := range answers {
		for _, c := range answer.Data.Connections {
			all = append(all, tenancy.Connection{Server: answer.Server.ID, ID: c.ID, User: c.User})
		}
	}
	return all, nil
}

// Backlogs returns the connections that leave most unread, with how much, on all servers.
func (o *Outside) Backlogs(ctx context.Context) ([]tenancy.Backlog, error) {
	answers, err := o.ask(ctx, "$SYS.REQ.SERVER.PING.CONNZ", map[string]any{"sort": "pending", "auth": true, "limit": mostBacklogs})
	if err != nil {
		return nil, fmt.Errorf("list connections by what they leave unread: %w", err)
	}
	var all []tenancy.Backlog
	for _, answer := range answers {
		for _, c := range answer.Data.Connections {
			all = append(all, tenancy.Backlog{
				Connection: tenancy.Connection{Server: answer.Server.ID, ID: c.ID, User: c.User}, Account: c.Account, Pending: uint64(max(0, c.Pending)),
			})
		}
	}
	return all, nil
}

// Traffic returns what was sent and received so far, on all servers that answer.
func (o *Outside) Traffic(ctx context.Context) ([]tenancy.Traffic, error) {
	answers, err := o.ask(ctx, "$SYS.REQ.ACCOUNT.PING.STATZ", map[string]any{"include_unused": true})
	if err != nil {
		return nil, fmt.Errorf("read the traffic of accounts: %w", err)
	}
	var all []tenancy.Traffic
	for _, answer := range answers {
		all = append(all, traffic(answer.Server.ID, answer.Data.Accounts))
	}
	return all, nil
}

// Disconnect closes a connection. One that is closed already is no error.
func (o *Outside) Disconnect(ctx context.Context, c tenancy.Connection) error {
	nc, err := o.system()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, o.cfg.Timeout)
	defer cancel()
	// The answer is only whether there was such a connection.
	_, err = nc.RequestWithContext(ctx, "$SYS.REQ.SERVER."+c.Server+".KICK", fmt.Appendf(nil, `{"cid":%d}`, c.ID))
	if err != nil && !errors.Is(err, nats.ErrNoResponders) { // that server is gone, and its connections with it
		return fmt.Errorf("close a connection: %w", err)
	}
	return nil
}

// system returns the connection in the servers' own account.
func (o *Outside) system() (*nats.Conn, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.keeper == nil {
		nc, err := o.Connect(Keeper, nats.MaxReconnects(-1), nats.ReconnectBufSize(-1), nats.IgnoreAuthErrorAbort())
		if err != nil {
			return nil, err
		}
		o.keeper = nc
	}
	return o.keeper, nil
}
