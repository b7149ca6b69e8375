package stream

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
)

// Get requests the first messages of the stream once, and waits for each for the time. It
// returns an error unless that succeeds or is an outage.
func Get(ctx context.Context, js jetstream.JetStream, inbox string, answers *nats.Subscription, wait time.Duration) error {
	r := &receiver{
		js: js, stream: events.Stream, timeout: wait, heads: make(map[string]events.ChainHead),
		messages: make(chan received, requestMessages), inbox: inbox, answers: answers,
	}
	if _, err := r.get(ctx); err != nil && !errors.As(err, new(outage)) {
		return err
	}
	return nil
}
