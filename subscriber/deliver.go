package subscriber

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
)

// loop handles messages, refusals, changes of the connection and the broker's
// answers to the monitor, one at a time. It returns the error that ends the session.
func (f *following) loop(ctx context.Context, in *receiver, from jetstream.Consumer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(f.p.life, func() { cancel(context.Cause(f.p.life)) })
	defer stop()
	m := newMonitor(f, from)
	defer m.timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case refused := <-f.consumer.refusals:
			return refused
		case status := <-f.status:
			if status != nats.CONNECTED {
				f.report(outage{errInterrupted})
			}
		case <-m.timer.C:
			m.ask(ctx)
		case answer := <-m.answers:
			if err := m.handle(answer, len(in.messages) > 0); err != nil {
				return err
			}
		case msg, ok := <-in.messages:
			if !ok {
				return in.err
			}
			m.arrived = true
			noneWaited := f.order.waiting() == 0
			if err := f.receive(ctx, msg); err != nil {
				return err
			}
			if noneWaited && f.order.waiting() > 0 {
				m.hurry() // find out soon whether what it waits for can still arrive
			}
		}
	}
}

// receive handles a message. If its event is the next one, it delivers that event
// and then the early ones that follow it. It acknowledges what was delivered or is
// skipped, and has the broker deliver again what failed.
func (f *following) receive(ctx context.Context, msg jetstream.Msg) error {
	if err := f.p.quota.Wait(ctx); err != nil { // each message costs one acknowledgement
		_ = msg.Nak()
		return fmt.Errorf("wait for the quota of messages: %w", err)
	}
	a, err := readArrival(msg)
	if err != nil {
		_ = msg.Nak()
		return fmt.Errorf("read an event of study %s: %w", f.study, err)
	}
	v, err := f.order.judge(a)
	for _, repeat := range f.order.takeConfirmedRepeats() {
		_ = repeat.Ack() // if that is lost, it is delivered once more
	}
	switch {
	case err != nil:
		_ = msg.Nak()
		return fmt.Errorf("check message %d: %w", a.streamSequence, err)
	case v == skip:
		_ = msg.Ack()
		return nil
	case v == keep:
		return nil
	}
	for ok := true; ok; {
		if err := f.deliver(ctx, a); err != nil {
			_ = a.message.Nak()
			return err
		}
		_ = a.message.Ack()
		a, ok = f.order.advance(a.bookmark())
	}
	return nil
}

// readArrival reads the event and the metadata of a message.
func readArrival(msg jetstream.Msg) (arrival, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return arrival{}, outage{fmt.Errorf("read the metadata of a message: %w", err)}
	}
	e, err := events.FromHeader(msg.Headers(), msg.Data())
	if err != nil {
		return arrival{}, fmt.Errorf("message %d: %w", meta.Sequence.Stream, err)
	}
	return arrival{
		event: e, streamSequence: meta.Sequence.Stream, pending: meta.NumPending, message: msg, deliveries: meta.NumDelivered,
	}, nil
}

// deliver passes an event to the Follower.
func (f *following) deliver(ctx context.Context, a arrival) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	ce, err := a.event.CloudEvent()
	if err != nil {
		return err
	}
	err = f.follower.Handle(ctx, Delivery{
		Study: f.study, Event: ce, Report: a.event.Data, Kind: a.event.Kind(), Bookmark: a.bookmark(), Pending: a.pending,
	})
	if err != nil {
		return fmt.Errorf("handle event %d of study %s: %w", a.event.Number, f.study, err)
	}
	return nil
}
