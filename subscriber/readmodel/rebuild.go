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
	"golang.org/x/sys/unix"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/sqlite"
	"github.com/seed-e88a4ece/signoff/subscriber/stream"
)

// Progress is called with the number of events that were read and that there are.
type Progress func(done, total uint64)

// Rebuild derives the model at path again from the whole stream, in a file beside
// it. That is checked and then replaces the old content in one transaction. Readers
// see the old or the new state, nothing between. A process that follows the stream
// with the same file continues from the new state by itself, and never sees its
// position go back in the same stream.
//
// A file that is missing is created. One that is damaged, or of a schema that
// this version cannot read, is renamed and kept; a process that has it open
// must be restarted. One of a newer version is refused with database.ErrNewer.
// Progress may be nil. While the broker is unreachable, and while the stream is being
// filled again, Rebuild waits.
//
// New content that would end before the old one, or before Config.Recorded, is a
// Conflict, and nothing is changed. The position of a damaged file counts if it can
// still be read.
func Rebuild(ctx context.Context, path string, js jetstream.JetStream, cfg Config, progress Progress) error {
	if err := rebuild(ctx, path, js, cfg, progress); err != nil {
		return fmt.Errorf("rebuild read model: %w", err)
	}
	return nil
}

// rebuild is Rebuild. A damaged model is renamed only after the new content was filled
// and checked.
func rebuild(ctx context.Context, path string, js jetstream.JetStream, cfg Config, progress Progress) (err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return err
	}
	unlock, err := lockRebuild(path)
	if err != nil {
		return err
	}
	defer unlock()
	if err := checkReplaceable(ctx, path, cfg); err != nil {
		return err
	}
	fresh, err := openBeside(ctx, path+".rebuild", cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, fresh.Close(), remove(fresh.db.Path())) }()
	if err := fresh.fill(ctx, js, progress, nil); err != nil {
		return err
	}
	if err := fresh.check(ctx); err != nil {
		return err
	}
	err = install(ctx, path, fresh, js, cfg)
	if damaged(err) {
		current, unread := positionIn(ctx, path)
		if unread != nil {
			return fmt.Errorf("read the position in the damaged file: %w", unread)
		}
		if err := fresh.checkEnd(current); err != nil {
			return err
		}
		if err := SetAside(path, cfg); err != nil {
			return err
		}
		err = install(ctx, path, fresh, js, cfg)
	}
	return err
}

// lockRebuild ensures that one rebuild at a time fills the file beside the
// model: another one would remove it. The lock ends with the process.
func lockRebuild(path string) (unlock func(), err error) {
	name := path + ".rebuild.lock"
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) || err == nil && !isFileAt(f, name) {
		err = events.Errorf(events.Conflict, "another rebuild of the read model is running; wait until it has ended")
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() {
		_ = os.Remove(name) // an empty file that may stay
		_ = f.Close()       // which ends the lock
	}, nil
}

// isFileAt reports whether f is the file of that name: the process that had the
// lock before may have removed it in the meantime.
func isFileAt(f *os.File, name string) bool {
	opened, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(name)
	return err == nil && os.SameFile(opened, there)
}

// damaged reports whether a file must be set aside, because it is damaged or has a
// schema that this version cannot read.
func damaged(err error) bool {
	return errors.Is(err, database.ErrNotADatabase) || errors.Is(err, database.ErrChanged)
}

// checkReplaceable returns an error if the model at path cannot be replaced, such as one
// of a newer version. It creates a file that is missing.
func checkReplaceable(ctx context.Context, path string, cfg Config) error {
	m, err := Open(ctx, path, cfg)
	if err == nil {
		return m.Close()
	}
	if damaged(err) {
		return nil
	}
	return err
}

// install replaces the content of the model at path by that of fresh.
func install(ctx context.Context, path string, fresh *Model, js jetstream.JetStream, cfg Config) error {
	target, err := Open(ctx, path, cfg)
	if err != nil {
		return err
	}
	return errors.Join(target.replace(ctx, fresh, js), target.Close())
}

