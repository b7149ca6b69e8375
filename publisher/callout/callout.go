package callout

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/publisher/operator"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// DirectorySource supplies the directory of partners and grants.
type DirectorySource interface {
	// Directory returns the directory as of the latest event received. It never returns to
	// an older state, except that it may apply a withdrawal before it is on the log.
	Directory() access.Directory
	// Changed returns a channel that receives a value when the directory may have changed.
	// It is buffered, so that no change is missed between two reads.
	Changed() <-chan struct{}
	// Withheld returns why logins must be left unanswered now, or nil. That is so while it is
	// not certain that the stream contains only what was signed, or that the directory is
	// recent enough.
	Withheld() error
	// WaitFor waits until the directory reflects the stream up to the stream sequence. It
	// returns the cause if ctx ends before.
	WaitFor(ctx context.Context, sequence uint64) error
}

// Config holds optional settings.
type Config struct {
	// Limits of each partner. Each defaults to that of tenancy.DefaultLimits.
	Limits tenancy.Limits

	// Rate and Burst are the quota of messages that a partner sends and asks for: a second
	// in the long run, and at once. They default to events.PartnerRate and
	// events.PartnerBurst.
	Rate, Burst int

	// MaxPending bounds the bytes that wait in the server's memory for the connections of a
	// partner. Beyond it the connections with most are closed. Defaults to 32 MiB: the 256
	// events that our clients ask for at one time, of 128 KiB each. The server itself closes a
	// single connection at 64 MiB.
	MaxPending int

	// Interval between two checks of a Standalone that its directory is the latest. Defaults
	// to 3 s.
	Interval time.Duration

	// Measure is the time between two measurements of an Enforcer. Defaults to 100 ms.
	Measure time.Duration

	// Issuer is the iss that access tokens must have. Defaults to any.
	Issuer string

	// Failed is called with each login that fails for a wrong secret or a forged access
	// token, to record it. It must return at once. Defaults to nothing.
	Failed func(Failure)

	Clock func() time.Time // Defaults to time.Now.
	Log   *slog.Logger     // Defaults to slog.Default().
}

func (c Config) withDefaults() Config {
	limits := tenancy.DefaultLimits()
	c.Limits.Connections = cmp.Or(c.Limits.Connections, limits.Connections)
	c.Limits.Subscriptions = cmp.Or(c.Limits.Subscriptions, limits.Subscriptions)
	c.Limits.Payload = cmp.Or(c.Limits.Payload, limits.Payload)
	c.Rate = cmp.Or(c.Rate, events.PartnerRate)
	c.Burst = cmp.Or(c.Burst, events.PartnerBurst)
	c.MaxPending = cmp.Or(c.MaxPending, 32<<20)
	c.Interval = cmp.Or(c.Interval, 3*time.Second)
	c.Measure = cmp.Or(c.Measure, 100*time.Millisecond)
	c.Log = cmp.Or(c.Log, slog.Default())
	if c.Clock == nil {
		c.Clock = time.Now
	}
	return c
}

// Callout answers logins. They open the studies that the last call of Admit names, less
// those that Restrict has taken away: package partners decides when a study is ready.
type Callout struct {
	answerer

	// mu is held for reading while a login is answered. So each answer that is sent after
	// Restrict has returned respects it.
	mu       sync.RWMutex
	admitted map[string][]string // by partner: keys of the studies that its logins open
}

// New returns a Callout on a connection in the role Callout. It answers no logins before Start,
// and opens none before Admit.
func New(nc *nats.Conn, directory DirectorySource, answers *operator.Answers, cfg Config) *Callout {
	c := &Callout{admitted: make(map[string][]string)}
	c.init(nc, directory, c, answers, cfg)
	return c
}

// Limits returns the limits of connections. Accounts should have the same.
func (c *Callout) Limits() tenancy.Limits { return c.cfg.Limits }

// Restrict has logins no longer open what the partners are not granted. It waits until the
// logins that are being answered meanwhile have been answered. Flush waits until the server
// has received these answers.
func (c *Callout) Restrict(granted map[string]tenancy.Partner) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, keys := range c.admitted {
		if p, ok := granted[id]; ok {
			c.admitted[id] = p.Intersect(keys)
		} else {
			delete(c.admitted, id)
		}
	}
}

// Admit has logins of the partner open the studies with the keys, and reports whether
// that is a change.
func (c *Callout) Admit(partner string, keys []string) (changed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before, ok := c.admitted[partner]
	c.admitted[partner] = keys
	return !ok || !slices.Equal(before, keys)
}

// Flush waits until the server of this connection has received all answers sent so far,
// so that a list of connections shows what they opened. Other servers of a cluster may
// receive an answer later. Connections there must be checked again until all logins of that
// time have timed out.
func (c *Callout) Flush(ctx context.Context) error {
	if err := c.nc.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("flush the answers to logins: %w", err)
	}
	return nil
}

// Usage returns, by partner, how many messages it was charged so far.
func (c *Callout) Usage() map[string]uint64 { return c.quotas.usage() }

// hold prevents changes of what is admitted until release is called.
func (c *Callout) hold(context.Context) (release func(), err error) {
	c.mu.RLock()
	return c.mu.RUnlock, nil
}

// admittedKeys returns what the last Admit and Restrict have left. The caller must be between
// hold and release.
func (c *Callout) admittedKeys(p tenancy.Partner) ([]string, bool) {
	keys, ok := c.admitted[p.ID]
	return keys, ok
}
