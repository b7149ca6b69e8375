package doors

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/seed-e88a4ece/signoff/events"
)

// For how long a partner is put out that sends too much: the first time, and
// each further time twice as long, unless it has kept to what it may for long
// enough.
const (
	shortestPause = time.Second
	longestPause  = 15 * time.Second
	forgiveAfter  = time.Minute
)

// allowance bounds how many messages a partner sends, over all its connections:
// some at once, and so many a second for long. The broker handles the requests
// of all partners in a few queues that the publisher's messages go through as
// well, and cannot bound the rate itself. Who is over is put out, at least until
// what was sent too much would have been allowed.
//
// It counts what accounts have received, not connections: those may be closed
// before anybody looks.
type allowance struct {
	limit rate.Limit // messages a second
	burst int

	mu      sync.Mutex
	counted map[string]map[string]uint64 // by server and account, at the last look
	budgets map[string]*budget           // by partner
}

type budget struct {
	left  *rate.Limiter // which may be overdrawn
	out   time.Time     // until then the partner is out
	pause time.Duration // the last one
}

func newAllowance(limit, burst int) *allowance {
	return &allowance{
		limit: rate.Limit(limit), burst: burst,
		counted: make(map[string]map[string]uint64), budgets: make(map[string]*budget),
	}
}

// charge takes note of what was sent. It gives the partners that are out now,
// and for how long those that were not before. What was sent before the first
// look at a server is not charged.
func (a *allowance) charge(sent []events.Traffic, now time.Time) (out []string, news map[string]time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, t := range sent {
		before, known := a.counted[t.Server]
		a.counted[t.Server] = t.Received
		for account, received := range t.Received {
			partner, ok := strings.CutPrefix(account, events.PartnerAccountPrefix)
			if n := received - min(before[account], received); ok && known && n > 0 {
				a.spend(partner, n, now)
			}
		}
	}
	news = make(map[string]time.Duration)
	for partner, b := range a.budgets {
		wait := b.overdrawn(now)
		if now.Before(b.out) {
			out = append(out, partner)
		} else if wait > 0 {
			out, news[partner] = append(out, partner), b.putOut(wait, now)
		}
	}
	return out, news
}

func (a *allowance) spend(partner string, n uint64, now time.Time) {
	b, ok := a.budgets[partner]
	if !ok {
		b = &budget{left: rate.NewLimiter(a.limit, a.burst)}
		a.budgets[partner] = b
	}
	b.left.ReserveN(now, int(min(n, uint64(a.burst))))
}

// overdrawn is how long it takes until nothing is owed.
func (b *budget) overdrawn(now time.Time) time.Duration {
	return time.Duration(max(0, -b.left.TokensAt(now)) / float64(b.left.Limit()) * float64(time.Second))
}

// putOut puts the partner out, for as long as wait at least, and gives for how
// long.
func (b *budget) putOut(wait time.Duration, now time.Time) time.Duration {
	b.pause = min(2*b.pause, longestPause)
	if now.Sub(b.out) > forgiveAfter {
		b.pause = shortestPause
	}
	b.out = now.Add(max(wait, b.pause))
	return b.out.Sub(now)
}

// out reports whether the partner is out.
func (a *allowance) out(partner string, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	b, ok := a.budgets[partner]
	return ok && now.Before(b.out)
}

// watchTraffic puts out partners that send too much, until ctx ends.
func (d *Doors) watchTraffic(ctx context.Context) {
	tick := time.NewTicker(d.cfg.Watch)
	defer tick.Stop()
	known := true
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := d.watchOnce(ctx)
		if known && err != nil && ctx.Err() == nil {
			d.cfg.Log.Warn("what partners send is not known; it is looked at again and again", "cause", err)
		}
		known = err == nil
	}
}

// watchOnce charges partners with what they have sent since the last time, and
// closes the connections of those that are out.
func (d *Doors) watchOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	sent, err := d.accounts.Traffic(ctx)
	if err != nil {
		return fmt.Errorf("look at what partners send: %w", err)
	}
	out, news := d.allowance.charge(sent, d.cfg.Clock())
	for partner, wait := range news {
		d.metrics.putOut.Inc()
		d.cfg.Log.Warn("a partner sends more than it may: its connections are closed, and it is not let in for some time",
			"partner", partner, "seconds", wait.Seconds())
	}
	directory := d.log.Directory()
	var errs []error
	for _, id := range out {
		p, _ := directory.Partner(id)
		errs = append(errs, d.sweep(ctx, id, p))
	}
	return errors.Join(errs...)
}
