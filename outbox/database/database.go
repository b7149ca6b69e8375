// Package database is what the program's stores share, whatever database system
// they use: transactions that many callers commit together, forward-only
// migrations, one way of reading rows, and errors for the reasons of failure.
//
// It imports no driver. What differs between systems is a System; package
// sqlite has the one in use, and a second one has to pass the tests of package
// conformance. Statements are portable: question marks as parameters, returning
// in place of the driver's last insert id, upserts that name their target, quoted
// names where a word is reserved in one system.
//
// A parameter written as an expression, "= +?", keeps SQLite from planning a join
// anew at each execution (see package sqlite); it means the same everywhere.
package database

import (
	"context"
	"errors"

	"github.com/jmoiron/sqlx"
)

// System is what a database system supplies. Its methods may be called
// concurrently.
type System interface {
	// Begin begins a write transaction.
	Begin(ctx context.Context) (*sqlx.Tx, error)

	// Restart undoes everything in the transaction tx, in which no savepoint is
	// open, and begins it again.
	Restart(tx *sqlx.Tx) error

	// MaxShared returns the largest number of updates that share a transaction.
	MaxShared() int

	// JSONRows returns a table expression with one parameter: the text of a JSON
	// array of arrays, each of them a row of the columns named.
	JSONRows(columns ...string) string

	// Explain wraps an error of the driver in the reason, one of this package's
	// errors. It returns other errors as they are.
	Explain(err error) error

	// Version returns a number that changes whenever any connection, in this
	// process or another, has committed.
	Version(ctx context.Context) (int64, error)

	// Maintain does the system's work in the background until ctx ends, and
	// then returns nil.
	Maintain(ctx context.Context) error

	// Close closes all connections.
	Close() error
}

// Reasons for which a database fails. An error that wraps one of them wraps the
// driver's error too.
var (
	ErrNotADatabase = errors.New("the file is not a database of this system, or it is damaged; restore it from a backup")
	ErrReadOnly     = errors.New("the database cannot be written; check its permissions and that the disk is not mounted read-only")
	ErrBusy         = errors.New("another process is writing to the database; try again")
	ErrFull         = errors.New("the disk is full; free some space and try again")
	ErrClosed       = errors.New("the database is closed")
)

// DB is an open database. Its methods may be called concurrently.
type DB struct {
	Writer *sqlx.DB // for write transactions of a host's own; Update is for all others
	Reader *sqlx.DB // a pool that cannot write; each statement sees the last commit

	system System
	group  group
}

// New returns a database on two pools of connections of a system.
func New(writer, reader *sqlx.DB, system System) *DB {
	return &DB{Writer: writer, Reader: reader, system: system, group: newGroup()}
}

// Version returns a number that changes whenever any connection, in this
// process or another, has committed to the database.
func (db *DB) Version(ctx context.Context) (int64, error) { return db.system.Version(ctx) }

// AtOneMoment calls fn with a transaction that sees the database as it is at one moment,
// whatever is committed meanwhile.
func (db *DB) AtOneMoment(ctx context.Context, fn func(Querier) error) error {
	tx, err := db.Reader.BeginTxx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	return fn(tx)
}

// Maintain does the database system's work in the background until ctx ends,
// and then returns nil. After an error, call it again: nothing is lost, and
// updates continue meanwhile.
func (db *DB) Maintain(ctx context.Context) error { return db.system.Maintain(ctx) }

// JSONRows returns a table expression with one parameter: the text of a JSON
// array of arrays, each of them a row of the columns named. So many rows are
// written by one statement.
func (db *DB) JSONRows(columns ...string) string { return db.system.JSONRows(columns...) }

// Explain wraps an error of the driver in the reason, one of this package's
// errors. It returns other errors as they are. Update does so by itself.
func (db *DB) Explain(err error) error { return db.system.Explain(err) }

// Close waits for running updates, refuses later ones with ErrClosed, and
// closes all connections.
func (db *DB) Close() error {
	db.group.close()
	return db.system.Close()
}
