package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/seed-e88a4ece/signoff/events"
)

// How much is requested from the broker at a time, how often it must send a
// heartbeat, and after which time it deletes a consumer that nobody reads from.
const (
	requestMessages   = 500
	requestBytes      = 32 << 20
	heartbeat         = 5 * time.Second
	inactiveThreshold = time.Minute
)

// session reads from the stored position until something interrupts it, and returns
// the reason. It calls begun once it reads. It compares the stream with the position
// after it has created the consumer. If the stream is the right one then, everything
// that the consumer delivers is from it, because deleting a stream deletes its
// consumers.
//
// The consumer is ordered in the sense of JetStream: ephemeral, in memory,
// without acknowledgements, its sequence checked. It is not the ordered consumer
// of the client library, because that one recreates itself, and then nobody
// would compare the stream.
func (r *Reader) session(ctx context.Context, begun func()) error {
	stored, err := r.handler.Resume(ctx)
	if err != nil {
		return fmt.Errorf("read the stored progress: %w", err)
	}
	consumer, err := r.createConsumer(ctx, stored.Position.StreamSequence+1)
	if err != nil {
		return err
	}
	defer r.deleteConsumer(ctx, consumer)
	info, err := r.compare(ctx, stored.Position)
	if err != nil {
		return err
	}
	stored.Position.Created = info.Created // unknown before the first event
	messages, err := consumer.Messages(
		jetstream.PullMaxMessagesWithBytesLimit(requestMessages, requestBytes),
		jetstream.PullHeartbeat(heartbeat), jetstream.WithMessagesErrOnMissingHeartbeat(true))
	if err != nil {
		return outage{fmt.Errorf("read from stream %s: %w", r.cfg.Stream, err)}
	}
	defer messages.Stop()
	begun()
	r.cfg.Outage(nil)
	r.cfg.Compared(streamEnd(info))

	in := newReceiver(messages, stored, r.cfg.MaxBatch)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return in.run(ctx) })
	group.Go(func() error { return r.apply(ctx, in, stored.Position, info.State.LastSeq) })
	return group.Wait()
}

// streamEnd returns the last sequence of the stream, or the one that it will end
// with once it is filled again.
func streamEnd(info *jetstream.StreamInfo) uint64 {
	return events.StreamEnd(info.Config.Metadata, info.State.LastSeq)
}

// createConsumer creates the ordered consumer of a session. Its first message is the one
// with the stream sequence from.
func (r *Reader) createConsumer(ctx context.Context, from uint64) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	consumer, err := r.js.CreateConsumer(ctx, r.cfg.Stream, jetstream.ConsumerConfig{
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       from,
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: inactiveThreshold,
	})
	if err != nil {
		return nil, outage{fmt.Errorf("read stream %s from message %d: %w", r.cfg.Stream, from, err)}
	}
	return consumer, nil
}

// deleteConsumer deletes the consumer if the broker is reachable. Otherwise the
// broker does so after inactiveThreshold.
func (r *Reader) deleteConsumer(ctx context.Context, consumer jetstream.Consumer) {
	if !r.js.Conn().IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = r.js.DeleteConsumer(ctx, r.cfg.Stream, consumer.CachedInfo().Name)
}

// errStalled ends a session in which the stream has more messages and none is
// delivered.
var errStalled = errors.New("the stream has more messages, but none arrives")

// apply passes what was received to the Handler, and compares the stream at each
// interval. Last is the last sequence of the stream when the session began.
func (r *Reader) apply(ctx context.Context, in *receiver, applied Position, last uint64) error {
	tick := time.NewTicker(r.cfg.Interval)
	defer tick.Stop()
	compared := applied.StreamSequence // applied at the last comparison
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.status:
			return outage{errors.New("the connection to the broker was lost")}
		case <-tick.C:
			info, err := r.compare(ctx, applied)
			if err != nil {
				return err
			}
			if compared == applied.StreamSequence && last > compared { // since the last comparison there was more, and nothing arrived
				return outage{errStalled}
			}
			compared, last = applied.StreamSequence, info.State.LastSeq
			r.cfg.Compared(streamEnd(info))
		case m, ok := <-in.messages:
			if !ok {
				return in.err
			}
			b := in.batch(applied, m)
			if err := r.handler.Apply(ctx, b); err != nil {
				return fmt.Errorf("apply messages %d to %d: %w", b.After.StreamSequence+1, b.Position.StreamSequence, err)
			}
			applied = b.Position
		}
	}
}
