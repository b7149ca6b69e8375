package token

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
)

// Failures of one place over all clients: as many at once, then one more each
// so often. Clients counts those of one client. A partner that makes a mistake
// never gets near this; who tries ids and secrets lives with it.
const (
	failuresAtOnce = 20
	failureEvery   = 15 * time.Second
)

// maxRemembered bounds each of the throttle's tables: places, and pairs of
// client and place.
const maxRemembered = 10_000

// throttle slows a place that tries many clients. Who has signed in from there
// since the program started is not slowed with it: partners may share an
// address with a stranger. It costs no look into the database.
type throttle struct {
	mu     sync.Mutex
	places map[string]*rate.Limiter
	known  map[visitor]struct{}
}

// visitor is a client at a place.
type visitor struct{ client, place string }

func newThrottle() *throttle {
	return &throttle{places: make(map[string]*rate.Limiter), known: make(map[visitor]struct{})}
}

// admission is an attempt that may be made. It counts as failed until it is
// known to have succeeded, so that many at the same time get no further than
// one after the other.
type admission struct {
	t     *throttle
	who   visitor
	taken *rate.Reservation // nil: not counted
	at    time.Time
}

// admit lets an attempt be made, or returns a Throttled Error.
func (t *throttle) admit(client, address string, now time.Time) (admission, error) {
	a := admission{t: t, who: visitor{client, access.Place(address)}, at: now}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.known[a.who]; ok {
		return a, nil
	}
	taken := t.limiter(a.who.place, now).ReserveN(now, 1)
	if wait := taken.DelayFrom(now); wait > 0 {
		taken.CancelAt(now)
		return a, &events.Error{
			Code: events.Throttled, Message: "too many failed sign-ins from this address; try again later", RetryAfter: wait,
		}
	}
	a.taken = taken
	return a, nil
}

// limiter returns the failures of a place. In a full table the place that has
// failed least, of a few, makes room.
func (t *throttle) limiter(place string, now time.Time) *rate.Limiter {
	if l, ok := t.places[place]; ok {
		return l
	}
	if len(t.places) >= maxRemembered {
		t.makeRoom(now)
	}
	l := rate.NewLimiter(rate.Every(failureEvery), failuresAtOnce)
	t.places[place] = l
	return l
}

func (t *throttle) makeRoom(now time.Time) {
	const few = 8
	least, most, seen := "", -1.0, 0
	for place, l := range t.places { // in no order
		if left := l.TokensAt(now); left > most {
			least, most = place, left
		}
		if seen++; seen == few {
			break
		}
	}
	delete(t.places, least)
}

// succeeded takes the attempt back from the failures.
func (a admission) succeeded() {
	a.spare()
	a.t.mu.Lock()
	defer a.t.mu.Unlock()
	if len(a.t.known) >= maxRemembered {
		for who := range a.t.known { // any
			delete(a.t.known, who)
			break
		}
	}
	a.t.known[a.who] = struct{}{}
}

// spare does not count an attempt that failed through no fault of the caller.
func (a admission) spare() {
	if a.taken != nil {
		a.taken.CancelAt(a.at)
	}
}
