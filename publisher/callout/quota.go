package callout

import (
	"maps"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// A partner that exceeds its quota is suspended for shortestSuspension, and each further time
// for twice as long as before, up to longestSuspension. After forgiveAfter without a
// suspension the next one is short again. If the quota needs longer to recover, the partner
// is suspended until then. It is not charged for what would take longer than largestDebt to
// recover from.
const (
	shortestSuspension = time.Second
	longestSuspension  = 15 * time.Second
	forgiveAfter       = time.Minute
	largestDebt        = time.Minute
)

// forgetServerAfter is how long the last measurement of a server that does not answer is kept. It
// is longer than a server that was killed counts as running. A server that answers again later
// is measured anew.
const forgetServerAfter = 10 * time.Minute

// loginCost is how many messages a login is charged as. The traffic that servers report does
// not include the messages of a login.
const loginCost = 50

// quotas bound how many messages each partner sends, over all its connections, and how
// many the server sends to it because it asks: burst at once, and limit a second in the long
// run. The server cannot bound the rate itself, and it handles the requests of all partners
// in a few queues that the publisher's messages go through as well. A partner that exceeds
// its quota is suspended, at least until the quota has recovered.
//
// Messages are counted by account, not by connection: a connection may be closed before
// it is measured.
type quotas struct {
	limit rate.Limit // messages a second
	burst int

	mu       sync.Mutex
	measured map[string]measurement // by server: the last one
	partners map[string]*quota
}

// measurement is the traffic of a server.
type measurement struct {
	accounts map[string]tenancy.Messages // by account
	at       time.Time
}

// quota is what one partner has used of its quota.
type quota struct {
	used           uint64        // all messages that it was charged
	left           *rate.Limiter // what is left; below zero the quota is exceeded
	suspendedUntil time.Time
	suspension     time.Duration // of the last one, without the time to recover
}

func newQuotas(limit, burst int) *quotas {
	return &quotas{
		limit: rate.Limit(limit), burst: burst,
		measured: make(map[string]measurement), partners: make(map[string]*quota),
	}
}

// chargeTraffic charges partners for what was sent since the last measurement, and suspends
// those that exceed their quota. It returns all partners that are suspended now, with the end
// of their suspension, and those whose suspension began now, with its duration. What was sent
// before the first measurement of a server is not charged.
func (q *quotas) chargeTraffic(traffic []tenancy.Traffic, now time.Time) (suspended map[string]time.Time, started map[string]time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, t := range traffic {
		before, known := q.measured[t.Server]
		q.measured[t.Server] = measurement{t.Accounts, now}
		for account, m := range t.Accounts {
			partner, ok := strings.CutPrefix(account, tenancy.AccountPrefix)
			if n := m.Since(before.accounts[account]); ok && known && n > 0 {
				q.charge(partner, n, now)
			}
		}
	}
	// A server has another id after each start.
	maps.DeleteFunc(q.measured, func(_ string, m measurement) bool { return now.Sub(m.at) > forgetServerAfter })
	suspended, started = make(map[string]time.Time), make(map[string]time.Duration)
	for partner, p := range q.partners {
		switch wait := p.recovery(now); {
		case wait > 0 && !now.Before(p.suspendedUntil):
			started[partner] = p.suspend(wait, now)
		case wait > 0 && now.Add(wait).After(p.suspendedUntil): // suspended already: messages charged since make the recovery longer
			p.suspendedUntil = now.Add(wait)
		}
		if now.Before(p.suspendedUntil) {
			suspended[partner] = p.suspendedUntil
		}
	}
	return suspended, started
}

// chargeLogin charges a partner for a login.
func (q *quotas) chargeLogin(partner string, now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.charge(partner, loginCost, now)
}

// chargeHeartbeats charges a partner for n heartbeats that a request may be sent.
func (q *quotas) chargeHeartbeats(partner string, n uint64, now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.charge(partner, n, now)
}

// suspend sets the ends of suspensions, by partner, as another process has decided.
func (q *quotas) suspend(until map[string]time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for partner, end := range until {
		q.of(partner).suspendedUntil = end
	}
}

// charge charges a partner for n messages. They all count in used, but they reduce what is
// left only down to largestDebt. The caller holds q.mu.
func (q *quotas) charge(partner string, n uint64, now time.Time) {
	p := q.of(partner)
	p.used += n
	n = min(n, uint64(max(0, largestDebt.Seconds()*float64(q.limit)+p.left.TokensAt(now))))
	for part := uint64(q.burst); n > 0; n -= part { // the limiter accepts no more than burst at a time
		part = min(part, n)
		p.left.ReserveN(now, int(part))
	}
}

// usage returns, by partner, how many messages it was charged so far.
func (q *quotas) usage() map[string]uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := make(map[string]uint64, len(q.partners))
	for partner, p := range q.partners {
		all[partner] = p.used
	}
	return all
}

// of returns the quota of a partner, and adds an unused one if there is none. The caller holds
// q.mu.
func (q *quotas) of(partner string) *quota {
	p, ok := q.partners[partner]
	if !ok {
		p = &quota{left: rate.NewLimiter(q.limit, q.burst)}
		q.partners[partner] = p
	}
	return p
}

// recovery returns how long it takes until the quota is no longer exceeded; zero if it is not.
func (p *quota) recovery(now time.Time) time.Duration {
	return time.Duration(max(0, -p.left.TokensAt(now)) / float64(p.left.Limit()) * float64(time.Second))
}

// suspend suspends the partner from now on, for wait or longer; see shortestSuspension. It
// returns for how long.
func (p *quota) suspend(wait time.Duration, now time.Time) time.Duration {
	p.suspension = min(2*p.suspension, longestSuspension)
	if now.Sub(p.suspendedUntil) > forgiveAfter {
		p.suspension = shortestSuspension
	}
	p.suspendedUntil = now.Add(max(wait, p.suspension))
	return p.suspendedUntil.Sub(now)
}

// suspended reports whether the partner is suspended at the time now.
func (q *quotas) suspended(partner string, now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	p, ok := q.partners[partner]
	return ok && now.Before(p.suspendedUntil)
}