// positionIn returns the position stored in a damaged file; the zero Position if the damage
// keeps it from being read.
func positionIn(ctx context.Context, path string) (p stream.Position, err error) {
	db, err := sqlite.Open(ctx, path, sqlite.Config{})
	if damaged(err) {
		return p, nil
	}
	if err != nil {
		return p, err
	}
	defer db.Close() //nolint:errcheck // only read
	tx, err := db.Reader.BeginTxx(ctx, nil)
	if err == nil {
		defer func() { _ = tx.Rollback() }() // nothing was written
		p, err = readPosition(tx)
	}
	if err != nil {
		return stream.Position{}, context.Cause(ctx) // nil unless ctx has ended
	}
	return p, nil
}

// openBeside opens an empty model in a file beside the one it is to replace.
func openBeside(ctx context.Context, beside string, cfg Config) (*Model, error) {
	if err := remove(beside); err != nil {
		return nil, err
	}
	cfg.Log = slog.New(slog.DiscardHandler) // its errors are returned
	return Open(ctx, beside, cfg)
}

// fill applies the stream up to its end. If the stream is being filled again, it waits
// for the end that it will have then. Least, if set, returns a stream sequence that must
// be reached as well.
func (m *Model) fill(ctx context.Context, js jetstream.JetStream, progress Progress, least func() uint64) error {
	reading, stop := context.WithCancel(ctx)
	defer stop()
	f := &filler{applier: &applier{Model: m}, stop: stop, progress: progress, least: least}
	s := stream.NewReader(js, f, stream.Config{
		Stream: m.cfg.Stream, Interval: m.cfg.Interval, MaxBatch: m.cfg.MaxBatch,
		Compared: func(end uint64) {
			f.end = end
			f.reached(m.Position().StreamSequence)
		},
	})
	if err := s.Run(reading); err != nil {
		return err
	}
	return context.Cause(ctx) // nil unless ctx has ended
}

// filler is an applier that stops at the end of the stream.
type filler struct {
	*applier
	stop     func()
	progress Progress
	least    func() uint64
	end      uint64 // last sequence of the stream, as far as known
}

// Apply applies a batch, unless that contradicts what the outbox has recorded.
func (f *filler) Apply(ctx context.Context, b stream.Batch) error {
	if err := f.checkRecorded(b); err != nil {
		return err
	}
	if err := f.applier.Apply(ctx, b); err != nil {
		return err
	}
	f.end = max(f.end, b.Position.StreamSequence+b.Pending)
	f.reached(b.Position.StreamSequence)
	return nil
}

// checkRecorded returns a Conflict if the batch has the stream sequence of the event that
// the outbox has recorded last, but another event there.
func (f *filler) checkRecorded(b stream.Batch) error {
	want := f.cfg.Recorded
	for _, m := range b.Messages {
		if m.StreamSequence == want.StreamSequence && (m.Event.ID != want.ID || m.Event.Hash != want.Hash) {
			return events.Errorf(events.Conflict, "at stream sequence %d the stream has event %s, the outbox has recorded event %s: "+
				"stream and outbox.db do not belong together; restore those that do", m.StreamSequence, m.Event.ID, want.ID)
		}
	}
	return nil
}

// reached reports progress up to the stream sequence done, and stops reading at the end.
func (f *filler) reached(done uint64) {
	total := f.end
	if f.least != nil {
		total = max(total, f.least())
	}
	if f.progress != nil {
		f.progress(done, total)
	}
	if done >= total {
		f.stop()
	}
}

// fileSuffixes are those of the files of a database, the main file last.
var fileSuffixes = [...]string{"-wal", "-shm", ""}

// SetAside renames the files of a damaged model, so that they are kept.
func SetAside(path string, cfg Config) error {
	now := time.Now
	if cfg.Clock != nil {
		now = cfg.Clock
	}
	aside := path + ".damaged-" + now().UTC().Format("20060102T150405.000000000Z")
	for _, c := range fileSuffixes {
		if err := os.Rename(path+c, aside+c); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("rename the damaged file: %w", err)
		}
	}
	return nil
}

// remove deletes the files of a database, if there are any.
func remove(path string) error {
	var errs error
	for _, c := range fileSuffixes {
		if err := os.Remove(path + c); !errors.Is(err, os.ErrNotExist) {
			errs = errors.Join(errs, err)
		}
	}
	return errs
}
