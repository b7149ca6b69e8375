package readmodel

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/seed-e88a4ece/signoff/events/retry"
	"github.com/seed-e88a4ece/signoff/subscriber/stream"
)

// Run follows the stream until ctx ends, and then returns nil. While the
// broker is unreachable it waits. If an event does not follow, the stream was
// replaced or storing fails, the State becomes Red. Run then tries again from the stored
// position, soon at first and then at each interval. Content that another derivation has
// made is served and updated, while new content is derived in a file beside it. Run
// returns an error only when the connection was closed.
func (m *Model) Run(ctx context.Context, js jetstream.JetStream) error {
	m.setRunning(true)
	defer m.setRunning(false)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return m.checkpoint(ctx) })
	group.Go(func() error { return m.follow(ctx, js) })
	group.Go(func() error { m.rederive(ctx, js); return nil })
	return group.Wait()
}

// follow applies the stream and sets the State. It tries again after every error, except
// when the connection was closed.
func (m *Model) follow(ctx context.Context, js jetstream.JetStream) error {
	s := stream.NewReader(js, &applier{Model: m}, stream.Config{
		Stream: m.cfg.Stream, Interval: m.cfg.Interval, MaxBatch: m.cfg.MaxBatch,
		Outage: func(cause error) {
			if cause != nil {
				m.setState(Waiting, cause)
			}
		},
		Compared: m.compared,
	})
	loop := retry.Loop{Longest: m.cfg.Interval, Failed: func(err error) { m.setState(Red, err) }}
	return loop.Run(ctx, func(ctx context.Context, succeeded func()) error {
		before := m.Position().StreamSequence
		err := s.Run(ctx)
		if m.Position().StreamSequence > before {
			succeeded()
		}
		if errors.Is(err, stream.ErrClosed) {
			return retry.Stop(err)
		}
		return err
	})
}

// checkpoint keeps the write-ahead log short. While that fails, as on a full
// disk, the log grows; nothing is lost.
func (m *Model) checkpoint(ctx context.Context) error {
	loop := retry.Loop{Longest: m.cfg.Interval, Failed: func(err error) {
		m.cfg.Log.Warn("cannot checkpoint the read model", "cause", err)
	}}
	return loop.Run(ctx, func(ctx context.Context, _ func()) error { return m.db.Maintain(ctx) })
}

func (m *Model) setRunning(running bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.running = running
}

func (m *Model) isRunning() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.running
}
