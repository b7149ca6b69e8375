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
// asks for, but no more than two in a millisecond. Heartbeats at intervals of freeHeartbeat or
// longer are not charged: no client library asks for more, and the 32 requests that may wait
// at a consumer cause no more than 64 messages a second.
const (
	freeHeartbeat    = 500 * time.Millisecond
	fastestHeartbeat = time.Millisecond / 2
)

// The requests that a subscription keeps until they are handled; it drops further ones. A
// partner that sends so many exceeds its quota by their number alone.
const (
	mostRequests     = 1 << 16
	mostRequestBytes = 16 << 20
)

// heartbeatRequests holds the consumers at which requests wait whose heartbeats are charged.
// Its methods are safe for concurrent use.
type heartbeatRequests struct {
	mu    sync.Mutex
	until map[string]time.Time // by consumer: when the last of its requests ends
}

// add records a request for events whose heartbeats are charged: it waits at the consumer
// until then, at the latest. If the partner is suspended before, its requests there are
// ended.
func (h *heartbeatRequests) add(consumer string, until time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if until.After(h.until[consumer]) {
		h.until[consumer] = until
	}
}

// of returns the consumers of a partner that still have such requests. It forgets all
// consumers that have none any more.
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

// forget removes a consumer whose requests were ended.
func (h *heartbeatRequests) forget(consumer string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.until, consumer)
}

// subscribeToRequests charges partners for the heartbeats that their requests for events
// ask for, when they ask. The traffic that servers report does not include all heartbeats: a
// server counts one only when a client receives it. A partner can prevent that while its
// consumer goes on sending, for up to a minute with each request.
//
// The caller must call stop, also after an error. Until then a request to a consumer that
// does not exist stays unanswered: the server does not answer that there are no responders.
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

// chargeHeartbeats charges a partner for all heartbeats that a request for events may be sent,
// and records the request, so that it can be ended. It is called for each request.
func (e *Enforcer) chargeHeartbeats(subject string, body []byte) {
	every, wait := heartbeatOf(subject, body)
	if every == 0 {
		return // no heartbeats, or free ones
	}
	consumer := consumerIn(subject)
	if _, ok := e.callout.directory.Directory().Partner(ownerOf(consumer)); !ok {
		return // the consumer is not a partner's
	}
	now := e.callout.cfg.Clock()
	e.heartbeats.add(consumer, now.Add(wait))
	e.callout.quotas.chargeHeartbeats(ownerOf(consumer), uint64(wait/every), now)
}

// ownerOf returns the id of the partner that has the consumer.
func ownerOf(consumer string) string {
	partner, _, _ := strings.Cut(consumer, "=")
	return partner
}

// consumerIn returns the name of the consumer in a subject that matches one of
// tenancy.RequestSubjects. It tells the two forms of an acknowledgement apart by their number
// of parts, as the server does.
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

// heartbeatOf returns the interval at which a request for events is sent heartbeats, and how
// long the request waits at most. Both are zero if it asks for no heartbeats, if they are
// free, or if it is not a request: an acknowledgement is one only if it asks for more events.
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
