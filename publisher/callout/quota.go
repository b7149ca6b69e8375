package callout

import (
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// How long a partner is suspended that exceeds its quota: the first time, and each
// further time twice as long, unless it has kept to its quota for long enough. If the
// quota needs longer to recover, the partner is suspended until then.
const (
	shortestSuspension = time.Second
	longestSuspension  = 15 * time.Second
	forgiveAfter       = time.Minute
	largestDebt        = time.Minute // what exceeds the quota beyond that is not charged
)

// loginCost is how many messages a login counts for. The server does not count
// what comes with it.
const loginCost = 50

// quotas bound how many messages each partner sends, over all its connections, and how
// many the server sends to it because it asks: some at once, and so many a second for
// long. The server handles the requests of all partners in a few queues that the
// publisher's messages go through as well, and cannot bound the rate itself. A partner
// that exceeds its quota is suspended, at least until the quota has recovered.
//
// They count by account, not by connection: a connection may be closed before anybody
// measures it.
type quotas struct {
	limit rate.Limit // messages a second
	burst int

	mu       sync.Mutex
	counted  map[string]map[string]tenancy.Messages // by server and account, at the last measurement
	partners map[string]*quota
}

type quota struct {
	used           uint64        // messages, in all
	left           *rate.Limiter // may be overdrawn
	suspendedUntil time.Time
	suspension     time.Duration // the last one
}

func newQuotas(limit, burst int) *quotas {
	return &quotas{
		limit: rate.Limit(limit), burst: burst,
		counted: make(map[string]map[string]tenancy.Messages), partners: make(map[string]*quota),
	}
}

// chargeTraffic charges what was sent since the last measurement. It returns the partners
// that are suspended now and until when, and for how long those that were not before. What
// was sent before the first measurement of a server is not charged.
func (q *quotas) chargeTraffic(traffic []tenancy.Traffic, now time.Time) (suspended map[string]time.Time, started map[string]time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, t := range traffic {
		before, counted := q.counted[t.Server]
		q.counted[t.Server] = t.Accounts
		for account, m := range t.Accounts {
			partner, ok := strings.CutPrefix(account, tenancy.AccountPrefix)
			if n := m.Since(before[account]); ok && counted && n > 0 {
				q.charge(partner, n, now)
			}
		}
	}
	suspended, started = make(map[string]time.Time), make(map[string]time.Duration)
	for partner, p := range q.partners {
		switch wait := p.recovery(now); {
		case wait > 0 && !now.Before(p.suspendedUntil):
			started[partner] = p.suspend(wait, now)
		case wait > 0 && now.Add(wait).After(p.suspendedUntil): // what was counted only after it was suspended
			p.suspendedUntil = now.Add(wait)
		}
		if now.Before(p.suspendedUntil) {
			suspended[partner] = p.suspendedUntil
		}
	}
	return suspended, started
}

// chargeLogin charges a login.
func (q *quotas) chargeLogin(partner string, now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.charge(partner, loginCost, now)
}

// chargeHeartbeats charges those that a request may be sent.
func (q *quotas) chargeHeartbeats(partner string, n uint64, now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.charge(partner, n, now)
}

// suspend takes over the suspensions of another process.
func (q *quotas) suspend(until map[string]time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for partner, end := range until {
		q.of(partner).suspendedUntil = end
	}
}

// charge charges messages, as many at a time as the limiter accepts.
func (q *quotas) charge(partner string, n uint64, now time.Time) {
	p := q.of(partner)
	p.used += n
	n = min(n, uint64(max(0, largestDebt.Seconds()*float64(q.limit)+p.left.TokensAt(now))))
	for part := uint64(q.burst); n > 0; n -= part {
		part = min(part, n)
		p.left.ReserveN(now, int(part))
	}
}

// usage returns what partners were charged so far.
func (q *quotas) usage() map[string]uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := make(map[string]uint64, len(q.partners))
	for partner, p := range q.partners {
		all[partner] = p.used
	}
	return all
}

func (q *quotas) of(partner string) *quota {
	p, ok := q.partners[partner]
	if !ok {
		p = &quota{left: rate.NewLimiter(q.limit, q.burst)}
		q.partners[partner] = p
	}
	return p
}

// recovery is how long it takes until the quota is no longer overdrawn.
func (p *quota) recovery(now time.Time) time.Duration {
	return time.Duration(max(0, -p.left.TokensAt(now)) / float64(p.left.Limit()) * float64(time.Second))
}

// suspend suspends the partner, for as long as wait at least, and returns for how long.
func (p *quota) suspend(wait time.Duration, now time.Time) time.Duration {
	p.suspension = min(2*p.suspension, longestSuspension)
	if now.Sub(p.suspendedUntil) > forgiveAfter {
		p.suspension = shortestSuspension
	}
	p.suspendedUntil = now.Add(max(wait, p.suspension))
	return p.suspendedUntil.Sub(now)
}

// suspended reports whether the partner is suspended.
func (q *quotas) suspended(partner string, now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	p, ok := q.partners[partner]
	return ok && now.Before(p.suspendedUntil)
}
