package subscriber

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
)

// loop handles what arrives, and asks the broker now and then what is
// outstanding: that nothing arrives does not tell that there is nothing.
func (w *following) loop(ctx context.Context, in *inlet, from jetstream.Consumer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g := newGauge(w.p.cfg.Interval, w.toTheEnd)
	timer := time.NewTimer(g.pause(w.order))
	defer timer.Stop()
	looks := make(chan looked, 1)
	looking := false
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.p.life.Done():
			return context.Cause(w.p.life)
		case no := <-w.consumer.refusals:
			return no
		case status := <-w.status:
			if status != nats.CONNECTED {
				w.report(outage{errInterrupted})
			}
		case <-timer.C:
			if looking || !w.p.nc.IsConnected() { // else there is nothing to ask
				timer.Reset(g.pause(w.order))
				continue
			}
			looking = true
			go func() { looks <- w.look(ctx, from) }()
		case l := <-looks:
			looking = false
			g.arrived = g.arrived || len(in.messages) > 0
			if err := w.judge(l, &g); err != nil {
				return err
			}
			timer.Reset(g.pause(w.order))
		case msg, ok := <-in.messages:
			if !ok {
				return in.err
			}
			g.arrived = true
			whole := len(w.order.ahead) == 0
			if err := w.arrive(ctx, msg); err != nil {
				return err
			}
			if whole && len(w.order.ahead) > 0 {
				g.looks = 0
				timer.Reset(g.pause(w.order))
			}
		}
	}
}

// looked is what the broker says is outstanding.
type looked struct {
	info *jetstream.ConsumerInfo
	err  error
}

func (w *following) look(ctx context.Context, from jetstream.Consumer) looked {
	info, err := w.consumer.look(ctx, from)
	return looked{info, err}
}

// judge acts on what the broker says. While the connection is lost nothing that
// arrived is given up.
func (w *following) judge(l looked, g *gauge) error {
	switch {
	case l.err == nil:
		w.report(nil)
		if g.lost(l.info, w.order) {
			w.recall(l.info)
		}
		return g.read(l.info, w.order)
	case errors.As(l.err, new(outage)) && !w.p.nc.IsConnected():
		return nil
	}
	return l.err
}

// mostRecalled bounds what is asked for at one look.
const mostRecalled = 500

// recall has the broker deliver at once what it waits for in vain. It sends to
// requests of a connection that is gone: on a cluster until they expire, because
// the server that holds the consumer is not the one that knows. Which messages
// these are is not known, so all between those acknowledged and those delivered
// are given back; what is not the consumer's, or not sent, the broker ignores.
func (w *following) recall(info *jetstream.ConsumerInfo) {
	first := info.AckFloor.Stream + 1
	last := min(info.Delivered.Stream, first+mostRecalled-1)
	for sequence := first; sequence <= last; sequence++ {
		if !w.order.waits(sequence) {
			subject := fmt.Sprintf("$JS.ACK.%s.%s.1.%d.%d.0.0", events.Stream, w.durable, sequence, info.Delivered.Consumer)
			_ = w.p.nc.Publish(subject, []byte("-NAK")) // or it comes when the broker is tired of waiting
		}
	}
}

// arrive takes a message and handles all that can be handled with it.
func (w *following) arrive(ctx context.Context, msg jetstream.Msg) error {
	if err := w.p.pace.Wait(ctx); err != nil {
		_ = msg.Nak()
		return fmt.Errorf("keep to what a partner may send: %w", err)
	}
	a, err := readArrival(msg)
	if err != nil {
		_ = msg.Nak()
		return fmt.Errorf("read an event of study %s: %w", w.study, err)
	}
	v, err := w.order.take(a)
	switch {
	case err != nil:
		_ = msg.Nak()
		return fmt.Errorf("check message %d: %w", a.sequence, err)
	case v == again:
		_ = msg.Ack() // if that is lost, it comes once more
		return nil
	case v == wait:
		return nil
	}
	for ok := true; ok; {
		if err := w.handle(ctx, a); err != nil {
			_ = a.message.Nak()
			return err
		}
		_ = a.message.Ack()
		a, ok = w.order.advance(a.bookmark())
	}
	return nil
}

func readArrival(msg jetstream.Msg) (arrival, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return arrival{}, outage{fmt.Errorf("a message without its place in the stream: %w", err)}
	}
	e, err := events.FromHeader(msg.Headers(), msg.Data())
	if err != nil {
		return arrival{}, fmt.Errorf("message %d: %w", meta.Sequence.Stream, err)
	}
	return arrival{event: e, sequence: meta.Sequence.Stream, pending: meta.NumPending, message: msg}, nil
}

func (w *following) handle(ctx context.Context, a arrival) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	ce, err := a.event.CloudEvent()
	if err != nil {
		return err
	}
	err = w.follower.Handle(ctx, Delivery{
		Study: w.study, Event: ce, Report: a.event.Data, Kind: a.event.Kind(), Bookmark: a.bookmark(), Pending: a.pending,
	})
	if err != nil {
		return fmt.Errorf("handle event %d of study %s: %w", a.event.Sequence, w.study, err)
	}
	return nil
}
