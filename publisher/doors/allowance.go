package doors

import (
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/seed-e88a4ece/signoff/events"
)

// For how long a partner is put out that sends too much: the first time, and
// each further time twice as long, unless it has kept to what it may for long
// enough. If what was too much takes longer to make good, it is out until then.
const (
	shortestPause = time.Second
	longestPause  = 15 * time.Second
	forgiveAfter  = time.Minute
	largestDebt   = time.Minute // what is too much beyond that is not charged
)

// loginCost is what a login counts for, in messages. The broker does not count
// what comes with it.
const loginCost = 50

// allowance bounds how many messages a partner sends, over all its connections,
// and how many the broker sends to it because it asks: some at once, and so many
// a second for long. The broker handles the requests of all partners in a few
// queues that the publisher's messages go through as well, and cannot bound the
// rate itself. Who is over is put out, at least until what was too much would
// have been allowed.
//
// It counts by account, not by connection: those may be closed before anybody
// looks.
type allowance struct {
	limit rate.Limit // messages a second
	burst int

	mu      sync.Mutex
	counted map[string]map[string]events.Messages // by server and account, at the last look
	budgets map[string]*budget                    // by partner
}

type budget struct {
	spent uint64        // messages, in all
	left  *rate.Limiter // which may be overdrawn
	out   time.Time     // until then the partner is out
	pause time.Duration // the last one
}

func newAllowance(limit, burst int) *allowance {
	return &allowance{
		limit: rate.Limit(limit), burst: burst,
		counted: make(map[string]map[string]events.Messages), budgets: make(map[string]*budget),
	}
}

// charge takes note of what went to and fro. It returns the partners that are out
// now and until when, and for how long those that were not before. What was
// before the first look at a server is not charged.
func (a *allowance) charge(traffic []events.Traffic, now time.Time) (out map[string]time.Time, news map[string]time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, t := range traffic {
		before, known := a.counted[t.Server]
		a.counted[t.Server] = t.Accounts
		for account, m := range t.Accounts {
			partner, ok := strings.CutPrefix(account, events.PartnerAccountPrefix)
			if n := m.Since(before[account]); ok && known && n > 0 {
				a.spend(partner, n, now)
			}
		}
	}
	out, news = make(map[string]time.Time), make(map[string]time.Duration)
	for partner, b := range a.budgets {
		switch wait := b.overdrawn(now); {
		case wait > 0 && !now.Before(b.out):
			news[partner] = b.putOut(wait, now)
		case wait > 0 && now.Add(wait).After(b.out): // what was counted only when it was out
			b.out = now.Add(wait)
		}
		if now.Before(b.out) {
			out[partner] = b.out
		}
	}
	return out, news
}

// enter charges a login.
func (a *allowance) enter(partner string, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.spend(partner, loginCost, now)
}

// heartbeats charges those that a request may be sent.
func (a *allowance) heartbeats(partner string, n uint64, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.spend(partner, n, now)
}

// tell takes over from other doors who is out, and until when.
func (a *allowance) tell(out map[string]time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for partner, until := range out {
		a.budget(partner).out = until
	}
}

// spend charges messages. More than the budget may hold is charged bit by bit.
func (a *allowance) spend(partner string, n uint64, now time.Time) {
	b := a.budget(partner)
	b.spent += n
	n = min(n, uint64(max(0, largestDebt.Seconds()*float64(a.limit)+b.left.TokensAt(now))))
	for bit := uint64(a.burst); n > 0; n -= bit {
		bit = min(bit, n)
		b.left.ReserveN(now, int(bit))
	}
}

// spent returns what partners were charged so far.
func (a *allowance) spent() map[string]uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := make(map[string]uint64, len(a.budgets))
	for partner, b := range a.budgets {
		all[partner] = b.spent
	}
	return all
}

func (a *allowance) budget(partner string) *budget {
	b, ok := a.budgets[partner]
	if !ok {
		b = &budget{left: rate.NewLimiter(a.limit, a.burst)}
		a.budgets[partner] = b
	}
	return b
}

// overdrawn is how long it takes until nothing is owed.
func (b *budget) overdrawn(now time.Time) time.Duration {
	return time.Duration(max(0, -b.left.TokensAt(now)) / float64(b.left.Limit()) * float64(time.Second))
}

// putOut puts the partner out, for as long as wait at least, and returns for how
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
