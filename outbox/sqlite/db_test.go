package sqlite_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/jmoiron/sqlx"
	"go.uber.org/goleak"

	"github.com/seed-e88a4ece/signoff/outbox/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, path string) *sqlite.DB {
	t.Helper()
	db, err := sqlite.Open(t.Context(), path, sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func openTable(t testing.TB) *sqlite.DB {
	t.Helper()
	db := open(t, filepath.Join(t.TempDir(), "a ?#%41.db"))
	err := db.Update(t.Context(), func(tx *sqlx.Tx) error {
		_, err := tx.Exec("create table t (n integer primary key, body blob) strict")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func numbers(t testing.TB, db *sqlite.DB) []int {
	t.Helper()
	var n []int
	if err := db.Reader.Select(&n, "select n from t order by n"); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestOpen(t *testing.T) {
	t.Run("creates the file for its owner only, whatever characters its name has", func(t *testing.T) {
		db := openTable(t)
		for _, suffix := range []string{"", "-wal", "-shm"} {
			info, err := os.Stat(db.Path() + suffix)
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().Perm() != 0o600 {
				t.Errorf("%s has mode %o", suffix, info.Mode().Perm())
			}
		}
		entries, err := os.ReadDir(filepath.Dir(db.Path()))
		if err != nil || len(entries) != 3 {
			t.Errorf("the folder holds %v, %v", entries, err)
		}
	})
	t.Run("sets the log, the safety level and foreign keys on every connection", func(t *testing.T) {
		db := open(t, filepath.Join(t.TempDir(), "a.db"))
		for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1"} {
			var got string
			if err := db.Writer.Get(&got, "pragma "+pragma); err != nil || got != want {
				t.Errorf("%s is %s, %v", pragma, got, err)
			}
		}
	})
	t.Run("does not let a reader write", func(t *testing.T) {
		db := openTable(t)
		if _, err := db.Reader.Exec("insert into t (n) values (1)"); err == nil {
			t.Error("a reader wrote")
		}
	})
	t.Run("says that the folder is missing", func(t *testing.T) {
		_, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "none", "a.db"), sqlite.Config{})
		if !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	})
	t.Run("refuses a file that is something else", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "a.db")
		if err := os.WriteFile(path, []byte("this is a letter to the editor, and not short"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := sqlite.Open(t.Context(), path, sqlite.Config{}); !errors.Is(err, sqlite.ErrNotADatabase) {
			t.Error(err)
		}
	})
	t.Run("refuses a safety level it does not know", func(t *testing.T) {
		if _, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "a.db"), sqlite.Config{Synchronous: "OFF"}); err == nil {
			t.Error("opened")
		}
	})
}

func TestDataVersion(t *testing.T) {
	a := openTable(t)
	b := open(t, a.Path())
	version := func() int64 {
		t.Helper()
		v, err := a.DataVersion(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	before := version()
	if version() != before {
		t.Error("changes without a commit")
	}
	for _, db := range []*sqlite.DB{a, b} {
		if _, err := db.Writer.Exec("insert into t default values"); err != nil {
			t.Fatal(err)
		}
		now := version()
		if now == before {
			t.Error("does not change with a commit")
		}
		before = now
	}
}
