package database

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"
)

// Reasons for which a database's schema is refused.
var (
	ErrNewer   = errors.New("the database was written by a newer version of signoff; run that version")
	ErrChanged = errors.New("a migration that was applied differs from the one in this version; run the version that wrote the database")
)

type migration struct{ name, sha256, text string }

// Migrate brings the schema up to date: it runs the *.sql files of the folder
// that were not run before, in the order of their names.
//
// All of them run in one transaction, so that a program that is killed, or a
// statement that fails, leaves the schema of before. The files that were run
// before must be the first ones of the folder, else the database is of a newer
// version (ErrNewer); and they must be unchanged, by their digest, else the
// schema is not the one that this version expects (ErrChanged). So a migration
// is never edited once it is released; a later one corrects it.
//
// Each of after is called in the same transaction, also where no migration is
// run: it does what SQL alone cannot.
func (db *DB) Migrate(ctx context.Context, migrations fs.FS, after ...func(tx *sqlx.Tx) error) error {
	released, err := readMigrations(migrations)
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	err = db.Update(ctx, func(tx *sqlx.Tx) error {
		if err := migrate(tx, released); err != nil {
			return err
		}
		for _, fn := range after {
			if err := fn(tx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

func readMigrations(folder fs.FS) ([]migration, error) {
	names, err := fs.Glob(folder, "*.sql")
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	released := make([]migration, 0, len(names))
	for _, name := range names {
		text, err := fs.ReadFile(folder, name)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(text)
		released = append(released, migration{name: name, sha256: hex.EncodeToString(sum[:]), text: string(text)})
	}
	return released, nil
}

func migrate(tx *sqlx.Tx, released []migration) error {
	_, err := tx.Exec(`
		create table if not exists migrations (
			name    text primary key,
			sha256  text not null,
			applied text not null
		) strict, without rowid`)
	if err != nil {
		return err
	}
	applied, err := List(context.Background(), tx, func(row Row) (m migration, err error) {
		return m, row.Scan(&m.name, &m.sha256)
	}, `select name, sha256 from migrations order by name`)
	if err != nil {
		return err
	}
	for i, a := range applied {
		if i >= len(released) || released[i].name != a.name {
			return fmt.Errorf("%s: %w", a.name, ErrNewer)
		}
		if released[i].sha256 != a.sha256 {
			return fmt.Errorf("%s: %w", a.name, ErrChanged)
		}
	}
	for _, m := range released[len(applied):] {
		if _, err := tx.Exec(m.text); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		_, err := tx.Exec(`
			insert into migrations (name, sha256, applied)
			values (?, ?, ?)`,
			m.name, m.sha256, time.Now().UTC().Format("2006-01-02T15:04:05.000000Z"))
		if err != nil {
			return err
		}
	}
	return nil
}
