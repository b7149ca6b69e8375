package stream

import (
	"fmt"
	"strconv"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
)

// live is a subscription to the live subjects. A live message may be lost, or come before
// other replicas have stored it.
type live struct {
	subscription *nats.Subscription
	stream       string
	messages     chan liveMessage
	announced    atomic.Uint64 // the highest stream sequence of a live message
}

// waitingLive is how many live messages may wait while older ones are requested. Further
// ones are dropped, and requested too.
const waitingLive = 64

// liveMessage is a message that the stream has republished, and its place in the stream.
type liveMessage struct {
	*nats.Msg
	sequence uint64
}

// listen subscribes to the live subjects.
func listen(nc *nats.Conn, stream string) (*live, error) {
	l := &live{stream: stream, messages: make(chan liveMessage, waitingLive)}
	var err error
	if l.subscription, err = nc.Subscribe(events.StoredWildcard, l.take); err != nil {
		return nil, outage{fmt.Errorf("subscribe to live messages: %w", err)}
	}
	return l, nil
}

// take keeps a live message. The client calls it for one message at a time.
func (l *live) take(msg *nats.Msg) {
	m, ok := l.republished(msg)
	if !ok {
		return
	}
	if m.sequence > l.announced.Load() {
		l.announced.Store(m.sequence)
	}
	select {
	case l.messages <- m:
	default:
	}
}

// Headers that the server adds to messages. Nats-Num-Pending is only in answers to a direct
// get of several messages.
const (
	lastSequenceHeader = "Nats-Last-Sequence"
	pendingHeader      = "Nats-Num-Pending"
)

// republished returns msg as a live message. Ok is false if the stream has not republished
// it. Only the server can publish to live subjects. But it answers requests wherever they
// say, and consumers deliver where their configuration says. What consumers deliver has no
// Nats-Sequence. The answer to a direct get of one message has no Nats-Last-Sequence, one of
// several messages has Nats-Num-Pending.
func (l *live) republished(msg *nats.Msg) (m liveMessage, ok bool) {
	only := func(name string) string { // empty unless it is there once
		if values := msg.Header[name]; len(values) == 1 {
			return values[0]
		}
		return ""
	}
	if only(jetstream.StreamHeader) != l.stream || only(jetstream.SubjectHeader) != msg.Subject ||
		only(lastSequenceHeader) == "" || msg.Header[pendingHeader] != nil {
		return liveMessage{}, false
	}
	sequence, err := strconv.ParseUint(only(jetstream.SequenceHeader), 10, 64)
	return liveMessage{msg, sequence}, err == nil
}

// positionIn returns the position that a reader of the stream of p has reached with the
// message; the zero Position if it is not an event.
func (m liveMessage) positionIn(p Position) Position {
	e, err := events.FromHeader(m.Header, m.Data)
	if err != nil {
		return Position{}
	}
	return p.after(Message{StreamSequence: m.sequence, Event: e})
}

// stop ends the subscription.
func (l *live) stop() { _ = l.subscription.Unsubscribe() } // the connection may be closed
