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

type migration struct {
	Name   string `db:"name"`
	SHA256 string `db:"sha256"`
	text   string
}

// Migrate brings the schema up to date: it runs those *.sql files of the
// folder that were not run before, in the order of their names, all in one
// transaction. What was run must be unchanged (else ErrChanged) and the first
// of the files (else ErrNewer).
func (db *DB) Migrate(ctx context.Context, migrations fs.FS) error {
	known, err := readMigrations(migrations)
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	err = db.Update(ctx, func(tx *sqlx.Tx) error { return migrate(tx, known) })
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
	known := make([]migration, 0, len(names))
	for _, name := range names {
		text, err := fs.ReadFile(folder, name)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(text)
		known = append(known, migration{Name: name, SHA256: hex.EncodeToString(sum[:]), text: string(text)})
	}
	return known, nil
}

func migrate(tx *sqlx.Tx, known []migration) error {
	_, err := tx.Exec(`
		create table if not exists migrations (
			name    text primary key,
			sha256  text not null,
			applied text not null
		) strict, without rowid`)
	if err != nil {
		return err
	}
	var applied []migration
	if err := tx.Select(&applied, `select name, sha256 from migrations order by name`); err != nil {
		return err
	}
	for i, a := range applied {
		if i >= len(known) || known[i].Name != a.Name {
			return fmt.Errorf("%s: %w", a.Name, ErrNewer)
		}
		if known[i].SHA256 != a.SHA256 {
			return fmt.Errorf("%s: %w", a.Name, ErrChanged)
		}
	}
	for _, m := range known[len(applied):] {
		if _, err := tx.Exec(m.text); err != nil {
			return fmt.Errorf("%s: %w", m.Name, err)
		}
		_, err := tx.Exec(`
			insert into migrations (name, sha256, applied)
			values (?, ?, ?)`,
			m.Name, m.SHA256, time.Now().UTC().Format("2006-01-02T15:04:05.000000Z"))
		if err != nil {
			return err
		}
	}
	return nil
}
