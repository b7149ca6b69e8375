package subscriber

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

// Handler keeps what is read, and how far. Its methods are called one at a
// time.
type Handler interface {
	// Resume returns what is held. Run asks for it at its start and after each
	// interruption, and goes on behind it.
	Resume(ctx context.Context) (Progress, error)

	// Apply takes the next events. It must store their effect and b.Position
	// together or not at all, and only if what is held is at b.After; if it is
	// not, it returns ErrMoved. Any other error ends Run.
	Apply(ctx context.Context, b Batch) error
}

// Progress is what a Handler holds: how far it has read, and the end of each
// study's chain there, by study key. The zero Progress holds nothing.
type Progress struct {
	Position   Position
	ChainHeads map[string]events.ChainHead
}

// Batch is a run of events that follow each other in the stream.
type Batch struct {
	After    Position  // what must be held before
	Messages []Message // at least one
	Position Position  // what is held once the batch is applied
	Pending  uint64    // events that the stream held behind the batch when it was sent
}

// Message is an event and its place in the stream.
type Message struct {
	StreamSequence uint64
	Event          events.Event
}

// Reasons for which reading stops. Events that do not follow are errors with
// the codes events.Gap, events.Repeat, events.Reorder, events.Altered and
// events.Invalid.
var (
	ErrStreamReplaced = errors.New("the stream is not the one that was read before")
	ErrMoved          = errors.New("the stored position is another than the batch follows")
	ErrClosed         = errors.New("the connection to the broker is closed for good")
)

// Config holds what may be left out.
type Config struct {
	Stream   string        // Defaults to events.Stream.
	Interval time.Duration // between comparisons of the stream with what is held. Defaults to 10 s.
	MaxBatch int           // events per batch. Defaults to 500.
	Timeout  time.Duration // for an answer of the broker. Defaults to 5 s.

	// Outage, if set, is told the cause whenever the broker cannot be read, at
	// each attempt, and nil whenever reading begins.
	Outage func(cause error)

	// Compared, if set, is told where the stream ends whenever it has been
	// compared with what is held, and found to be the same. Of a stream that is
	// being filled again that is where it will end; see events.RefillKey.
	Compared func(end uint64)
}

// Subscriber reads one stream for one Handler.
type Subscriber struct {
	js      jetstream.JetStream
	handler Handler
	cfg     Config
	status  chan nats.Status
}

// New makes a Subscriber; Run starts it.
func New(js jetstream.JetStream, handler Handler, cfg Config) *Subscriber {
	cfg.Stream = cmp.Or(cfg.Stream, events.Stream)
	cfg.Interval = cmp.Or(cfg.Interval, 10*time.Second)
	cfg.MaxBatch = cmp.Or(cfg.MaxBatch, 500)
	cfg.Timeout = cmp.Or(cfg.Timeout, 5*time.Second)
	if cfg.Outage == nil {
		cfg.Outage = func(error) {}
	}
	if cfg.Compared == nil {
		cfg.Compared = func(uint64) {}
	}
	return &Subscriber{js: js, handler: handler, cfg: cfg}
}

// outage is an error of reaching the broker: worth waiting for its end.
type outage struct{ error }

func (o outage) Unwrap() error { return o.error }

// Run reads until ctx ends, and then returns nil. It waits, without end, for a
// broker that is away or a stream that does not exist yet. It returns an error
// when the stream was replaced, an event does not follow, the Handler fails or
// the connection was closed; called again, it goes on from what is held. It
// must not run twice at a time.
func (s *Subscriber) Run(ctx context.Context) error {
	s.status = s.js.Conn().StatusChanged(nats.RECONNECTING, nats.CONNECTED)
	defer s.js.Conn().RemoveStatusListener(s.status)
	loop := retry.Loop{Longest: 2 * time.Second, Failed: s.cfg.Outage, Wait: func(ctx context.Context, d time.Duration) {
		waitConnected(ctx, s.status, d)
	}}
	return loop.Run(ctx, func(ctx context.Context, begun func()) error {
		err := s.session(ctx, begun)
		for errors.Is(err, ErrMoved) && ctx.Err() == nil {
			err = s.session(ctx, begun)
		}
		var away outage
		switch {
		case ctx.Err() != nil:
			return nil
		case !errors.As(err, &away):
			return retry.Stop(err)
		case s.js.Conn().IsClosed():
			return retry.Stop(fmt.Errorf("%w: %w", ErrClosed, err))
		}
		return err
	})
}

// waitConnected waits for d, until ctx ends, or until the connection whose status
// this is comes back.
func waitConnected(ctx context.Context, status <-chan nats.Status, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case now := <-status:
			if now == nats.CONNECTED {
				return
			}
		}
	}
}
