package token

import (
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
)

// maxVisitors bounds the clients that are known to have signed in from a place.
// One that is dropped is slowed like one that was never seen there.
const maxVisitors = 10_000

// throttle slows a place that tries many clients; Clients counts the failures of
// one client. Whoever has signed in from a place since the program started is not
// slowed with it: partners may share an address with a stranger. It reads nothing
// from the database.
type throttle struct {
	failures *access.SignIns // by place, of all clients
	visitors *lru.Cache[access.Attempt, struct{}]
}

func newThrottle() *throttle {
	visitors, err := lru.New[access.Attempt, struct{}](maxVisitors)
	if err != nil {
		panic(err) // only for a size below 1
	}
	return &throttle{failures: access.NewSignIns(access.PlaceSignIns), visitors: visitors}
}

// admission is an attempt that may be made.
type admission struct {
	t       *throttle
	visitor access.Attempt
	spare   func() // takes the attempt back from the failures
}

// admit lets an attempt be made, or returns a Throttled Error. The attempt counts
// as a failure until succeeded or spare is called.
func (t *throttle) admit(client, address string, now time.Time) (admission, error) {
	a := admission{t: t, visitor: access.Attempt{Client: client, Place: access.Place(address)}, spare: func() {}}
	if _, ok := t.visitors.Get(a.visitor); ok {
		return a, nil
	}
	undo, wait := t.failures.Begin(access.Attempt{Place: a.visitor.Place}, now)
	if wait > 0 {
		return a, &events.Error{
			Code: events.Throttled, Message: "too many failed sign-ins from this address; try again later", RetryAfter: wait,
		}
	}
	a.spare = undo
	return a, nil
}

// succeeded makes the client known at the place.
func (a admission) succeeded() {
	a.spare()
	a.t.visitors.Add(a.visitor, struct{}{})
}
