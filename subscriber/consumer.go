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

// consumer is a durable consumer that the publisher created for the partner.
// Its state comes from CONSUMER.INFO, which is all that a partner may ask.
type consumer struct {
	p        *Partner
	js       jetstream.JetStream
	name     string
	refusals chan refusal // of the server, about this consumer
}

// open requests the consumer from the broker. It first discards a refusal that was
// received before.
func (c consumer) open(ctx context.Context) (jetstream.Consumer, error) {
	select {
	case <-c.refusals: //nolint:errcheck // of an earlier login
	default:
	}
	return request(ctx, c, func(ctx context.Context) (jetstream.Consumer, error) {
		return c.js.Consumer(ctx, events.Stream, c.name)
	})
}

// info requests the consumer's present state.
func (c consumer) info(ctx context.Context, from jetstream.Consumer) (*jetstream.ConsumerInfo, error) {
	return request(ctx, c, from.Info)
}

// request calls do, which sends a request to the broker. A server that does not
// permit the request never answers it, but sends an error to the connection. That
// arrives on c.refusals, and ends the request.
func request[T any](ctx context.Context, c consumer, do func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, c.p.cfg.Timeout)
	defer cancel()
	ctx, refuse := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case refused := <-c.refusals:
			refuse(refused)
		case <-c.p.life.Done():
			refuse(context.Cause(c.p.life))
		case <-ctx.Done():
		}
	}()
	result, err := do(ctx)
	refuse(nil) // ends the goroutine, unless a refusal has done so
	<-done
	var refused refusal
	switch {
	case errors.As(context.Cause(ctx), &refused):
		return result, refused
	case err == nil:
		return result, nil
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		return result, refusal{err}
	}
	return result, outage{fmt.Errorf("request consumer %s: %w", c.name, err)}
}

// refusedFor is how long new logins must lack the permission for a study before
// access counts as ended: a grant takes effect at the server a moment after it was
// announced.
const refusedFor = 2 * time.Second

func notGranted(study, partner string) string {
	return fmt.Sprintf("study %s is not granted to %s; ask the publisher, or correct the study number", study, partner)
}

// confirm decides whether err, a refusal, is the end of access. It then returns
// ErrAccessEnded, and nil if the caller is to try again. It requests the consumer
// with a new login. If the server does not permit that, the study is not granted. If
// the server permits it and there is no such consumer, the study is granted, and the
// publisher may be creating the consumer again. Both must last for some time. While
// nobody answers, as during a restart of the broker, access has not ended.
func (f *following) confirm(ctx context.Context, err error) error {
	now := f.p.cfg.Clock()
	if f.refusedSince.IsZero() {
		f.refusedSince = now
	}
	login := f.p.logins()
	probed := f.p.probe(ctx, f.durable)
	patience := f.p.cfg.Patience
	if errors.Is(probed, nats.ErrPermissionViolation) {
		patience = min(patience, refusedFor)
	}
	var refused refusal
	switch {
	case probed == nil && errors.Is(err, nats.ErrPermissionViolation):
		f.p.renewLogin(login) // a new login has the permission that the present one lacks
	case isBadCredentials(probed):
		f.p.tokenFailed(probed)
	case errors.As(probed, &refused) && now.Sub(f.refusedSince) >= patience:
		return accessEnded(events.Forbidden, refused, "%s", notGranted(f.study, f.p.id))
	}
	return nil
}
