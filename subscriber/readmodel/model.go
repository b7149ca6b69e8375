package readmodel

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/events/retry"
	"github.com/seed-e88a4ece/signoff/outbox/sqlite"
	"github.com/seed-e88a4ece/signoff/subscriber/stream"
)

//go:embed schema/*.sql
var schema embed.FS

// Config holds what is optional.
type Config struct {
	Stream   string        // Defaults to events.Stream.
	Interval time.Duration // between comparisons of stream and model, also while the State is Red. Defaults to 10 s.
	MaxBatch int           // events per transaction. Defaults to 500.
	Readers  int           // connections that search. Defaults to 4.
	Lists    int64         // bytes of memory for the order of results between the pages of a walk. Defaults to 32 MiB.

	// Recorded is the last event that the outbox has recorded as published. New
	// content must contain it, at that stream sequence, before it replaces the old
	// content. Created is not compared. The zero Position means none.
	Recorded stream.Position

	Clock func() time.Time // Defaults to time.Now.
	Log   *slog.Logger     // Defaults to slog.Default().

	// Step, if set, is called with the name of each step of applying a batch.
	// Tests kill the program there.
	Step func(name string)
}

// Model is an open read model. Its methods may be called concurrently, except
// that Run must not run twice at a time.
type Model struct {
	db      *sqlite.DB
	cfg     Config
	metrics *meters

	// publishing is locked from before a state is committed or read until it is
	// visible, so that the visible position never goes back.
	publishing sync.Mutex

	directory atomic.Pointer[access.Directory] // of the last commit
	changed   chan struct{}                    // has an element when the directory has changed
	position  atomic.Pointer[stream.Position]
	heads     heads
	lists     *lists
	paging    paging

	mu      sync.Mutex
	status  Status
	target  uint64        // sequence behind the stream's last one when it was first compared; 0: not yet
	last    uint64        // last sequence of the stream, as far as known
	running bool          // in this process
	moved   chan struct{} // closed and replaced at each commit
}

// pageSize is the size of the file's pages. One has a report of the usual size, which in pages
// of 4 KiB would need a second one for its end. Larger pages are read no faster, and a commit
// writes whole pages, so an event would become visible later.
const pageSize = 8 << 10

// Open opens the model in the file at path and creates it if there is none;
// the directory must exist. The error is database.ErrNotADatabase for a damaged
// file and database.ErrNewer or ErrChanged for a schema that is not this
// version's: Rebuild replaces all but the newer one. Content that another
// derivation has made is served as it is, until Run has replaced it.
func Open(ctx context.Context, path string, cfg Config) (*Model, error) {
	cfg.Stream = cmp.Or(cfg.Stream, events.Stream)
	cfg.Interval = cmp.Or(cfg.Interval, 10*time.Second)
	cfg.MaxBatch = cmp.Or(cfg.MaxBatch, 500)
	cfg.Lists = cmp.Or(cfg.Lists, 32<<20)
	cfg.Log = cmp.Or(cfg.Log, slog.Default())
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Step == nil {
		cfg.Step = func(string) {}
	}
	db, err := sqlite.Open(ctx, path, sqlite.Config{Synchronous: "NORMAL", Readers: cfg.Readers, MapFile: true, PageSize: pageSize})
	if err != nil {
		return nil, fmt.Errorf("open read model: %w", err)
	}
	m := &Model{db: db, cfg: cfg, lists: newLists(cfg.Lists), paging: defaultPaging(), changed: make(chan struct{}, 1), moved: make(chan struct{})}
	m.status = Status{State: Waiting, Reason: "the stream has not been read yet", Since: cfg.Clock()}
	m.metrics = newMeters(m)
	if err := m.prepare(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return m, nil
}

// prepare migrates the schema, and reads the progress and makes it visible.
func (m *Model) prepare(ctx context.Context) error {
	migrations, err := fs.Sub(schema, "schema")
	if err != nil {
		return err
	}
	if err := m.db.Migrate(ctx, migrations); err != nil {
		return fmt.Errorf("open read model: %w", err)
	}
	// As an update, because that detects a damaged file.
	var p progress
	err = m.db.Update(ctx, func(tx *sqlx.Tx) (err error) {
		if err := beginFilling(tx); err != nil {
			return err
		}
		p, err = readProgress(tx)
		return err
	})
	if err != nil {
		return fmt.Errorf("load read model: %w", err)
	}
	m.setDerivation(p.derivation)
	m.heads.replace(p)
	m.publish(p.position, p.directory)
	return nil
}

// Close closes the file. Run must have ended.
func (m *Model) Close() error { return m.db.Close() }

// Directory returns who may read what, as of the last commit.
func (m *Model) Directory() access.Directory { return *m.directory.Load() }

// Changed receives when Directory may return another one. It buffers one element,
// so that a single receiver misses no change.
func (m *Model) Changed() <-chan struct{} { return m.changed }

// Position returns how far the stream has been applied, as of the last commit in
// this process.
func (m *Model) Position() stream.Position { return *m.position.Load() }

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
