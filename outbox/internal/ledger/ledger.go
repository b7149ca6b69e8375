// Package ledger appends to the outbox what is never changed: the events of a
// study, numbered without gaps, timed and chained, and the lines of the audit
// trail. Both are written in a transaction of the caller's, together with the
// state that they are about.
//
// The chain of a study is its events, each with the hash of the one before; the chain
// head is the number and hash of the last one. The trail head is the number and hash of
// the last line of the audit trail. State is the rows that, unlike events and lines, can
// change; many of them name the line of their last change.
//
// The package does not know what an assessment or a partner is.
package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/database"
)

// Config configures a ledger.
type Config struct {
	// Namespace is fixed when the outbox is created. An empty part defaults to
	// what is stored, and at creation to events.DefaultNamespace.
	Namespace events.Namespace
	Clock     func() time.Time // Defaults to time.Now.
	NewID     func() string    // ids of events. Defaults to UUIDv7.

	// Elapsed returns the time since some moment by a clock that is never set.
	// Defaults to the process's monotonic clock.
	Elapsed func() time.Duration
}

// Ledger is the ledger of an open outbox. Its methods may be called
// concurrently.
type Ledger struct {
	DB *database.DB

	namespace events.Namespace
	clock     func() time.Time
	newID     func() string
	changed   signal
	process   origin // of what this process writes
	watch     clockWatch
}

// Open migrates the database's schema, begins the hash chain of the audit trail if there
// is none, and stores the namespace if there is none. The error is a Conflict if the
// outbox was created with another namespace.
func Open(ctx context.Context, db *database.DB, schema fs.FS, cfg Config) (*Ledger, error) {
	l := &Ledger{DB: db, clock: cfg.Clock, newID: cfg.NewID, changed: newSignal(), process: thisProcess()}
	if l.clock == nil {
		l.clock = time.Now
	}
	if l.newID == nil {
		l.newID = func() string { return uuid.Must(uuid.NewV7()).String() }
	}
	err := db.Migrate(ctx, schema, func(tx *sqlx.Tx) error { return l.In(ctx, tx).startChain() })
	if err != nil {
		return nil, err
	}
	err = l.Update(ctx, "read the namespace", func(tx *Tx) (err error) {
		l.namespace, err = tx.ensureNamespace(cfg.Namespace)
		return err
	})
	if err != nil {
		return nil, err
	}
	var accepted string
	if err := db.Reader.GetContext(ctx, &accepted, `select accepted from clock`); err != nil {
		return nil, fmt.Errorf("read the accepted time: %w", err)
	}
	l.watch.start(cfg.Elapsed, l.Now(), accepted)
	return l, nil
}

// ensureNamespace returns the stored namespace. Where there is none it stores want, with
// defaults for its empty parts.
func (tx *Tx) ensureNamespace(want events.Namespace) (ns events.Namespace, err error) {
	if ns.Origin, err = tx.ensureSetting("origin", want.Origin, events.DefaultNamespace.Origin); err != nil {
		return ns, err
	}
	if ns.TypePrefix, err = tx.ensureSetting("type prefix", want.TypePrefix, events.DefaultNamespace.TypePrefix); err != nil {
		return ns, err
	}
	return ns, ns.Validate()
}

// ensureSetting returns the stored value of a setting. Where there is none it stores
// wanted, or standard if wanted is empty. The error is a Conflict if another value than
// wanted is stored.
func (tx *Tx) ensureSetting(name, wanted, standard string) (string, error) {
	var stored string
	err := tx.QueryRow(`select value from settings where name = ?`, name).Scan(&stored)
	if err == nil && wanted != "" && wanted != stored {
		return "", events.Errorf(events.Conflict,
			"this outbox was created with the %s %q, which cannot change; open it with that one instead of %q", name, stored, wanted)
	}
	if !errors.Is(err, sql.ErrNoRows) { // it is stored, or cannot be read
		return stored, err
	}
	value := cmp.Or(wanted, standard)
	_, err = tx.Exec(`insert into settings (name, value) values (?, ?)`, name, value)
	return value, err
}

// Namespace returns the origin and the type prefix of this outbox's events.
func (l *Ledger) Namespace() events.Namespace { return l.namespace }

