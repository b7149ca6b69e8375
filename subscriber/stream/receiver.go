package stream

import (
	"context"
	"fmt"
	"maps"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
)

// received is a message that was checked. Pending is how many messages the stream had
// behind it when it was sent.
type received struct {
	Message
	pending uint64
}

// receiver takes messages from the broker and checks them, while others are
// being applied.
type receiver struct {
	from        jetstream.MessagesContext
	next        uint64                      // expected stream sequence
	consumerSeq uint64                      // consumer sequence of the last message
	heads       map[string]events.ChainHead // by study key
	max         int                         // messages of a batch
	messages    chan received               // closed after the last
	err         error                       // why it was closed
}

// newReceiver returns a receiver of the messages behind the stored progress, whose batches
// have at most limit messages. It changes a copy of the chain heads.
func newReceiver(from jetstream.MessagesContext, stored Progress, limit int) *receiver {
	heads := maps.Clone(stored.ChainHeads)
	if heads == nil {
		heads = make(map[string]events.ChainHead)
	}
	return &receiver{from: from, next: stored.Position.StreamSequence + 1, heads: heads, max: limit, messages: make(chan received, limit)}
}

// run receives and checks messages until an error or the end of ctx. It leaves an error
// of receiving or checking in r.err and closes r.messages, so that what was received
// before is applied first. It returns an error only if ctx ends while a message waits
// to be applied.
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

// check verifies that the message is the next one of the consumer, of the
// stream and of its study. A message of the consumer that is missing was lost on the
// way: that is an outage, after which it is requested again. One of the stream that is
// missing is a Gap.
func (r *receiver) check(msg jetstream.Msg) (received, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return received{}, outage{fmt.Errorf("read the metadata of a message: %w", err)}
	}
	if r.consumerSeq++; meta.Sequence.Consumer != r.consumerSeq {
		return received{}, outage{fmt.Errorf("messages %d to %d of the consumer were lost", r.consumerSeq, meta.Sequence.Consumer-1)}
	}
	if meta.Sequence.Stream != r.next {
		return received{}, events.Errorf(events.Gap, "the stream continues with message %d instead of %d", meta.Sequence.Stream, r.next)
	}
	e, err := events.FromHeader(msg.Headers(), msg.Data())
	if err != nil {
		return received{}, fmt.Errorf("read message %d: %w", r.next, err)
	}
	head, err := r.heads[e.Study].Follow(e)
	if err != nil {
		return received{}, fmt.Errorf("check message %d: %w", r.next, err)
	}
	r.heads[e.Study] = head
	r.next++
	return received{Message: Message{StreamSequence: meta.Sequence.Stream, Event: e}, pending: meta.NumPending}, nil
}

// batch returns a Batch of m and the messages that were received behind it already, up
// to r.max in all.
func (r *receiver) batch(after Position, m received) Batch {
	b := Batch{After: after, Messages: make([]Message, 0, min(r.max, 1+len(r.messages)))}
	for {
		b.Messages = append(b.Messages, m.Message)
		b.Position, b.Pending = after.after(m.Message), m.pending
		if len(b.Messages) == cap(b.Messages) {
			return b
		}
		m = <-r.messages // never blocks: len counted it, and this is the only receiver
	}
}
