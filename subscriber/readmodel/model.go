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

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/outbox/sqlite"
	"github.com/seed-e88a4ece/signoff/subscriber/stream"
)

//go:embed schema/*.sql
var schema embed.FS

// Config holds what may be left out.
type Config struct {
	Stream   string        // Defaults to events.Stream.
	Interval time.Duration // between comparisons of stream and model, also while red. Defaults to 10 s.
	MaxBatch int           // events per transaction. Defaults to 500.
	Readers  int           // connections that search. Defaults to 4.

	// Recorded is the last event that is known to have been in the stream, from
	// elsewhere than the model's file: the outbox. Content that is made anew must
	// hold it, at that sequence, before it takes the place of what is there.
	// When the stream was created is not asked. Zero: nothing is known.
	Recorded stream.Position

	Clock func() time.Time // Defaults to time.Now.
	Log   *slog.Logger     // Defaults to slog.Default().

	// Step, if set, is called with the name of each step of applying a batch.
	// It is for tests that kill the program there.
	Step func(name string)
}

// Model is an open read model. Its methods may be called concurrently, except
// that Run must not run twice at a time.
type Model struct {
	db      *sqlite.DB
	cfg     Config
	metrics *meters

	// publishing is held from before a state is committed or read until it is
	// published, so that what is published never goes back.
	publishing sync.Mutex

	directory atomic.Pointer[access.Directory] // of the last commit
	changed   chan struct{}                    // full when the directory is another one
	position  atomic.Pointer[stream.Position]

	mu      sync.Mutex
	status  Status
	target  uint64        // where the stream ended when it was first compared; Run sets it
	last    uint64        // where the stream ended when last heard of
	running bool          // in this process
	moved   chan struct{} // closed and replaced at each commit
}

// Open opens the model in the file at path and creates it where there is none;
// the folder must exist. The error is database.ErrNotADatabase for a damaged
// file and database.ErrNewer or ErrChanged for a schema that is not this
// version's: Rebuild replaces all but the newer one. Content that another
// derivation has made is served as it is, until Run has made it anew.
func Open(ctx context.Context, path string, cfg Config) (*Model, error) {
	cfg.Stream = cmp.Or(cfg.Stream, events.Stream)
	cfg.Interval = cmp.Or(cfg.Interval, 10*time.Second)
	cfg.MaxBatch = cmp.Or(cfg.MaxBatch, 500)
	cfg.Log = cmp.Or(cfg.Log, slog.Default())
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Step == nil {
		cfg.Step = func(string) {}
	}
	db, err := sqlite.Open(ctx, path, sqlite.Config{Synchronous: "NORMAL", Readers: cfg.Readers})
	if err != nil {
		return nil, fmt.Errorf("open read model: %w", err)
	}
	m := &Model{db: db, cfg: cfg, changed: make(chan struct{}, 1), moved: make(chan struct{})}
	m.status = Status{State: Waiting, Reason: "the stream was not read yet", Since: cfg.Clock()}
	m.metrics = newMeters(m)
	if err := m.prepare(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return m, nil
}

func (m *Model) prepare(ctx context.Context) error {
	migrations, err := fs.Sub(schema, "schema")
	if err != nil {
		return err
	}
	if err := m.db.Migrate(ctx, migrations); err != nil {
		return fmt.Errorf("open read model: %w", err)
	}
	// As an update, because that says when the file is damaged.
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
	m.publish(p.position, p.directory)
	return nil
}

// Close closes the file. Run must have ended.
func (m *Model) Close() error { return m.db.Close() }

// Directory returns who may see what, as of the last commit.
func (m *Model) Directory() access.Directory { return *m.directory.Load() }

// Changed receives when Directory may return another one. It has room for one, so
// that a single reader misses nothing between two looks.
func (m *Model) Changed() <-chan struct{} { return m.changed }

// Position returns how far the stream has been applied, as of the last commit in
// this process.
func (m *Model) Position() stream.Position { return *m.position.Load() }
