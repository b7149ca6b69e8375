package publisher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/retry"
)

// Config of a relay.
type Config struct {
	// Stream is what the installation chooses about the stream, which the
	// relay creates where it is missing.
	Stream StreamConfig

	// MinBatch is the least number of events sent as an atomic batch; fewer are
	// sent one after the other. Opening a batch costs the broker about as much
	// as storing so many single messages. Defaults to 16, and is 2 at least.
	MinBatch int

	// MaxBatch is the largest number of events in one atomic batch. Defaults
	// to 500; brokers take at most 1000.
	MaxBatch int

	// MaxBatchBytes is the size from which on a batch takes no more events.
	// Defaults to 16 MiB.
	MaxBatchBytes int

	// AckTimeout bounds the wait for one answer of the broker. Defaults to 5 s.
	AckTimeout time.Duration

	// Settle is how long a message may still be on its way to the broker after the
	// wait for its answer has ended. Until then no study is parked or released,
	// because that would change the order of what is pending. It is also how long a
	// stream with events must be missing before it is created again, because its
	// deletion may not have ended. Defaults to 5 s.
	Settle time.Duration

	// MaxBackoff is the longest wait between two attempts. Defaults to 2 s.
	MaxBackoff time.Duration

	// CompareEvery is how often the end of the stream is compared with the
	// outbox when there is nothing to do. Defaults to 10 s.
	CompareEvery time.Duration

	// Clock defaults to time.Now.
	Clock func() time.Time

	// Log defaults to slog.Default().
	Log *slog.Logger

	// Step is called with the name of each step that the relay has reached; tests
	// stop the program there. Nil in production.
	Step func(name string)
}

// Names of the steps.
const (
	StepCompare = "compare" // before the stream's end is compared with the outbox
	StepOpen    = "open"    // before the first message of a batch
	StepMiddle  = "middle"  // half of a batch is sent
	StepCommit  = "commit"  // before a plain message, or the message that commits a batch
	StepRecord  = "record"  // acknowledged, not yet recorded
	StepDone    = "done"    // recorded
	StepRefill  = "refill"  // before recorded events are published again
	StepMark    = "mark"    // before the mark that the stream is being filled again is set or removed
	StepPark    = "park"    // before a study is parked
)

// Relay moves events from a Source to the stream. One Source and one stream
// should have one Relay at a time. A second one, in this process or another,
// slows both down and does no harm: the two take turns.
type Relay struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	source  Source
	cfg     Config
	log     *slog.Logger
	metrics metrics
	status  status

	comparer *Comparer

	// The rest belongs to Run.
	succeeded           func()       // makes the next wait after a failure a short one
	head                events.Entry // the last entry known to be stored and recorded
	endKnown            bool         // whether the stream is known to end with head
	endKnownAt          time.Time    // when it was last known to, by the monotonic clock
	lastUnconfirmedSend time.Time    // of a message of which it is unknown whether it was stored; zero: none
	missingSince        time.Time    // when the stream was first found missing; zero: it was there
	oneByOne            int          // how many of the next entries are sent one by one, because their batch was refused
	page                int          // how many pending entries are read at a time
}

// New returns a relay. The connection should have the options that Options
// returns, and the right to publish events and to use the JetStream API.
func New(nc *nats.Conn, source Source, cfg Config) (*Relay, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("open JetStream: %w", err)
	}
	cfg.MinBatch = max(2, cmp.Or(cfg.MinBatch, 16))
	cfg.MaxBatch = cmp.Or(cfg.MaxBatch, 500)
	cfg.MaxBatchBytes = cmp.Or(cfg.MaxBatchBytes, 16<<20)
	cfg.AckTimeout = cmp.Or(cfg.AckTimeout, 5*time.Second)
	cfg.Settle = cmp.Or(cfg.Settle, 5*time.Second)
	cfg.MaxBackoff = cmp.Or(cfg.MaxBackoff, 2*time.Second)
	cfg.CompareEvery = cmp.Or(cfg.CompareEvery, 10*time.Second)
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	r := &Relay{nc: nc, js: js, source: source, cfg: cfg, log: cmp.Or(cfg.Log, slog.Default()), page: cfg.MaxBatch}
	r.comparer = NewComparer(js, source, cfg.AckTimeout)
	r.status.start(cfg.Clock())
	r.metrics = newMetrics(r)
	return r, nil
}

// Options returns the options that a relay's connection needs. It reconnects without end.
// It buffers nothing while it is disconnected, because that would be sent later, out of
// order.
func Options() []nats.Option {
	return []nats.Option{
		nats.MaxReconnects(-1),
		nats.ReconnectBufSize(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, 250*time.Millisecond),
		nats.IgnoreAuthErrorAbort(),
	}
}

