// Package conformance tests a database system: what the stores of the program
// rely on, whatever system keeps their rows.
//
//	func TestConformance(t *testing.T) {
//		conformance.Test(t, func(t testing.TB, path string) (*database.DB, error) { … })
//	}
package conformance

import (
	"path/filepath"
	"testing"

	"github.com/jmoiron/sqlx"

	"github.com/seed-e88a4ece/signoff/outbox/database"
)

// Open opens the database that path names, and creates it where there is none.
// A second call with the same path opens the same database once more.
type Open func(t testing.TB, path string) (*database.DB, error)

// Test runs all tests.
func Test(t *testing.T, open Open) {
	t.Run("Update", func(t *testing.T) { testUpdate(t, open) })
	t.Run("Update outlives", func(t *testing.T) { testUpdateOutlives(t, open) })
	t.Run("many callers", func(t *testing.T) { testManyCallers(t, open) })
	t.Run("Migrate", func(t *testing.T) { testMigrate(t, open) })
	t.Run("Reader", func(t *testing.T) { testReader(t, open) })
	t.Run("JSONRows", func(t *testing.T) { testJSONRows(t, open) })
	t.Run("Version", func(t *testing.T) { testVersion(t, open) })
}

func testReader(t *testing.T, open Open) {
	t.Run("does not write", func(t *testing.T) {
		db := table(t, open)
		if _, err := db.Reader.Exec("insert into t (n) values (1)"); err == nil {
			t.Error("a reader wrote")
		}
	})
	t.Run("sees each commit once Update has returned", func(t *testing.T) {
		db := table(t, open)
		for n := range 20 {
			if err := db.Update(t.Context(), insert(n)); err != nil {
				t.Fatal(err)
			}
			if got := len(numbers(t, db)); got != n+1 {
				t.Fatalf("sees %d rows after %d commits", got, n+1)
			}
		}
	})
}

func testVersion(t *testing.T, open Open) {
	path := filepath.Join(t.TempDir(), "a.db")
	a, b := at(t, open, path), at(t, open, path)
	create(t, a)
	version := func() int64 {
		t.Helper()
		v, err := a.Version(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	before := version()
	if version() != before {
		t.Error("changes without a commit")
	}
	for n, db := range []*database.DB{a, b} {
		if err := db.Update(t.Context(), insert(n)); err != nil {
			t.Fatal(err)
		}
		now := version()
		if now == before {
			t.Error("does not change with a commit")
		}
		before = now
	}
}

func testJSONRows(t *testing.T, open Open) {
	db := table(t, open)
	var got []struct {
		N    int    `db:"n"`
		Name string `db:"name"`
	}
	query := "select n, name from " + db.JSONRows("n", "name") + " j order by n desc"
	if err := db.Reader.Select(&got, query, `[[1, "a \"b\""], [20, "é"]]`); err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].N != 20 || got[0].Name != "é" || got[1].N != 1 || got[1].Name != `a "b"` {
		t.Errorf("got %v", got)
	}
}

// empty opens a new database, which is closed with the test.
func empty(t testing.TB, open Open) *database.DB {
	t.Helper()
	return at(t, open, filepath.Join(t.TempDir(), "a.db"))
}

func at(t testing.TB, open Open, path string) *database.DB {
	t.Helper()
	db, err := open(t, path)
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

// table opens a new database with an empty table t of numbers n.
func table(t testing.TB, open Open) *database.DB {
	t.Helper()
	db := empty(t, open)
	create(t, db)
	return db
}

func create(t testing.TB, db *database.DB) {
	t.Helper()
	err := db.Update(t.Context(), func(tx *sqlx.Tx) error {
		_, err := tx.Exec("create table t (n integer primary key)")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// numbers returns what the table holds, in order.
func numbers(t testing.TB, db *database.DB) []int {
	t.Helper()
	var n []int
	if err := db.Reader.Select(&n, "select n from t order by n"); err != nil {
		t.Fatal(err)
	}
	return n
}
