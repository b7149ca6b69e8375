package subscriber

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
)

// loop handles what arrives.
func (w *following) loop(ctx context.Context, in *inlet, from jetstream.Consumer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(w.p.life, func() { cancel(context.Cause(w.p.life)) })
	defer stop()
	look := newLookout(w, from)
	defer look.timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case no := <-w.consumer.refusals:
			return no
		case status := <-w.status:
			if status != nats.CONNECTED {
				w.report(outage{errInterrupted})
			}
		case <-look.timer.C:
			look.ask(ctx)
		case answer := <-look.answers:
			if err := look.judge(answer, len(in.messages) > 0); err != nil {
				return err
			}
		case msg, ok := <-in.messages:
			if !ok {
				return in.err
			}
			look.arrived = true
			whole := w.order.kept() == 0
			if err := w.arrive(ctx, msg); err != nil {
				return err
			}
			if whole && w.order.kept() > 0 {
				look.soon()
			}
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
	for _, repeat := range w.order.settled() {
		_ = repeat.Ack() // if that is lost, it comes once more
	}
	switch {
	case err != nil:
		_ = msg.Nak()
		return fmt.Errorf("check message %d: %w", a.sequence, err)
	case v == again:
		_ = msg.Ack()
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
	return arrival{
		event: e, sequence: meta.Sequence.Stream, pending: meta.NumPending, message: msg, deliveries: meta.NumDelivered,
	}, nil
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
		return fmt.Errorf("handle event %d of study %s: %w", a.event.Number, w.study, err)
	}
	return nil
}
