package sqlite

import (
	"errors"
	"fmt"

	"github.com/mattn/go-sqlite3"
)

// Reasons for which a database does not do what is asked. The error that holds
// one holds the driver's error too.
var (
	ErrNotADatabase = errors.New("the file is not a SQLite database, or it is damaged; restore it from a backup")
	ErrReadOnly     = errors.New("the database cannot be written; check its permissions and that the disk is not mounted read-only")
	ErrBusy         = errors.New("another process is writing to the database; try again")
	ErrFull         = errors.New("the disk is full; make room and try again")
	ErrClosed       = errors.New("the database is closed")
)

// explain puts the reason before an error of the driver. Others stay as they are.
func explain(err error) error {
	var e sqlite3.Error
	if !errors.As(err, &e) {
		return err
	}
	reason := reasonOf(e)
	if reason == nil || errors.Is(err, reason) {
		return err
	}
	return fmt.Errorf("%w: %w", reason, err)
}

func reasonOf(e sqlite3.Error) error {
	switch e.Code {
	case sqlite3.ErrNotADB, sqlite3.ErrCorrupt:
		return ErrNotADatabase
	case sqlite3.ErrReadonly, sqlite3.ErrCantOpen, sqlite3.ErrPerm:
		return ErrReadOnly
	case sqlite3.ErrBusy, sqlite3.ErrLocked:
		return ErrBusy
	case sqlite3.ErrFull:
		return ErrFull
	default:
		return nil
	}
}
