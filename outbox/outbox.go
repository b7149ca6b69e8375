package outbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/sqlite"
)

const (
	watchEvery      = 50 * time.Millisecond // how often Run looks for commits of other processes
	checkpointAgain = time.Second           // after one that failed
)

// Config says how an outbox works.
type Config struct {
	// Namespace is fixed when the outbox is created. An empty part defaults to
	// what is stored, and at creation to events.DefaultNamespace.
	Namespace events.Namespace
	Clock     func() time.Time // defaults to time.Now
	NewID     func() string    // ids of events; defaults to UUIDv7
	Log       *slog.Logger     // defaults to slog.Default()

	// Step is called between the steps of a sign-off, with their names, so
	// that a test can end the process there. Defaults to nothing.
	Step func(name string)
}

// Outbox is an open outbox. Its methods may be called concurrently, and
// several processes may hold the same outbox open.
type Outbox struct {
	db        *sqlite.DB
	namespace events.Namespace
	clock     func() time.Time
	newID     func() string
	log       *slog.Logger
	step      func(string)
	changed   chan struct{}
	passwords passwords
	counters  counters
}

// Open opens the outbox at path and creates it where there is none. It is a
// Conflict if the outbox was created with another namespace; other errors are
// those of sqlite.Open and sqlite.ErrNewer.
func Open(ctx context.Context, path string, cfg Config) (*Outbox, error) {
	db, err := sqlite.Open(ctx, path, sqlite.Config{})
	if err != nil {
		return nil, err
	}
	o := &Outbox{
		db:       db,
		clock:    cfg.Clock,
		newID:    cfg.NewID,
		log:      cmp.Or(cfg.Log, slog.Default()),
		step:     cfg.Step,
		changed:  make(chan struct{}, 1),
		counters: newCounters(),
	}
	if o.clock == nil {
		o.clock = time.Now
	}
	if o.newID == nil {
		o.newID = newUUID
	}
	if o.step == nil {
		o.step = func(string) {}
	}
	o.passwords = newPasswords()
	if err := o.prepare(ctx, cfg.Namespace); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return o, nil
}

func (o *Outbox) prepare(ctx context.Context, ns events.Namespace) error {
	schema, err := schemaFiles()
	if err != nil {
		return err
	}
	if err := o.db.Migrate(ctx, schema); err != nil {
		return err
	}
	return o.update(ctx, "fix the namespace", func(w *work) error {
		origin, err := w.settle("origin", ns.Origin, events.DefaultNamespace.Origin)
		if err != nil {
			return err
		}
		prefix, err := w.settle("type prefix", ns.TypePrefix, events.DefaultNamespace.TypePrefix)
		if err != nil {
			return err
		}
		o.namespace = events.Namespace{Origin: origin, TypePrefix: prefix}
		if err := o.namespace.Validate(); err != nil {
			return err
		}
		return w.tellUntold()
	})
}

// settle gives the stored value of a setting, and stores the one wanted, or
// the default, where there is none.
func (w *work) settle(name, wanted, standard string) (string, error) {
	var stored []string
	if err := w.tx.Select(&stored, `select value from settings where name = ?`, name); err != nil {
		return "", err
	}
	if len(stored) == 1 {
		if wanted != "" && wanted != stored[0] {
			return "", events.Errorf(events.Conflict,
				"this outbox was created with the %s %q, which cannot change; %q was asked for", name, stored[0], wanted)
		}
		return stored[0], nil
	}
	value := cmp.Or(wanted, standard)
	_, err := w.tx.Exec(`insert into settings (name, value) values (?, ?)`, name, value)
	return value, err
}

// Namespace is what the events of this outbox bear.
func (o *Outbox) Namespace() events.Namespace { return o.namespace }

// DB is the outbox's database, for a host that keeps tables of its own in the
// same file. See SignOffTx.
func (o *Outbox) DB() *sqlite.DB { return o.db }

// Close waits for running calls and closes the database.
func (o *Outbox) Close() error { return o.db.Close() }

// Run does the outbox's work in the background until ctx ends: it notices
// commits of other processes, for Changed, and moves the database's log.
func (o *Outbox) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return o.checkpoint(ctx) })
	g.Go(func() error { return o.watch(ctx) })
	return g.Wait()
}

// checkpoint keeps the database's log short. Where that fails, as on a full
// disk, the log grows meanwhile; nothing is lost, and whoever reads goes on.
func (o *Outbox) checkpoint(ctx context.Context) error {
	for {
		err := o.db.RunCheckpoints(ctx)
		if err == nil {
			return nil
		}
		o.log.Warn("cannot checkpoint the outbox", "cause", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(checkpointAgain):
		}
	}
}

func (o *Outbox) watch(ctx context.Context) error {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	var seen int64
	for {
		version, err := o.db.DataVersion(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("watch the outbox: %w", err)
		}
		if version != seen {
			seen = version
			o.Wake()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// Changed delivers a value when events may be pending: after a commit in this
// process at once, after one in another while Run runs. It never closes, and
// several commits may give one value.
func (o *Outbox) Changed() <-chan struct{} { return o.changed }

// Wake makes Changed deliver. A host calls it after it has committed a
// transaction with SignOffTx, lest the publisher finds out 50 ms later.
func (o *Outbox) Wake() {
	select {
	case o.changed <- struct{}{}:
	default:
	}
}

func newUUID() string { return uuid.Must(uuid.NewV7()).String() }
