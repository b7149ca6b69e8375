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

	"github.com/seed-e88a4ece/signoff/outbox/sqlite"
	"github.com/seed-e88a4ece/signoff/subscriber"
)

// Progress is told how many of the stream's events have been read.
type Progress func(done, total uint64)

// overtaken is how often a model that advances meanwhile may be ahead of the
// rebuilt one before the rebuild is given up.
const overtaken = 50

// Rebuild makes the model at path anew from the whole stream: in a file beside
// it, which is checked and then put in place of the old content in one
// transaction. Readers see the old or the new state, nothing between. A
// process that follows the stream with the same file goes on from the new
// state by itself, and never sees its position go back in the same stream.
//
// A file that is missing is created. One that is damaged, or of a schema that
// this version cannot read, is renamed and kept; a process that has it open
// must be restarted. One of a newer version is refused with sqlite.ErrNewer.
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
	target, err := openOrSetAside(ctx, path, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Close()) }()

	beside := path + ".rebuild"
	if err := remove(beside); err != nil {
		return err
	}
	silent := cfg // what follows is the rebuild's, and its errors are returned
	silent.Log = slog.New(slog.DiscardHandler)
	fresh, err := Open(ctx, beside, silent)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, fresh.Close(), remove(beside)) }()

	for range overtaken {
		if err := fresh.fill(ctx, js, progress); err != nil {
			return err
		}
		if err := fresh.check(ctx); err != nil {
			return err
		}
		switch err := target.replace(ctx, beside); {
		case errors.Is(err, errBehind):
			continue
		case errors.Is(err, sqlite.ErrNotADatabase):
			if err := target.Close(); err != nil {
				return err
			}
			if err := setAside(path, cfg); err != nil {
				return err
			}
			if target, err = Open(ctx, path, cfg); err != nil {
				return err
			}
			return target.replace(ctx, beside)
		default:
			return err
		}
	}
	return errBehind
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

// openOrSetAside opens the model, if need be after renaming what is there.
func openOrSetAside(ctx context.Context, path string, cfg Config) (*Model, error) {
	m, err := Open(ctx, path, cfg)
	if !errors.Is(err, sqlite.ErrNotADatabase) && !errors.Is(err, sqlite.ErrChanged) {
		return m, err
	}
	if err := setAside(path, cfg); err != nil {
		return nil, err
	}
	return Open(ctx, path, cfg)
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
