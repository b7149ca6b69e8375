package subscriber

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// inlet takes messages from the broker while others are being handled. It ends
// when the connection is lost: what was requested before may be answered to
// nowhere afterwards, and to a subject that nobody listens to any more the
// broker sends nothing. So after each connection there is another inlet.
type inlet struct {
	from     jetstream.MessagesContext
	cancel   context.CancelFunc
	messages chan jetstream.Msg // closed after the last
	left     jetstream.Msg      // taken, but not passed on; once messages is closed
	err      error              // why messages was closed
}

// errInterrupted ends a session whose connection was lost.
var errInterrupted = errors.New("the connection to the broker was lost")

func newInlet(nc *nats.Conn, from jetstream.MessagesContext, room int) *inlet {
	ctx, cancel := context.WithCancel(context.Background())
	in := &inlet{from: from, cancel: cancel, messages: make(chan jetstream.Msg, room)}
	lost := nc.StatusChanged(nats.RECONNECTING)
	go func() {
		defer nc.RemoveStatusListener(lost)
		select {
		case <-lost:
			from.Stop()
		case <-ctx.Done():
		}
	}()
	go in.run(ctx)
	return in
}

func (in *inlet) run(ctx context.Context) {
	defer close(in.messages)
	for {
		msg, err := in.from.Next(jetstream.NextContext(ctx))
		switch {
		case errors.Is(err, jetstream.ErrMsgIteratorClosed):
			in.err = outage{errInterrupted}
			return
		case errors.Is(err, jetstream.ErrConsumerDeleted):
			in.err = refusal{err}
			return
		case err != nil:
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

// close ends the inlet and returns to the broker what it sent and was not
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
