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
	// Directory returns the latest one. It never goes back, but for a withdrawal that
	// is applied before it is on the log.
	Directory() access.Directory
	// Changed receives when the directory may have changed. It is buffered, so
	// nothing is missed between two reads.
	Changed() <-chan struct{}
	// WaitFor returns nil once the directory reflects the stream up to that sequence,
	// or the cause for which ctx ended.
	WaitFor(ctx context.Context, sequence uint64) error
}

// Config holds what may be left out.
type Config struct {
	// Limits of each partner. Each defaults to that of tenancy.DefaultLimits.
	Limits tenancy.Limits

	// Rate and Burst are the quota of messages that a partner sends and asks for. Default
	// to events.PartnerRate and events.PartnerBurst.
	Rate, Burst int

	// MaxPending bounds the bytes that wait in the server's memory for the connections of a
	// partner. Beyond it the slowest are closed. Defaults to 32 MiB: what is sent to our
	// clients at one time, 256 events, if each has 128 KiB. A single connection is closed by
	// the server itself at 64 MiB.
	MaxPending int

	// Interval between two checks of a Standalone that its directory is the latest. Defaults
	// to 3 s.
	Interval time.Duration

	// Measure is the time between two measurements of an Enforcer. Defaults to 100 ms.
	Measure time.Duration

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

// Callout answers logins. They open the studies that Admit was called with last: whoever
// keeps accounts and consumers decides when these are ready.
type Callout struct {
	answerer

	// mu is held for reading while a login is answered: so all answers after Restrict has
	// returned respect it.
	mu       sync.RWMutex
	admitted map[string][]string // by partner: keys of the studies that its logins open
}

// New returns a Callout on a connection in the role Callout.
func New(nc *nats.Conn, directory DirectorySource, answers *operator.Answers, cfg Config) *Callout {
	c := &Callout{admitted: make(map[string][]string)}
	c.init(nc, directory, c, answers, cfg)
	return c
}

// Limits returns those that connections have, and accounts should.
func (c *Callout) Limits() tenancy.Limits { return c.cfg.Limits }

// Restrict takes from logins what the partners are not granted. When it returns, logins
// that were being answered meanwhile are answered; Flush has the server know the answers.
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
// receive an answer later: connections there have to be checked again until logins have
// timed out.
func (c *Callout) Flush(ctx context.Context) error {
	if err := c.nc.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("flush the answers to logins: %w", err)
	}
	return nil
}

// Usage returns how many messages each partner was charged so far.
func (c *Callout) Usage() map[string]uint64 { return c.quotas.usage() }

// hold prevents changes of what is admitted while a login is answered.
func (c *Callout) hold(context.Context) (release func(), err error) {
	c.mu.RLock()
	return c.mu.RUnlock, nil
}

func (c *Callout) admittedKeys(p tenancy.Partner) ([]string, bool) {
	keys, ok := c.admitted[p.ID]
	return keys, ok
}
