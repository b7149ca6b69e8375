package subscriber

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
)

// How much is requested from the broker at a time, and how often it must show
// a sign of life.
const (
	requestMessages = 500
	requestBytes    = 32 << 20
	heartbeat       = 5 * time.Second
)

// received is a message that follows, and what the broker says lies behind it.
type received struct {
	Message
	pending uint64
}

// receiver takes messages from the broker and checks them, while others are
// being applied.
type receiver struct {
	from     jetstream.MessagesContext
	next     uint64                      // stream sequence
	consumer uint64                      // sequence of the consumer's last message
	links    map[string]events.ChainHead // end of each study's chain
	max      int
	messages chan received // closed after the last
	err      error         // why it was closed
}

func newReceiver(from jetstream.MessagesContext, held Progress, limit int) *receiver {
	links := maps.Clone(held.ChainHeads)
	if links == nil {
		links = make(map[string]events.ChainHead)
	}
	return &receiver{from: from, next: held.Position.StreamSequence + 1, links: links, max: limit, messages: make(chan received, limit)}
}

// run receives until an error, which it leaves in r.err: what was received
// before is applied first.
func (r *receiver) run(ctx context.Context) error {
	defer close(r.messages)
	for {
		msg, err := r.from.Next(jetstream.NextContext(ctx))
		if err != nil {
			r.err = outage{fmt.Errorf("wait for messages: %w", err)}
			return nil
		}
		m, err := r.check(msg)
		if err != nil {
			r.err = err
			return nil
		}
		select {
		case r.messages <- m:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// check finds out whether the message is the next one, of the consumer, of the
// stream and of its study.
func (r *receiver) check(msg jetstream.Msg) (received, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return received{}, outage{fmt.Errorf("a message without its place in the stream: %w", err)}
	}
	if r.consumer++; meta.Sequence.Consumer != r.consumer {
		return received{}, outage{fmt.Errorf("messages %d to %d of the consumer were lost", r.consumer, meta.Sequence.Consumer-1)}
	}
	if meta.Sequence.Stream != r.next {
		return received{}, events.Errorf(events.Gap, "the stream goes on with message %d instead of %d", meta.Sequence.Stream, r.next)
	}
	e, err := events.FromHeader(msg.Headers(), msg.Data())
	if err != nil {
		return received{}, fmt.Errorf("read message %d: %w", r.next, err)
	}
	link, err := r.links[e.Study].Follow(e)
	if err != nil {
		return received{}, fmt.Errorf("check message %d: %w", r.next, err)
	}
	r.links[e.Study] = link
	r.next++
	return received{Message: Message{StreamSequence: meta.Sequence.Stream, Event: e}, pending: meta.NumPending}, nil
}

// batch puts m and what is there already behind it into a batch.
func (r *receiver) batch(held Position, m received) Batch {
	b := Batch{After: held, Messages: make([]Message, 0, min(r.max, 1+len(r.messages)))}
	for {
		b.Messages = append(b.Messages, m.Message)
		b.Position, b.Pending = held.after(m.Message), m.pending
		if len(b.Messages) == cap(b.Messages) {
			return b
		}
		m = <-r.messages // counted above, and nobody else takes them
	}
}
