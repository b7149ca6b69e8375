package stream

import (
	"fmt"
	"strconv"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
)

// live is a subscription to the live subjects. A live message is a hint that the stream
// has one more message; nothing else in it is used. It may be lost, or come before the
// server that is asked has stored the message.
type live struct {
	subscription *nats.Subscription
	arrived      chan struct{} // has room for one
	announced    atomic.Uint64 // the highest stream sequence of a live message
}

// listen subscribes to the live subjects.
func listen(nc *nats.Conn) (*live, error) {
	l := &live{arrived: make(chan struct{}, 1)}
	var err error
	if l.subscription, err = nc.Subscribe(events.StoredWildcard, l.take); err != nil {
		return nil, outage{fmt.Errorf("subscribe to live messages: %w", err)}
	}
	return l, nil
}

// take notes the stream sequence of a live message. The client calls it for one message
// at a time.
func (l *live) take(msg *nats.Msg) {
	sequence, err := strconv.ParseUint(msg.Header.Get(jetstream.SequenceHeader), 10, 64)
	if err == nil && sequence > l.announced.Load() {
		l.announced.Store(sequence)
	}
	select {
	case l.arrived <- struct{}{}:
	default:
	}
}

// stop ends the subscription.
func (l *live) stop() { _ = l.subscription.Unsubscribe() } // the connection may be closed
