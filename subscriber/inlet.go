package subscriber

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// inlet takes messages from the broker, one ahead of what is being handled.
type inlet struct {
	from     jetstream.MessagesContext
	cancel   context.CancelFunc
	messages chan jetstream.Msg // closed after the last
	left     jetstream.Msg      // taken, but not passed on; once messages is closed
	err      error              // why messages was closed
}

func newInlet(from jetstream.MessagesContext) *inlet {
	ctx, cancel := context.WithCancel(context.Background())
	in := &inlet{from: from, cancel: cancel, messages: make(chan jetstream.Msg)}
	go in.run(ctx)
	return in
}

func (in *inlet) run(ctx context.Context) {
	defer close(in.messages)
	for {
		msg, err := in.from.Next(jetstream.NextContext(ctx))
		if err != nil {
			in.err = outage{fmt.Errorf("wait for events: %w", err)}
			return
		}
		select {
		case in.messages <- msg:
		case <-ctx.Done():
			in.left = msg
			return
		}
	}
}

// close ends the inlet and gives back to the broker what it sent and was not
// handled, so that it comes again at once and not only when the broker is
// tired of waiting for it. Outstanding tells how many messages the broker
// waits for; if that cannot be known, it will be tired.
func (in *inlet) close(unhandled []acknowledger, outstanding func(context.Context) (int, error)) {
	in.cancel()
	for msg := range in.messages { // until it is closed: run has ended
		unhandled = append(unhandled, msg)
	}
	if in.left != nil {
		unhandled = append(unhandled, in.left)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	unhandled = in.await(ctx, unhandled, outstanding)
	in.from.Drain()
	unhandled = append(unhandled, in.rest(ctx)...)
	for _, msg := range unhandled {
		_ = msg.Nak()
	}
}

// await receives what is on its way, which would be lost otherwise.
func (in *inlet) await(ctx context.Context, unhandled []acknowledger, outstanding func(context.Context) (int, error)) []acknowledger {
	for {
		n, err := outstanding(ctx)
		if err != nil || n <= len(unhandled) {
			return unhandled
		}
		soon, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		unhandled = append(unhandled, in.rest(soon)...)
		cancel()
	}
}

// rest receives until ctx or the messages end.
func (in *inlet) rest(ctx context.Context) []acknowledger {
	var all []acknowledger
	for {
		msg, err := in.from.Next(jetstream.NextContext(ctx))
		if err != nil {
			return all
		}
		all = append(all, msg)
	}
}
