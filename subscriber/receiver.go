package subscriber

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// receiver takes messages from the broker while others are being handled. It ends
// when the connection is lost: the broker answers requests of that connection to a
// subject that nobody listens to any more. So each connection has a receiver of its
// own.
type receiver struct {
	from     jetstream.MessagesContext
	cancel   context.CancelFunc
	messages chan jetstream.Msg // closed after the last
	unsent   jetstream.Msg      // received, but not sent on messages; valid once that is closed
	err      error              // why messages was closed
}

// errInterrupted ends a session whose connection was lost.
var errInterrupted = errors.New("the connection to the broker was lost")

// newReceiver starts to receive messages, at most buffer ahead. When the connection is
// lost, it ends with errInterrupted once the messages received before are passed on.
func newReceiver(nc *nats.Conn, from jetstream.MessagesContext, buffer int) *receiver {
	ctx, cancel := context.WithCancel(context.Background())
	r := &receiver{from: from, cancel: cancel, messages: make(chan jetstream.Msg, buffer)}
	lost := nc.StatusChanged(nats.RECONNECTING)
	go func() {
		defer nc.RemoveStatusListener(lost)
		select {
		case <-lost:
			from.Stop()
		case <-ctx.Done():
		}
	}()
	go r.run(ctx)
	return r
}

// run passes on what it receives, until that ends or ctx does. It sets r.err to the
// reason, unless ctx has ended, and then closes r.messages.
func (r *receiver) run(ctx context.Context) {
	defer close(r.messages)
	for {
		msg, err := r.from.Next(jetstream.NextContext(ctx))
		switch {
		case errors.Is(err, jetstream.ErrMsgIteratorClosed):
			r.err = outage{errInterrupted}
			return
		case errors.Is(err, jetstream.ErrConsumerDeleted):
			r.err = refusal{err}
			return
		case err != nil:
			r.err = outage{fmt.Errorf("wait for events: %w", err)}
			return
		}
		select {
		case r.messages <- msg:
		case <-ctx.Done():
			r.unsent = msg
			return
		}
	}
}

// close ends the receiver and returns to the broker what it sent and was not
// handled, so that it is delivered again at once and not only after the ack wait.
// Outstanding returns how many messages the broker has sent and not seen
// acknowledged; if it fails, those on their way are delivered after the ack wait.
func (r *receiver) close(unhandled []acknowledger, outstanding func(context.Context) (int, error)) {
	r.cancel()
	for msg := range r.messages { // until it is closed: run has ended
		unhandled = append(unhandled, msg)
	}
	if r.unsent != nil {
		unhandled = append(unhandled, r.unsent)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for {
		n, err := outstanding(ctx)
		if err != nil || n <= len(unhandled) { // nothing is on its way
			break
		}
		soon, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		unhandled = append(unhandled, r.drain(soon)...)
		cancel()
	}
	r.from.Drain()
	unhandled = append(unhandled, r.drain(ctx)...)
	for _, msg := range unhandled {
		_ = msg.Nak()
	}
}

// drain receives until ctx or the messages end, and returns what it has received.
func (r *receiver) drain(ctx context.Context) []acknowledger {
	var all []acknowledger
	for {
		msg, err := r.from.Next(jetstream.NextContext(ctx))
		if err != nil {
			return all
		}
		all = append(all, msg)
	}
}
