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

	recalled uint64 // the turn of the messages up to this one has been
}

// looked is what the broker says is outstanding.
type looked struct {
	info *jetstream.ConsumerInfo
	err  error
}

func newLookout(w *following, from jetstream.Consumer) *lookout {
	l := &lookout{gauge: newGauge(w.p.cfg.Interval, w.toTheEnd), w: w, from: from, answers: make(chan looked, 1)}
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
// these are is not known. So those between the acknowledged and the last one
// delivered are given back, the newest each time and the others by turns; what
// is not the consumer's, or was not sent, the broker ignores.
func (l *lookout) recall(info *jetstream.ConsumerInfo) {
	const newest, others = 100, 200
	first, last := info.AckFloor.Stream+1, info.Delivered.Stream
	if l.recalled < first || l.recalled >= last {
		l.recalled = first - 1
	}
	end := min(l.recalled+others, last)
	for sequence := l.recalled + 1; sequence <= end; sequence++ {
		l.giveBack(sequence, info)
	}
	l.recalled = end
	for sequence := max(end+1, last-min(newest, last)+1); sequence <= last; sequence++ {
		l.giveBack(sequence, info)
	}
}

// giveBack returns a message that did not arrive, in the form in which the broker
// wants to be answered.
func (l *lookout) giveBack(sequence uint64, info *jetstream.ConsumerInfo) {
	if l.w.order.waits(sequence) {
		return
	}
	subject := fmt.Sprintf("$JS.ACK.%s.%s.1.%d.%d.0.0", events.Stream, l.w.durable, sequence, info.Delivered.Consumer)
	_ = l.w.p.nc.Publish(subject, []byte("-NAK")) // or it comes when the broker is tired of waiting
}
