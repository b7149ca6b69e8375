package callout

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// A consumer sends heartbeats to each request that waits, as often as the request
// asks for, but no more than two in a millisecond. Those that no client library
// would ask for more often are free: 32 requests that wait cost 64 messages a second.
const (
	freeHeartbeat    = 500 * time.Millisecond
	fastestHeartbeat = time.Millisecond / 2
)

// Requests that were received and not examined yet. A partner that sends more of them
// exceeds its quota by their number.
const (
	mostRequests     = 1 << 16
	mostRequestBytes = 16 << 20
)

// heartbeatRequests are the consumers at which requests wait for heartbeats that are not
// free, and until when they may wait.
type heartbeatRequests struct {
	mu    sync.Mutex
	until map[string]time.Time
}

// add stores a request at a consumer.
func (h *heartbeatRequests) add(consumer string, until time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if until.After(h.until[consumer]) {
		h.until[consumer] = until
	}
}

// of returns the consumers of a partner that still have such requests.
func (h *heartbeatRequests) of(partner string, now time.Time) (consumers []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.DeleteFunc(h.until, func(_ string, until time.Time) bool { return now.After(until) })
	for consumer := range h.until {
		if ownerOf(consumer) == partner {
			consumers = append(consumers, consumer)
		}
	}
	return consumers
}

func (h *heartbeatRequests) forget(consumer string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.until, consumer)
}

// subscribeToRequests charges partners for the heartbeats that their requests for events
// ask for. The server does not count all of them: it counts a heartbeat for an account
// only when a client gets it, and a partner can see to it that none does while the
// consumer goes on, for a minute with each request. So they are charged when they
// are asked for.
//
// While this subscription exists, a request to a consumer that does not exist goes
// unanswered, in place of the answer that there are no responders.
func (e *Enforcer) subscribeToRequests() (stop func(), err error) {
	var subscriptions []*nats.Subscription
	stop = func() {
		for _, s := range subscriptions {
			_ = s.Unsubscribe() // the connection may be closed already
		}
	}
	for _, subject := range tenancy.RequestSubjects() {
		s, err := e.nc.Subscribe(subject, func(m *nats.Msg) { e.chargeHeartbeats(m.Subject, m.Data) })
		if err == nil {
			subscriptions = append(subscriptions, s)
			err = s.SetPendingLimits(mostRequests, mostRequestBytes)
		}
		if err != nil {
			return stop, fmt.Errorf("subscribe to requests for events: %w", err)
		}
	}
	return stop, nil
}

func (e *Enforcer) chargeHeartbeats(subject string, body []byte) {
	every, wait := heartbeatOf(subject, body)
	if every == 0 {
		return
	}
	consumer := consumerIn(subject)
	if _, ok := e.callout.directory.Directory().Partner(ownerOf(consumer)); !ok {
		return
	}
	now := e.callout.cfg.Clock()
	e.heartbeats.add(consumer, now.Add(wait))
	e.callout.quotas.chargeHeartbeats(ownerOf(consumer), uint64(wait/every), now)
}

// ownerOf returns the partner that has the consumer.
func ownerOf(consumer string) string {
	partner, _, _ := strings.Cut(consumer, "=")
	return partner
}

// consumerIn returns the consumer that a request for events is for. The two forms of an
// acknowledgement differ in their length, which is how the server distinguishes them too.
func consumerIn(subject string) string {
	parts := strings.Split(subject, ".")
	switch {
	case parts[1] == "API": // $JS.API.CONSUMER.MSG.NEXT.SIGNOFF.acme=A
		return parts[6]
	case len(parts) == 9: // $JS.ACK.SIGNOFF.acme=A.1.1.1.1.1
		return parts[3]
	default: // $JS.ACK._._.SIGNOFF.acme=A.1.1.1.1.1
		return parts[5]
	}
}

// heartbeatOf returns how often a request for events is sent a heartbeat, and for how long
// at most; zero if it asks for none, or they are free.
func heartbeatOf(subject string, body []byte) (every, wait time.Duration) {
	if strings.HasPrefix(subject, "$JS.ACK.") {
		var asks bool
		if body, asks = bytes.CutPrefix(body, []byte("+NXT")); !asks {
			return 0, 0
		}
	}
	var request struct {
		Expires   time.Duration `json:"expires"`
		Heartbeat time.Duration `json:"idle_heartbeat"`
	}
	err := json.Unmarshal(body, &request)
	if err != nil || request.Expires <= 0 || request.Heartbeat <= 0 || request.Heartbeat >= freeHeartbeat {
		return 0, 0
	}
	return max(request.Heartbeat, fastestHeartbeat), min(request.Expires, tenancy.MaxRequestExpires)
}
