package sqlite

import (
	"errors"
	"fmt"

	"github.com/mattn/go-sqlite3"

	"github.com/seed-e88a4ece/signoff/outbox/database"
)

// explain wraps an error of the driver in the reason. It returns other errors as
// they are.
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
		return database.ErrNotADatabase
	case sqlite3.ErrReadonly, sqlite3.ErrCantOpen, sqlite3.ErrPerm:
		return database.ErrReadOnly
	case sqlite3.ErrBusy, sqlite3.ErrLocked:
		return database.ErrBusy
	case sqlite3.ErrFull:
		return database.ErrFull
	default:
		return nil
	}
}
