// Package outbox is the write side: it registers assessments, signs them off and
// withdraws them, writes the audit trail, and stores every event, also after the
// publisher has published it. PIs, partners and keys are in its Accounts, and what
// PIs see of cases in its Reviews.
//
// A version is the content of an assessment under a pair of revisions: that of the
// case and that of the assessment. A version waits from its registration until it
// is signed or a later registration replaces it. A report is the signed version as
// partners read it; it is available until it is withdrawn or superseded. An event
// is pending until the stream sequence that the broker gave it is stored. A study
// whose events the broker refuses is parked: its events are not pending until it is
// released.
//
// A sign-off is one transaction: the state of the assessment, the signature, the
// line in the audit trail, the study number and the event are stored together or
// not at all. When a method returns without an error, they are on disk. Events of
// a study are numbered without gaps, their times strictly increase, and each has
// the hash of the one before. What was signed, published or audited is never
// changed or deleted; the database itself refuses it.
//
// The package does not publish, and it does not authenticate: SignOff and
// Withdraw take a user name that the caller has authenticated, for instance by
// Accounts.Authenticate.
package outbox

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/retry"
	"github.com/seed-e88a4ece/signoff/outbox/accounts"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
	"github.com/seed-e88a4ece/signoff/outbox/internal/stored"
	"github.com/seed-e88a4ece/signoff/outbox/receipts"
	"github.com/seed-e88a4ece/signoff/outbox/review"
	"github.com/seed-e88a4ece/signoff/outbox/sqlite"
)

const (
	watchEvery      = 50 * time.Millisecond // how often Run looks for commits of other processes
	checkpointAgain = time.Second           // longest pause after a checkpoint that failed
	trailEvery      = time.Minute           // least time between two events with the head of the audit trail
)

// Config configures an outbox.
type Config struct {
	// Namespace is fixed when the outbox is created. An empty part defaults to
	// what is stored, and at creation to events.DefaultNamespace.
	Namespace events.Namespace
	Clock     func() time.Time // Defaults to time.Now.
	NewID     func() string    // ids of events. Defaults to UUIDv7.
	Log       *slog.Logger     // Defaults to slog.Default().

	// CheckClock makes SignOff, SignOffTx and Withdraw return a Conflict while the
	// clock is more than five minutes behind the outbox's last event. They also do
	// so while it is more than a day ahead both of that event and of the last time
	// that EveryMinute stored. AcceptClock ends the refusals. Without the check, one
	// event with a time far ahead would put all later events of its study at that
	// time. Defaults to no check.
	CheckClock bool

	// Elapsed returns the time since some moment by a clock that is never set.
	// Defaults to the process's monotonic clock.
	Elapsed func() time.Duration

	// Step is called with the name of each step of a sign-off, so that a test
	// can end the process there. Defaults to nothing.
	Step func(name string)
}

//go:embed schema/*.sql
var schema embed.FS

// Outbox is an open outbox. Its methods may be called concurrently, and
// several processes may have the same outbox open.
type Outbox struct {
	db       *sqlite.DB
	ledger   *ledger.Ledger
	accounts *accounts.Accounts
	receipts *receipts.Receipts
	reviews  *review.Reviews
	contents *stored.Contents
	log      *slog.Logger
	step     func(string)
	counters counters

	checkClock bool
	schema     fs.FS
	trail      finding // of the check of the audit trail by Run
	clock      finding // of the last call of noteTime
}

// finding holds the error of the last check of something; nil where that check
// passed or was not made yet.
type finding struct{ err atomic.Pointer[error] }

func (f *finding) set(err error) { f.err.Store(&err) }

func (f *finding) get() error {
	if err := f.err.Load(); err != nil {
		return *err
	}
	return nil
}

// Open opens the outbox in the file at path and creates it where there is none.
// The error is a Conflict if the outbox was created with another namespace; other
// errors are those of sqlite.Open and database.ErrNewer.
func Open(ctx context.Context, path string, cfg Config) (*Outbox, error) {
	db, err := sqlite.Open(ctx, path, sqlite.Config{})
	if err != nil {
		return nil, err
	}
	o := &Outbox{
		db: db, log: cmp.Or(cfg.Log, slog.Default()), step: cfg.Step, counters: newCounters(),
		checkClock: cfg.CheckClock,
	}
	if o.step == nil {
		o.step = func(string) {}
	}
	if err := o.prepare(ctx, cfg); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return o, nil
}

