package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/retry"
)

// Handler stores what is read, and how far. Its methods are called one at a
// time.
type Handler interface {
	// Resume returns the stored progress. Run calls it at its start and after
	// each interruption, and continues behind it.
	Resume(ctx context.Context) (Progress, error)

	// Apply stores the effect of the next events. It must store that and
	// b.Position together or not at all, and only if the stored position is
	// b.After; if it is not, it returns ErrMoved. Any other error ends Run.
	Apply(ctx context.Context, b Batch) error
}

// Progress is what a Handler has stored: how far it has read, and the chain head
// of each study there, by study key. The zero Progress is that of an empty store.
type Progress struct {
	Position   Position
	ChainHeads map[string]events.ChainHead
}

// Batch is a run of events that follow each other in the stream.
type Batch struct {
	After    Position  // the stored position must be this one before
	Messages []Message // at least one
	Position Position  // to be stored with the effect of the batch
	Pending  uint64    // events that the stream had behind the batch when it was sent
}

// Message is an event and its place in the stream.
type Message struct {
	StreamSequence uint64
	Event          events.Event
}

// Reasons for which Run ends. Events that do not follow are errors with
// the codes events.Gap, events.Repeat, events.Reorder, events.Altered and
// events.Invalid.
var (
	ErrReplaced = errors.New("the stream is not the one that was read before")
	ErrMoved    = errors.New("the stored position is not the one that the batch follows")
	ErrClosed   = errors.New("the connection to the broker was closed")
)

// Config holds what is optional.
type Config struct {
	Stream   string        // Defaults to events.Stream.
	Interval time.Duration // between comparisons of the stream with the stored position. Defaults to 10 s.
	Poll     time.Duration // between requests for messages while no live message arrives. Defaults to 1 s.
	MaxBatch int           // events per batch. Defaults to 500.
	Timeout  time.Duration // for an answer of the broker. Defaults to 5 s.

	// Outage, if set, is called with the cause at each attempt that fails because
	// the broker cannot be read, and with nil whenever reading begins.
	Outage func(cause error)

	// Compared, if set, is called with the last sequence of the stream each time
	// the stream was compared with the stored position and found to be the same.
	// While the stream is being filled again, that is the sequence that it will
	// end with; see events.RefillKey.
	Compared func(end uint64)
}

// Reader reads one stream for one Handler.
type Reader struct {
	js      jetstream.JetStream
	handler Handler
	cfg     Config
	status  chan nats.Status
}

// NewReader returns a Reader; Run starts it.
func NewReader(js jetstream.JetStream, handler Handler, cfg Config) *Reader {
	cfg.Stream = cmp.Or(cfg.Stream, events.Stream)
	cfg.Interval = cmp.Or(cfg.Interval, 10*time.Second)
	cfg.Poll = cmp.Or(cfg.Poll, time.Second)
	cfg.MaxBatch = cmp.Or(cfg.MaxBatch, 500)
	cfg.Timeout = cmp.Or(cfg.Timeout, 5*time.Second)
	if cfg.Outage == nil {
		cfg.Outage = func(error) {}
	}
	if cfg.Compared == nil {
		cfg.Compared = func(uint64) {}
	}
	return &Reader{js: js, handler: handler, cfg: cfg}
}

// outage is an error of reaching the broker. Run waits and tries again.
type outage struct{ error }

func (o outage) Unwrap() error { return o.error }

// Run reads until ctx ends, and then returns nil. It waits, without limit, for a
// broker that is unreachable or a stream that does not exist yet. It returns an
// error when the stream was replaced, an event does not follow, the Handler fails
// or the connection was closed. Called again, it continues behind the stored
// position. Only one Run may be active at a time.
func (r *Reader) Run(ctx context.Context) error {
	r.status = r.js.Conn().StatusChanged(nats.RECONNECTING, nats.CONNECTED)
	defer r.js.Conn().RemoveStatusListener(r.status)
	loop := retry.Loop{Longest: 2 * time.Second, Failed: r.cfg.Outage, Wait: func(ctx context.Context, d time.Duration) {
		retry.SleepUntil(ctx, d, r.status, nats.CONNECTED)
	}}
	return loop.Run(ctx, func(ctx context.Context, begun func()) error {
		err := r.session(ctx, begun)
		// The new position can be read at once.
		for errors.Is(err, ErrMoved) && ctx.Err() == nil {
			err = r.session(ctx, begun)
		}
		var unreachable outage
		switch {
		case ctx.Err() != nil:
			return nil
		case !errors.As(err, &unreachable):
			return retry.Stop(err)
		case r.js.Conn().IsClosed(): // for good: to wait does not help
			return retry.Stop(fmt.Errorf("%w: %w", ErrClosed, err))
		}
		return err
	})
}
