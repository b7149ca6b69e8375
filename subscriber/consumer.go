package subscriber

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
)

// consumer is a durable consumer that the publisher made for the partner.
// Asking for it takes CONSUMER.INFO and nothing else.
type consumer struct {
	p        *Partner
	name     string
	refusals chan error // of the server, about this consumer
}

// refusal is an answer that says that the partner may not, or that there is no
// such consumer. It has to be confirmed.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// open finds the consumer.
func (c consumer) open(ctx context.Context) (jetstream.Consumer, error) {
	select {
	case <-c.refusals: // of an earlier login
	default:
	}
	return ask(ctx, c, func(ctx context.Context) (jetstream.Consumer, error) {
		return c.p.js.Consumer(ctx, events.Stream, c.name)
	})
}

// look asks what is outstanding.
func (c consumer) look(ctx context.Context, from jetstream.Consumer) (*jetstream.ConsumerInfo, error) {
	return ask(ctx, c, from.Info)
}

// ask puts a question to the broker. A server that does not permit it says so
// beside the answer, which then never comes.
func ask[T any](ctx context.Context, c consumer, question func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, c.p.cfg.Timeout)
	defer cancel()
	ctx, refuse := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case cause := <-c.refusals:
			refuse(refusal{cause})
		case <-c.p.life.Done():
			refuse(context.Cause(c.p.life))
		case <-ctx.Done():
		}
	}()
	got, err := question(ctx)
	refuse(nil)
	<-done
	var no refusal
	switch {
	case errors.As(context.Cause(ctx), &no):
		return got, no
	case err == nil:
		return got, nil
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		return got, refusal{err}
	}
	return got, outage{fmt.Errorf("ask for consumer %s: %w", c.name, err)}
}

// denial is the first of some refusals in a row.
type denial struct {
	since time.Time
	last  bool // the next one decides, if it is of another login than this:
	login uint64
}

// confirm decides whether a refusal is the end of access. The permissions of a
// login are those of its time: so the first refusal and the last but one make
// the partner log in again. Not more of them, because that disturbs its other
// studies; and not fewer, because the publisher may be about to grant, or to
// recover what it has.
func (w *following) confirm(err error) error {
	now := w.p.cfg.Clock()
	switch {
	case w.denied == nil:
		w.denied = &denial{since: now}
	case w.denied.last && w.denied.login != w.login:
		return ended(events.Forbidden, err, "study %s is not granted to %s", w.study, w.p.id)
	case now.Sub(w.denied.since) < w.p.cfg.Patience:
		return nil
	default:
		w.denied.last, w.denied.login = true, w.login
	}
	w.p.renew(w.login)
	return nil
}
