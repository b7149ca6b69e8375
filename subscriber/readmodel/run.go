package readmodel

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/seed-e88a4ece/signoff/subscriber/stream"
)

// Run follows the stream until ctx ends, and then returns nil. While the
// broker is unreachable it waits. If an event does not follow, the stream was
// replaced or storing fails, it turns red, and tries again from the stored position,
// soon at first and then at each interval. Content that another derivation has
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

func (m *Model) follow(ctx context.Context, js jetstream.JetStream) error {
	retry := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(100*time.Millisecond), backoff.WithMaxInterval(m.cfg.Interval), backoff.WithMaxElapsedTime(0))
	s := stream.NewReader(js, &applier{Model: m}, stream.Config{
		Stream: m.cfg.Stream, Interval: m.cfg.Interval, MaxBatch: m.cfg.MaxBatch,
		Outage: func(cause error) {
			if cause != nil {
				m.setState(Waiting, cause)
			}
		},
		Compared: m.compared,
	})
	for {
		before := m.Position().StreamSequence
		err := s.Run(ctx)
		if err == nil || errors.Is(err, stream.ErrClosed) {
			return err
		}
		if m.Position().StreamSequence > before {
			retry.Reset()
		}
		m.setState(Red, err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retry.NextBackOff()):
		}
	}
}

// checkpoint keeps the write-ahead log short. While that fails, as on a full
// disk, the log grows; nothing is lost.
func (m *Model) checkpoint(ctx context.Context) error {
	for {
		err := m.db.Maintain(ctx)
		if err == nil {
			return nil
		}
		m.cfg.Log.Warn("cannot checkpoint the read model", "cause", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(m.cfg.Interval):
		}
	}
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