// Now returns the time: UTC, to the microsecond.
func (l *Ledger) Now() time.Time { return l.clock().UTC().Truncate(time.Microsecond) }

// Changed returns the channel of the publisher. It receives after each Update and each
// Wake. Several of them may send one value. Only one goroutine may receive from it.
func (l *Ledger) Changed() <-chan struct{} { return l.changed.first }

// Watch returns a channel of the caller's own that receives as that of Changed does. The
// caller calls stop when it does not receive from it any more.
func (l *Ledger) Watch() (changed <-chan struct{}, stop func()) { return l.changed.watch() }

// Wake makes the channels of Changed and Watch receive.
func (l *Ledger) Wake() { l.changed.send() }

// Tx is a write transaction and the one moment at which it happens. Its
// statements have no context: if one were interrupted, the database would undo
// the updates of all who share the transaction.
type Tx struct {
	*sqlx.Tx
	Now    time.Time // UTC, to the microsecond
	Ledger *Ledger

	lastEvent int64     // the highest events.row; valid once a chain was opened
	trail     TrailHead // number and hash of the last line of the audit trail; zero until they are read
	address   string    // of the client, for the audit trail
}

// In returns a Tx, as of now, for a transaction that was begun on the database. It uses
// ctx only for the address of the client; see WithAddress.
func (l *Ledger) In(ctx context.Context, tx *sqlx.Tx) *Tx {
	return &Tx{Tx: tx, Now: l.Now(), Ledger: l, address: addressOf(ctx)}
}

// Update runs fn in a transaction, which it may share with other callers, and after the
// commit makes Changed receive. Errors begin with the verb; see Explain.
func (l *Ledger) Update(ctx context.Context, verb string, fn func(*Tx) error) error {
	if err := l.UpdateSilently(ctx, verb, fn); err != nil {
		return err
	}
	l.Wake()
	return nil
}

// UpdateSilently is Update for a change after which there is nothing to publish.
func (l *Ledger) UpdateSilently(ctx context.Context, verb string, fn func(*Tx) error) error {
	err := l.DB.Update(ctx, func(tx *sqlx.Tx) error { return fn(l.In(ctx, tx)) })
	if err != nil {
		return Explain(verb, err)
	}
	return nil
}

// Administer is Update for a change by an operator, a source or the program. It returns
// an error unless by is a valid name of them.
func (l *Ledger) Administer(ctx context.Context, by, verb string, fn func(*Tx) error) error {
	if err := ValidActor(by); err != nil {
		return err
	}
	return l.Update(ctx, verb, fn)
}

// ValidActor returns an error unless by can stand in the audit trail as an actor.
func ValidActor(by string) error {
	if by == "" || len(by) > 256 {
		return events.Fieldf("by", "must name who acts, in at most 256 bytes")
	}
	return nil
}

// Explain wraps err with the verb. An error of the database that may be temporary becomes
// an Unavailable Error. An events.Error is returned as it is.
func Explain(verb string, err error) error {
	for _, temporary := range []error{database.ErrBusy, database.ErrFull, database.ErrReadOnly, database.ErrClosed} {
		if errors.Is(err, temporary) {
			return &events.Error{
				Code:    events.Unavailable,
				Message: "nothing was recorded: " + temporary.Error(),
				Err:     fmt.Errorf("%s: %w", verb, err),
			}
		}
	}
	var refusal *events.Error
	if errors.As(err, &refusal) {
		return err
	}
	return fmt.Errorf("%s: %w", verb, err)
}

// ChangedOne reports whether a statement has changed exactly one row.
func ChangedOne(result interface{ RowsAffected() (int64, error) }) bool {
	n, err := result.RowsAffected()
	return n == 1 && err == nil
}

// MustChangeOne returns an error unless a compare-and-swap has changed exactly
// one row.
func MustChangeOne(result interface{ RowsAffected() (int64, error) }, what string) error {
	n, err := result.RowsAffected()
	if err == nil && n != 1 {
		err = fmt.Errorf("%s: changed %d rows instead of one", what, n)
	}
	return err
}

// State scans a row of one column, in which a value is stored as JSON.
func State[T any](row database.Row) (state T, err error) {
	text, err := database.Value[[]byte](row)
	if err != nil {
		return state, err
	}
	return state, json.Unmarshal(text, &state)
}