// prepare migrates the schema and opens the parts of the outbox. Open closes the
// database if it fails.
func (o *Outbox) prepare(ctx context.Context, cfg Config) (err error) {
	if o.schema, err = fs.Sub(schema, "schema"); err != nil {
		return err
	}
	o.ledger, err = ledger.Open(ctx, o.db.DB, o.schema, ledger.Config{Namespace: cfg.Namespace, Clock: cfg.Clock, NewID: cfg.NewID, Elapsed: cfg.Elapsed})
	if err != nil {
		return err
	}
	o.contents = stored.NewContents()
	o.receipts, o.reviews = receipts.New(o.ledger), review.New(o.ledger, o.contents)
	o.accounts, err = accounts.Open(ctx, o.ledger, o.log)
	return err
}

// Namespace returns the origin and the type prefix of this outbox's events.
func (o *Outbox) Namespace() events.Namespace { return o.ledger.Namespace() }

// DB returns the outbox's database, for a host that keeps tables of its own in
// the same file. See SignOffTx.
func (o *Outbox) DB() *database.DB { return o.db.DB }

// Owns reports whether path is one of the outbox's own files, which nothing else
// in this process may open.
func (o *Outbox) Owns(path string) bool { return o.db.Owns(path) }

// Accounts returns the PIs, partners and keys.
func (o *Outbox) Accounts() *accounts.Accounts { return o.accounts }

// Receipts returns the receipts: how far each partner got in its studies.
func (o *Outbox) Receipts() *receipts.Receipts { return o.receipts }

// Reviews returns the cases as PIs see them.
func (o *Outbox) Reviews() *review.Reviews { return o.reviews }

// Source returns the events for the publisher.
func (o *Outbox) Source() *Source { return &Source{o.ledger} }

// Close waits for running calls and closes the database.
func (o *Outbox) Close() error { return o.db.Close() }

// transaction is a write transaction of this package.
type transaction struct {
	*ledger.Tx
	o *Outbox
}

// update runs fn in a transaction, which it may share with other callers, and
// wakes the publisher.
func (o *Outbox) update(ctx context.Context, verb string, fn func(*transaction) error) error {
	return o.ledger.Update(ctx, verb, func(tx *ledger.Tx) error { return fn(&transaction{tx, o}) })
}

// Run does the outbox's work in the background until ctx ends, and then returns
// nil. It wakes the publisher after commits of other processes, keeps the
// database's write-ahead log short, and writes failed sign-ins of clients to the
// database. It checks the audit trail once, and then calls EveryMinute each minute.
func (o *Outbox) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return o.checkpoint(ctx) })
	g.Go(func() error { return o.watch(ctx) })
	g.Go(func() error { return o.watchTrail(ctx) })
	g.Go(func() error { return o.accounts.Run(ctx) })
	return g.Wait()
}

// checkpoint keeps the database's write-ahead log short until ctx ends. While that
// fails, as on a full disk, it tries again and the log grows. Nothing is lost, and
// reading continues.
func (o *Outbox) checkpoint(ctx context.Context) error {
	loop := retry.Loop{Longest: checkpointAgain, Failed: func(err error) { o.log.Warn("cannot checkpoint the outbox", "cause", err) }}
	return loop.Run(ctx, func(ctx context.Context, _ func()) error { return o.db.Maintain(ctx) })
}

// watch wakes the publisher when the database's version has changed, that is, after
// a commit of any process.
func (o *Outbox) watch(ctx context.Context) error {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	var seen int64 // the version at the last look
	for {
		version, err := o.db.Version(ctx)
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

// Watch returns a channel that receives after each commit to the outbox; one value may
// stand for several. A commit of another process is noticed within 50 ms while Run runs.
// The caller calls stop when it does not receive from the channel any more.
func (o *Outbox) Watch() (changed <-chan struct{}, stop func()) { return o.ledger.Watch() }

// Wake wakes the publisher. A host calls it after it has committed a transaction
// with SignOffTx; otherwise Run does so within 50 ms.
func (o *Outbox) Wake() { o.ledger.Wake() }
