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

// consumer is a durable consumer that the publisher made for the partner.
// Asking for it takes CONSUMER.INFO and nothing else.
type consumer struct {
	p        *Partner
	js       jetstream.JetStream
	name     string
	refusals chan refusal // of the server, about this consumer
}

// open finds the consumer.
func (c consumer) open(ctx context.Context) (jetstream.Consumer, error) {
	select {
	case <-c.refusals: //nolint:errcheck // of an earlier login
	default:
	}
	return ask(ctx, c, func(ctx context.Context) (jetstream.Consumer, error) {
		return c.js.Consumer(ctx, events.Stream, c.name)
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
		case no := <-c.refusals:
			refuse(no)
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

// refusedFor is how long new logins must come without a study before that is
// the end of access: what was granted this moment is let through a moment later.
const refusedFor = 2 * time.Second

func notGranted(study, partner string) string {
	return fmt.Sprintf("study %s is not granted to %s; ask the publisher, or correct the study number", study, partner)
}

// confirm decides whether a refusal is the end of access. It asks with a new
// login. Two answers have to be told apart. If the server does not permit to ask,
// the login came without the study: it is not granted. If the server permits it
// and there is no such consumer, the study is granted and the publisher is about
// to make the consumer anew: that is waited for. While nobody answers, as during
// a restart of the broker, nothing is refused.
func (w *following) confirm(ctx context.Context, err error) error {
	now := w.p.cfg.Clock()
	if w.denied.IsZero() {
		w.denied = now
	}
	login := w.p.login()
	probed := w.p.probe(ctx, w.durable)
	patience := w.p.cfg.Patience
	if errors.Is(probed, nats.ErrPermissionViolation) {
		patience = min(patience, refusedFor)
	}
	var no refusal
	switch {
	case probed == nil && errors.Is(err, nats.ErrPermissionViolation):
		w.p.renew(login)
	case isBadCredentials(probed):
		w.p.failed(probed)
	case errors.As(probed, &no) && now.Sub(w.denied) >= patience:
		return accessEnded(events.Forbidden, no, "%s", notGranted(w.study, w.p.id))
	}
	return nil
}
