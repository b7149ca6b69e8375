package doors

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/events"
)

// A consumer sends heartbeats to each request that waits, as often as the request
// asks for, but no more than two in a millisecond. Those that no client library
// would ask for more often are free: 32 requests that wait cost 64 messages a second.
const (
	freeHeartbeat    = 500 * time.Millisecond
	fastestHeartbeat = time.Millisecond / 2
)

// Requests that have not been looked at yet. Who sends more of them than there is
// room for is over the allowance by their number.
const (
	mostRequests     = 1 << 16
	mostRequestBytes = 16 << 20
)

// impatient are the consumers with requests for heartbeats that are not free, and until
// when these may wait.
type impatient struct {
	mu    sync.Mutex
	until map[string]time.Time
}

// note remembers a request at a consumer.
func (i *impatient) note(consumer string, until time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if until.After(i.until[consumer]) {
		i.until[consumer] = until
	}
}

// of returns the consumers of a partner that still have such requests.
func (i *impatient) of(partner string, now time.Time) (consumers []string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	maps.DeleteFunc(i.until, func(_ string, until time.Time) bool { return now.After(until) })
	for consumer := range i.until {
		if ownerOf(consumer) == partner {
			consumers = append(consumers, consumer)
		}
	}
	return consumers
}

func (i *impatient) forget(consumer string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.until, consumer)
}

// hearRequests charges partners for the heartbeats that their requests for events ask
// for. The broker cannot be asked for their number: it counts a heartbeat for an
// account only when a client gets it, and a partner can see to it that none does while
// the consumer goes on, for a minute with each request. So they are charged when they
// are asked for.
//
// While it hears requests, one to a consumer that does not exist goes unanswered, in
// place of the answer that nobody is there.
func (d *Doors) hearRequests() (stop func(), err error) {
	var heard []*nats.Subscription
	stop = func() {
		for _, s := range heard {
			_ = s.Unsubscribe() // the connection may be closed already
		}
	}
	for _, subject := range events.RequestSubjects() {
		s, err := d.nc.Subscribe(subject, func(m *nats.Msg) { d.chargeHeartbeats(m.Subject, m.Data) })
		if err == nil {
			heard = append(heard, s)
			err = s.SetPendingLimits(mostRequests, mostRequestBytes)
		}
		if err != nil {
			return stop, fmt.Errorf("hear requests for events: %w", err)
		}
	}
	return stop, nil
}

func (d *Doors) chargeHeartbeats(subject string, body []byte) {
	every, wait := heartbeatOf(subject, body)
	if every == 0 {
		return
	}
	consumer := consumerIn(subject)
	if _, known := d.log.Directory().Partner(ownerOf(consumer)); !known {
		return
	}
	now := d.cfg.Clock()
	d.impatient.note(consumer, now.Add(wait))
	d.allowance.heartbeats(ownerOf(consumer), uint64(wait/every), now)
}

// calm ends the requests for heartbeats of a partner that is out and has no connection
// any more. The broker goes on with requests whose answers it has no way back for, until
// they expire. They end with their consumer only, so it is deleted and made again, behind
// what was acknowledged.
func (d *Doors) calm(ctx context.Context, partner string) error {
	var errs []error
	for _, consumer := range d.impatient.of(partner, d.cfg.Clock()) {
		if err := d.remove(ctx, consumer); err != nil {
			errs = append(errs, err)
			continue
		}
		d.impatient.forget(consumer)
		select {
		case d.again <- struct{}{}:
		default: // Run looks again anyway
		}
	}
	return errors.Join(errs...)
}

// ownerOf returns the partner that has the consumer.
func ownerOf(consumer string) string {
	partner, _, _ := strings.Cut(consumer, "=")
	return partner
}

// consumerIn returns the consumer that a request for events is for. The two forms of an
// acknowledgement are told apart by their length, as the broker does.
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
	return max(request.Heartbeat, fastestHeartbeat), min(request.Expires, maxRequestExpires)
}
