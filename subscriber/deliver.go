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

// How soon the broker is asked whether a hole can still be filled, at first
// and then twice as long each time. It must say twice that it cannot.
const (
	firstLook = 50 * time.Millisecond
	lastLook  = time.Second
)

// errQuiet ends a session that has come to the end of the study's events.
var errQuiet = errors.New("nothing is outstanding")

// errIdle ends a session in which events wait at the broker and none comes.
var errIdle = errors.New("the broker holds more events, but none arrives")

// loop handles what arrives, and asks the broker now and then what is
// outstanding: that nothing arrives does not tell that there is nothing.
func (w *following) loop(ctx context.Context, in *inlet, from jetstream.Consumer) error {
	g := gauge{interval: w.p.cfg.Interval, toTheEnd: w.toTheEnd}
	timer := time.NewTimer(g.pause(w.order))
	defer timer.Stop()
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
			if err := w.look(ctx, from, &g); err != nil {
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
				timer.Reset(g.pause(w.order))
			}
		}
	}
}

// look asks the broker what is outstanding. While the connection is lost there
// is nothing to ask, and nothing that arrived is given up.
func (w *following) look(ctx context.Context, from jetstream.Consumer, g *gauge) error {
	if !w.p.nc.IsConnected() {
		return nil
	}
	info, err := w.consumer.look(ctx, from)
	switch {
	case err == nil:
		w.report(nil)
		return g.read(info, w.order)
	case errors.As(err, new(outage)) && !w.p.nc.IsConnected():
		return nil
	}
	return err
}

// arrive takes a message and handles all that can be handled with it.
func (w *following) arrive(ctx context.Context, msg jetstream.Msg) error {
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

// gauge judges what the broker says is outstanding.
type gauge struct {
	interval time.Duration
	toTheEnd bool // look often, until nothing is outstanding
	arrived  bool // something, since the last look
	waiting  bool // events were undelivered at the last look
	missing  int  // looks in a row that found a hole that cannot be filled
	looks    int  // since there is a reason to look often
}

// read returns a Gap that was found twice, or an outage when the broker has
// events but does not deliver them.
func (g *gauge) read(info *jetstream.ConsumerInfo, o *order) error {
	idle := g.waiting && !g.arrived && info.NumPending > 0 && len(o.ahead) == 0 && !g.toTheEnd
	g.waiting, g.arrived = info.NumPending > 0, false
	if idle {
		return outage{errIdle}
	}
	if g.toTheEnd && info.NumPending == 0 && info.NumAckPending == 0 {
		return errQuiet
	}
	err := o.missing(info.Delivered.Stream, info.NumAckPending)
	if err == nil {
		g.missing = 0
		return nil
	}
	if g.missing++; g.missing < 2 {
		return nil
	}
	return err
}

// pause is the time to the next look.
func (g *gauge) pause(o *order) time.Duration {
	if len(o.ahead) == 0 && !g.toTheEnd {
		g.looks, g.missing = 0, 0
		return g.interval
	}
	g.looks++
	return min(firstLook<<min(g.looks-1, 10), lastLook, g.interval)
}
