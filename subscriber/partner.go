package subscriber

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/time/rate"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/retry"
)

// PartnerConfig holds what is optional.
type PartnerConfig struct {
	// TLS is used for the token endpoint and the NATS servers. Defaults to
	// the certificates that the system trusts.
	TLS *tls.Config

	// Insecure permits sending secrets in clear beyond this machine.
	Insecure bool

	// Outage is called with the cause at each attempt that fails because the
	// publisher is unreachable, and with nil when reading continues. It is called
	// from several goroutines. Defaults to a warning in slog.Default().
	Outage func(cause error)

	// Interval is the time between two requests to the broker for what is
	// outstanding. Defaults to 10 s.
	Interval time.Duration

	// Patience is how long the consumer of a granted study may be missing before
	// access counts as ended: the publisher may be creating it again.
	// Defaults to 30 s.
	Patience time.Duration

	Timeout  time.Duration    // for one request. Defaults to 10 s.
	Prefetch int              // events requested at a time. Defaults to 256.
	Clock    func() time.Time // Defaults to time.Now.
	Options  []nats.Option    // for the connection, such as its name or a proxy
}

func (cfg PartnerConfig) withDefaults() PartnerConfig {
	cfg.Interval = cmp.Or(cfg.Interval, 10*time.Second)
	cfg.Patience = cmp.Or(cfg.Patience, 30*time.Second)
	cfg.Timeout = cmp.Or(cfg.Timeout, 10*time.Second)
	cfg.Prefetch = cmp.Or(cfg.Prefetch, 256)
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Outage == nil {
		cfg.Outage = func(cause error) {
			if cause != nil {
				slog.Default().Warn("sign-off events cannot be read at present; trying again", "error", cause)
			}
		}
	}
	return cfg
}

// Partner is a partner's connection to the publisher. It stays usable through
// outages and the expiry of its access token, until Close or the end of access. Its
// methods may be called from several goroutines.
type Partner struct {
	id      string
	cfg     PartnerConfig
	tokens  *tokenSource
	url     string
	options []nats.Option
	nc      *nats.Conn
	js      jetstream.JetStream

	life context.Context // ends with the connection; its cause is why
	end  context.CancelCauseFunc

	reconnects retry.Waits   // of the connection; for the goroutine that reconnects
	quota      *rate.Limiter // of acknowledgements, positive and negative
	renewing   sync.Mutex    // one login is renewed at a time
	mu         sync.Mutex
	watches    map[chan refusal]string // the consumer whose refusals are sent to the channel
	followed   map[string]bool         // by consumer
}

// Dial connects a partner to the NATS server at url, or to one of several
// separated by commas, with an access token from the token endpoint. It waits for
// both until ctx ends, and returns at once an error that waiting does not help: an
// address, certificate or response that is wrong, or ErrAccessEnded. The caller
// must call Close.
func Dial(ctx context.Context, credentials Credentials, url string, cfg PartnerConfig) (*Partner, error) {
	local, err := servers(url)
	if err != nil {
		return nil, err
	}
	if err := credentials.validate(cfg.Insecure); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	p := &Partner{
		id: credentials.ClientID, cfg: cfg, tokens: newTokenSource(credentials, cfg), url: url,
		watches: make(map[chan refusal]string), followed: make(map[string]bool), reconnects: retry.NewWaits(longestWait),
		quota: rate.NewLimiter(events.PartnerRate*9/10, events.PartnerBurst*8/10), // the rest is for other messages
	}
	p.life, p.end = context.WithCancelCause(context.Background())
	p.options = p.connectOptions(local)
	if err := p.connect(ctx); err != nil {
		p.end(err)
		return nil, err
	}
	return p, nil
}

// Close closes the connection. Calls that use it return ErrClosed.
func (p *Partner) Close() {
	p.end(ErrClosed)
	p.nc.Close()
}

// connect calls dial until that succeeds, ctx ends, or waiting does not help.
func (p *Partner) connect(ctx context.Context) error {
	var lastOutage error // of the last attempt
	loop := retry.Loop{Longest: longestWait, Failed: p.cfg.Outage}
	err := loop.Run(ctx, func(ctx context.Context, _ func()) error {
		err := p.dial(ctx)
		var unreachable outage
		switch {
		case err == nil:
			if lastOutage != nil {
				p.cfg.Outage(nil)
			}
			lastOutage = nil
			return nil
		case isBadCredentials(err):
			return retry.Stop(accessEnded(events.Unauthenticated, err, "partner %s is unknown, or its client secret is wrong; ask the publisher for the current one", p.id))
		case !errors.As(err, &unreachable):
			return retry.Stop(err)
		}
		lastOutage = err
		return err
	})
	if err == nil && lastOutage != nil { // ctx ended
		return fmt.Errorf("%w: %w", context.Cause(ctx), lastOutage)
	}
	return err
}

// dial opens the connection of the Partner, which is closed when its life ends.
func (p *Partner) dial(ctx context.Context) error {
	nc, js, err := p.open(ctx)
	if err != nil {
		return err
	}
	p.nc, p.js = nc, js
	context.AfterFunc(p.life, nc.Close)
	return nil
}

// open gets an access token and opens a connection with it. The options add to those
// of the partner.
func (p *Partner) open(ctx context.Context, options ...nats.Option) (*nats.Conn, jetstream.JetStream, error) {
	if _, err := p.tokens.get(ctx); err != nil {
		return nil, nil, err
	}
	nc, err := nats.Connect(p.url, slices.Concat(p.options, options)...)
	if err != nil {
		p.checkToken(ctx, err)
		return nil, nil, connectError(err)
	}
	js, err := jetstream.NewWithAPIPrefix(nc, events.PartnerAPIPrefix)
	if err != nil {
		nc.Close()
		return nil, nil, fmt.Errorf("use JetStream: %w", err)
	}
	return nc, js, nil
}

// longestWait bounds the time between two attempts, to connect or for an access token.
const longestWait = 10 * time.Second
