package subscriber

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/seed-e88a4ece/signoff/events"
)

// forgotten is how long the broker keeps a consumer nobody reads from.
const forgotten = time.Minute

// session reads from what is held until something interrupts. The stream is
// compared after the consumer was made: if it is the right one then, whatever
// the consumer delivers is from it, because deleting a stream ends its
// consumers.
//
// The consumer is ordered in the sense of JetStream: ephemeral, in memory,
// without acknowledgements, its sequence checked. It is not the client
// library's, because that one renews itself where nobody can compare.
func (s *Subscriber) session(ctx context.Context, begun func()) error {
	held, err := s.handler.Resume(ctx)
	if err != nil {
		return fmt.Errorf("read what is held: %w", err)
	}
	consumer, err := s.open(ctx, held.Position.StreamSequence+1)
	if err != nil {
		return err
	}
	defer s.discard(ctx, consumer)
	info, err := s.compare(ctx, held.Position)
	if err != nil {
		return err
	}
	held.Position.Created = info.Created
	messages, err := consumer.Messages(
		jetstream.PullMaxMessagesWithBytesLimit(requestMessages, requestBytes),
		jetstream.PullHeartbeat(heartbeat), jetstream.WithMessagesErrOnMissingHeartbeat(true))
	if err != nil {
		return outage{fmt.Errorf("read from stream %s: %w", s.cfg.Stream, err)}
	}
	defer messages.Stop()
	begun()
	s.cfg.Outage(nil)
	s.cfg.Compared(streamEnd(info))

	r := newReceiver(messages, held, s.cfg.MaxBatch)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return r.run(ctx) })
	group.Go(func() error { return s.apply(ctx, r, held.Position, info.State.LastSeq) })
	return group.Wait()
}

// streamEnd is where the stream ends, or will end once it is filled again.
func streamEnd(info *jetstream.StreamInfo) uint64 {
	return events.StreamEnd(info.Config.Metadata, info.State.LastSeq)
}

func (s *Subscriber) open(ctx context.Context, from uint64) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	consumer, err := s.js.CreateConsumer(ctx, s.cfg.Stream, jetstream.ConsumerConfig{
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       from,
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: forgotten,
	})
	if err != nil {
		return nil, outage{fmt.Errorf("read stream %s from %d: %w", s.cfg.Stream, from, err)}
	}
	return consumer, nil
}

// discard deletes the consumer, if the broker is there; it forgets it anyway.
func (s *Subscriber) discard(ctx context.Context, consumer jetstream.Consumer) {
	if !s.js.Conn().IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = s.js.DeleteConsumer(ctx, s.cfg.Stream, consumer.CachedInfo().Name)
}

// errStalled ends a session in which the stream holds more than is delivered.
var errStalled = errors.New("the stream holds more messages, but none arrives")

// apply hands over what the receiver has, and compares at each interval. Last
// is where the stream ended when the session began.
func (s *Subscriber) apply(ctx context.Context, r *receiver, held Position, last uint64) error {
	tick := time.NewTicker(s.cfg.Interval)
	defer tick.Stop()
	seen := held.StreamSequence // at the last comparison
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.status:
			return outage{errors.New("the connection to the broker was lost")}
		case <-tick.C:
			info, err := s.compare(ctx, held)
			if err != nil {
				return err
			}
			if seen == held.StreamSequence && last > seen {
				return outage{errStalled}
			}
			seen, last = held.StreamSequence, info.State.LastSeq
			s.cfg.Compared(streamEnd(info))
		case m, ok := <-r.messages:
			if !ok {
				return r.err
			}
			b := r.batch(held, m)
			if err := s.handler.Apply(ctx, b); err != nil {
				return fmt.Errorf("apply messages %d to %d: %w", b.After.StreamSequence+1, b.Position.StreamSequence, err)
			}
			held = b.Position
		}
	}
}
