package conformance

import (
	"errors"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/jmoiron/sqlx"

	"github.com/seed-e88a4ece/signoff/outbox/database"
)

func files(pairs ...string) fstest.MapFS {
	m := fstest.MapFS{}
	for pair := range slices.Chunk(pairs, 2) {
		m[pair[0]] = &fstest.MapFile{Data: []byte(pair[1])}
	}
	return m
}

func testMigrate(t *testing.T, open Open) {
	first := []string{"001.sql", "create table t (n integer); insert into t values (1)"}
	second := []string{"002.sql", "insert into t values (2)"}
	both := append(append([]string{}, first...), second...)

	t.Run("runs each file once, in order", func(t *testing.T) {
		db := empty(t, open)
		for _, f := range []fstest.MapFS{files(first...), files(both...), files(both...)} {
			if err := db.Migrate(t.Context(), f); err != nil {
				t.Fatal(err)
			}
		}
		if n := numbers(t, db); len(n) != 2 {
			t.Errorf("holds %v", n)
		}
	})
	t.Run("refuses a database of a newer version", func(t *testing.T) {
		db := empty(t, open)
		if err := db.Migrate(t.Context(), files(both...)); err != nil {
			t.Fatal(err)
		}
		if err := db.Migrate(t.Context(), files(first...)); !errors.Is(err, database.ErrNewer) {
			t.Error(err)
		}
	})
	t.Run("refuses a migration that changed after it ran", func(t *testing.T) {
		db := empty(t, open)
		if err := db.Migrate(t.Context(), files(first...)); err != nil {
			t.Fatal(err)
		}
		if err := db.Migrate(t.Context(), files("001.sql", "create table other (n integer)")); !errors.Is(err, database.ErrChanged) {
			t.Error(err)
		}
	})
	t.Run("leaves nothing of a run that fails", func(t *testing.T) {
		db := empty(t, open)
		if err := db.Migrate(t.Context(), files(append(first, "002.sql", "nonsense")...)); err == nil {
			t.Fatal("nonsense ran")
		}
		if err := db.Migrate(t.Context(), files(both...)); err != nil {
			t.Error(err)
		}
	})
	t.Run("does what comes after the files in their transaction", func(t *testing.T) {
		db := empty(t, open)
		failed := errors.New("failed")
		insert := func(tx *sqlx.Tx) error {
			_, err := tx.Exec("insert into t values (3)")
			return err
		}
		if err := db.Migrate(t.Context(), files(first...), insert, func(*sqlx.Tx) error { return failed }); !errors.Is(err, failed) {
			t.Fatal(err)
		}
		if err := db.Migrate(t.Context(), files(first...), insert); err != nil {
			t.Fatal(err)
		}
		if n := numbers(t, db); len(n) != 2 {
			t.Errorf("holds %v", n)
		}
	})
}