// Run publishes until ctx is cancelled. Then it waits for the answer to what it has sent,
// and returns nil. After a failure, as while the broker or the source is away, it tries
// again without end. If stream and outbox contradict each other, it writes nothing until
// the program is started again; it still returns only when ctx is cancelled. Status
// returns its state.
func (r *Relay) Run(ctx context.Context) error {
	r.endKnown = false
	r.lastUnconfirmedSend = r.cfg.Clock() // a relay before this one may have sent something just now
	loop := retry.Loop{Longest: r.cfg.MaxBackoff, Failed: func(err error) { r.failed(ctx, err) }}
	return loop.Run(ctx, func(ctx context.Context, succeeded func()) error {
		r.succeeded = succeeded
		for ctx.Err() == nil {
			err := r.work(ctx)
			switch {
			case errors.Is(err, events.Conflict) && ctx.Err() == nil:
				r.status.stop(r.cfg.Clock(), err)
				r.log.Error("publishing stopped", "reason", err)
				<-ctx.Done() // no further attempt
			case err != nil:
				return err
			default:
				r.idle(ctx)
			}
		}
		return nil
	})
}

// work publishes until nothing is pending and no study is to be released.
func (r *Relay) work(ctx context.Context) error {
	for ctx.Err() == nil {
		if !r.endKnown {
			if err := r.compare(ctx); err != nil {
				return fmt.Errorf("compare stream and outbox: %w", err)
			}
		}
		pending, err := r.source.Pending(ctx, r.page)
		if err != nil {
			return fmt.Errorf("read pending events: %w", err)
		}
		r.status.pending(pending)
		if len(pending) == 0 {
			r.running()
			if released, err := r.release(ctx); !released {
				return err
			}
			continue
		}
		// If another relay has recorded events since the comparison, the pending entries
		// do not follow r.head and must not be stored after it. The broker would refuse
		// them, except while the stream is being filled again and happens to end at r.head.
		if err := r.comparer.sameHead(ctx, r.head); err != nil {
			return err
		}
		if err := r.publish(ctx, r.nextBatch(pending)); err != nil {
			return err
		}
	}
	return nil
}

// publish sends a batch and records it, or parks the study of a single event that is too
// large. It returns nil without having published if the batch was refused and its entries
// have to be sent one by one. The stream's end is unknown until the batch is recorded.
func (r *Relay) publish(ctx context.Context, batch []events.Entry) error {
	r.endKnown = false
	err := r.sendAndCount(ctx, r.head.StreamSequence, batch)
	switch {
	case errors.Is(err, errTooLarge) && len(batch) == 1:
		return r.park(ctx, batch[0].Event, err)
	case errors.Is(err, errTooLarge), errors.Is(err, errIncomplete):
		return nil // work sends the entries again, one by one
	case err != nil:
		return err
	}
	r.step(StepRecord)
	if err := r.record(ctx, batch); err != nil {
		return err
	}
	r.confirmEnd()
	r.running()
	r.step(StepDone)
	return nil
}

// sendAndCount sends entries after sequence last. If the broker refused a batch, it sets
// how many entries have to be sent one by one. After any other failure it sets the time
// of the last unconfirmed send.
func (r *Relay) sendAndCount(ctx context.Context, last uint64, batch []events.Entry) error {
	err := r.send(ctx, last, batch)
	switch {
	case err == nil:
		r.oneByOne = max(0, r.oneByOne-len(batch))
		r.metrics.sent(len(batch))
	case errors.Is(err, errTooLarge), errors.Is(err, errIncomplete):
		if len(batch) > 1 {
			r.oneByOne = len(batch)
		}
	default:
		r.lastUnconfirmedSend = r.cfg.Clock()
	}
	return err
}

// record numbers entries that the stream holds directly after head and records them in the
// source. It does so even if ctx has ended, because they are published.
func (r *Relay) record(ctx context.Context, entries []events.Entry) error {
	number(entries, r.head.StreamSequence)
	if err := r.source.Record(context.WithoutCancel(ctx), entries); err != nil {
		return r.comparer.unlessOvertaken(ctx, r.head, fmt.Errorf("record stream sequences: %w", err))
	}
	r.head = entries[len(entries)-1]
	// A message that was sent before, and not answered, expected an earlier end of the
	// stream. So it is among these entries, or can never be stored.
	r.lastUnconfirmedSend = time.Time{}
	r.succeeded()
	r.status.recorded(r.head.StreamSequence)
	return nil
}

// number sets the stream sequences of entries that follow sequence last.
func number(entries []events.Entry, last uint64) {
	for i := range entries {
		entries[i].StreamSequence = last + uint64(i) + 1
	}
}

// confirmEnd stores that the stream is now known to end with head.
func (r *Relay) confirmEnd() { r.endKnown, r.endKnownAt = true, time.Now() }

// settled reports whether no message that was sent can still be on its way to the broker.
func (r *Relay) settled() bool {
	return r.lastUnconfirmedSend.IsZero() || r.cfg.Clock().Sub(r.lastUnconfirmedSend) >= r.cfg.Settle
}

// step calls Config.Step.
func (r *Relay) step(name string) {
	if r.cfg.Step != nil {
		r.cfg.Step(name)
	}
}
