package readmodel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/subscriber"
)

// Progress is told how many of the stream's events have been read.
type Progress func(done, total uint64)

// Rebuild makes the model at path anew from the whole stream: in a file beside
// it, which is checked and then put in place of the old content in one
// transaction. Readers see the old or the new state, nothing between. A
// process that follows the stream with the same file goes on from the new
// state by itself, and never sees its position go back in the same stream.
//
// A file that is missing is created. One that is damaged, or of a schema that
// this version cannot read, is renamed and kept; a process that has it open
// must be restarted. One of a newer version is refused with database.ErrNewer.
// Progress may be nil. While the broker is away, Rebuild waits.
func Rebuild(ctx context.Context, path string, js jetstream.JetStream, cfg Config, progress Progress) error {
	if err := rebuild(ctx, path, js, cfg, progress); err != nil {
		return fmt.Errorf("rebuild read model: %w", err)
	}
	return nil
}

func rebuild(ctx context.Context, path string, js jetstream.JetStream, cfg Config, progress Progress) (err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return err
	}
	if err := replaceable(ctx, path, cfg); err != nil {
		return err
	}
	fresh, err := openBeside(ctx, path, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, fresh.Close(), remove(fresh.db.Path())) }()
	if err := fresh.fill(ctx, js, progress); err != nil {
		return err
	}
	if err := fresh.check(ctx); err != nil {
		return err
	}
	err = install(ctx, path, fresh, js, cfg)
	if damaged(err) {
		if err := setAside(path, cfg); err != nil {
			return err
		}
		err = install(ctx, path, fresh, js, cfg)
	}
	return err
}

// damaged reports whether a file must be set aside.
func damaged(err error) bool {
	return errors.Is(err, database.ErrNotADatabase) || errors.Is(err, database.ErrChanged)
}

// replaceable says why the model at path cannot be replaced, before the work.
func replaceable(ctx context.Context, path string, cfg Config) error {
	m, err := Open(ctx, path, cfg)
	if err == nil {
		return m.Close()
	}
	if damaged(err) {
		return nil
	}
	return err
}

// install puts the content of fresh into the model at path.
func install(ctx context.Context, path string, fresh *Model, js jetstream.JetStream, cfg Config) error {
	target, err := Open(ctx, path, cfg)
	if err != nil {
		return err
	}
	return errors.Join(target.replace(ctx, fresh, js), target.Close())
}

// openBeside opens an empty model in a file beside path.
func openBeside(ctx context.Context, path string, cfg Config) (*Model, error) {
	beside := path + ".rebuild"
	if err := remove(beside); err != nil {
		return nil, err
	}
	cfg.Log = slog.New(slog.DiscardHandler) // its errors are returned
	return Open(ctx, beside, cfg)
}

// fill applies the stream up to its end.
func (m *Model) fill(ctx context.Context, js jetstream.JetStream, progress Progress) error {
	reading, stop := context.WithCancel(ctx)
	defer stop()
	f := &filler{applier: &applier{Model: m}, stop: stop, progress: progress}
	s := subscriber.New(js, f, subscriber.Config{
		Stream: m.cfg.Stream, Interval: m.cfg.Interval, MaxBatch: m.cfg.MaxBatch,
		Compared: func(last uint64) { f.reached(m.Position().Sequence, last) },
	})
	if err := s.Run(reading); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// filler is an applier that stops at the end of the stream.
type filler struct {
	*applier
	stop     func()
	progress Progress
}

func (f *filler) Apply(ctx context.Context, b subscriber.Batch) error {
	if err := f.applier.Apply(ctx, b); err != nil {
		return err
	}
	f.reached(b.Position.Sequence, b.Position.Sequence+b.Pending)
	return nil
}

func (f *filler) reached(done, total uint64) {
	if f.progress != nil {
		f.progress(done, total)
	}
	if done >= total {
		f.stop()
	}
}

// companions are the files that belong to a database, its own last.
var companions = [...]string{"-wal", "-shm", ""}

// setAside renames a database that cannot be used.
func setAside(path string, cfg Config) error {
	now := time.Now
	if cfg.Clock != nil {
		now = cfg.Clock
	}
	aside := path + ".damaged-" + now().UTC().Format("20060102T150405.000000000Z")
	for _, c := range companions {
		if err := os.Rename(path+c, aside+c); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("set the damaged file aside: %w", err)
		}
	}
	return nil
}

// remove deletes a database, if it is there.
func remove(path string) error {
	var errs error
	for _, c := range companions {
		if err := os.Remove(path + c); !errors.Is(err, os.ErrNotExist) {
			errs = errors.Join(errs, err)
		}
	}
	return errs
}
