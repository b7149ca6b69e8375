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

// session reads from the stored position until something interrupts it, and returns
// the reason. It calls begun once it reads. It compares the stream with the position
// first. If the stream is replaced after that, the receiver finds that what it has read
// last is not there any more.
func (r *Reader) session(ctx context.Context, begun func()) error {
	stored, err := r.handler.Resume(ctx)
	if err != nil {
		return fmt.Errorf("read the stored progress: %w", err)
	}
	live, err := listen(r.js.Conn(), r.cfg.Stream)
	if err != nil {
		return err
	}
	defer live.stop()
	info, err := r.compare(ctx, stored.Position)
	if err != nil {
		return err
	}
	stored.Position.Created = info.Created // unknown before the first event
	begun()
	r.cfg.Outage(nil)
	r.cfg.Compared(streamEnd(info))

	in := r.newReceiver(live, stored)
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
