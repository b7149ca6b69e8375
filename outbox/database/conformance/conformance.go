// Package conformance tests a database system: what the stores of the program
// rely on, whatever system keeps their rows.
//
//	func TestConformance(t *testing.T) {
//		conformance.Test(t, func(t testing.TB, path string) (*database.DB, error) { … })
//	}
package conformance

import (
	"path/filepath"
	"slices"
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
	type row struct {
		n    int
		name string
	}
	got, err := database.List(t.Context(), db.Reader, func(r database.Row) (x row, err error) {
		err = r.Scan(&x.n, &x.name)
		return x, err
	},
		"select n, name from "+db.JSONRows("n", "name")+" j order by n desc", `[[1, "a \"b\""], [20, "é"]]`)
	if err != nil {
		t.Fatal(err)
	}
	if want := []row{{20, "é"}, {1, `a "b"`}}; !slices.Equal(got, want) {
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

// numbers returns the rows of the table, in order.
func numbers(t testing.TB, db *database.DB) []int {
	t.Helper()
	n, err := database.List(t.Context(), db.Reader, database.Value[int], "select n from t order by n")
	if err != nil {
		t.Fatal(err)
	}
	return n
}
