package subscriber

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
)

// lookout asks the broker now and then what is outstanding, while events are
// being handled: that nothing arrives does not tell that there is nothing.
type lookout struct {
	gauge
	w       *following
	from    jetstream.Consumer
	timer   *time.Timer
	answers chan looked
	asking  bool

	recalled uint64 // the message whose turn it was last
}

// looked is what the broker says is outstanding.
type looked struct {
	info *jetstream.ConsumerInfo
	err  error
}

func newLookout(w *following, from jetstream.Consumer) *lookout {
	l := &lookout{gauge: newGauge(w.p.cfg, w.toTheEnd), w: w, from: from, answers: make(chan looked, 1)}
	l.timer = time.NewTimer(l.pause(w.order))
	return l
}

// ask asks, unless an answer is awaited or there is nobody to ask.
func (l *lookout) ask(ctx context.Context) {
	if l.asking || !l.w.p.nc.IsConnected() {
		l.again()
		return
	}
	l.asking = true
	go func() {
		info, err := l.w.consumer.look(ctx, l.from)
		l.answers <- looked{info, err} // there is room: one is asked for at a time
	}()
}

// again sets when to ask next.
func (l *lookout) again() { l.timer.Reset(l.pause(l.w.order)) }

// soon has the next question asked soon.
func (l *lookout) soon() {
	l.looks = 0
	l.again()
}

// judge acts on an answer; waiting is whether anything has arrived that is not
// handled yet. While the connection is lost nothing that arrived is given up.
func (l *lookout) judge(a looked, waiting bool) error {
	l.asking = false
	l.arrived = l.arrived || waiting
	defer l.again()
	switch {
	case a.err == nil:
		l.w.report(nil)
		if l.lost(a.info, l.w.order) {
			l.recall(a.info)
		}
		return l.read(a.info, l.w.order)
	case errors.As(a.err, new(outage)) && !l.w.p.nc.IsConnected():
		return nil
	}
	return a.err
}

// recall has the broker deliver at once what it waits for in vain. It sends to
// requests of a connection that is gone: on a cluster until they expire, because
// the server that holds the consumer is not the one that knows. Which messages
// these are is not known. So more than are lost are given back of those between
// the acknowledged and the last one delivered: the newest each time, the others by
// turns. What is not the consumer's, or was not sent, the broker ignores.
func (l *lookout) recall(info *jetstream.ConsumerInfo) {
	lost := uint64(max(1, info.NumAckPending-l.w.order.kept()))
	first, last := info.AckFloor.Stream+1, info.Delivered.Stream
	between := last + 1 - min(first, last+1)
	for i := range min(2*lost, mostNewest, between) {
		l.giveBack(last-i, info, 0.5)
	}
	for range min(mostOthers, between) {
		if l.recalled++; l.recalled < first || l.recalled > last {
			l.recalled = first
		}
		if !l.giveBack(l.recalled, info, 0.75) {
			l.recalled--
			return
		}
	}
}

// How many messages are given back at one look at the most.
const (
	mostNewest = 100
	mostOthers = 200
)

// giveBack returns a message that did not arrive, in the form in which the broker
// wants to be answered; unless no more than the share given is left of what may be
// sent, which is for the events of all studies that do arrive. It reports whether
// it did.
func (l *lookout) giveBack(sequence uint64, info *jetstream.ConsumerInfo, share float64) bool {
	pace := l.w.p.pace
	switch {
	case l.w.order.waits(sequence):
		return true
	case pace.Tokens() < share*float64(pace.Burst()) || !pace.Allow():
		return false
	}
	subject := fmt.Sprintf("$JS.ACK.%s.%s.1.%d.%d.0.0", events.Stream, l.w.durable, sequence, info.Delivered.Consumer)
	_ = l.w.p.nc.Publish(subject, []byte("-NAK")) // or it comes when the broker is tired of waiting
	return true
}
