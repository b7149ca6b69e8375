package sqlite_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"golang.org/x/sys/unix"

	"github.com/seed-e88a4ece/signoff/events/leaktest"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/database/conformance"
	"github.com/seed-e88a4ece/signoff/outbox/sqlite"
)

// childVariable holds, for a child process, the path of a database.
const childVariable = "SQLITE_TEST_CHILD"

func insert(n int) func(*sqlx.Tx) error {
	return func(tx *sqlx.Tx) error {
		_, err := tx.Exec("insert into t (n) values (?)", n)
		return err
	}
}

func numbers(t testing.TB, db *sqlite.DB) []int {
	t.Helper()
	var n []int
	if err := db.Reader.Select(&n, "select n from t order by n"); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestMain(m *testing.M) {
	if path := os.Getenv(childVariable); path != "" {
		if err := printNumbers(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	leaktest.Main(m)
}

// printNumbers opens a database in a process of its own, prints the numbers it holds
// and closes it as other programs do. The SQLite in this program also asks the
// lock of the -shm file whether it is the last one; others, such as that of
// many sqlite3 commands, ask that of the database only.
func printNumbers(path string) error {
	db, err := sqlite.Open(context.Background(), path, sqlite.Config{})
	if err != nil {
		return err
	}
	var n []int
	err = db.Reader.Select(&n, "select n from t order by n")
	fmt.Println(n)
	_, moved := db.Writer.Exec("pragma wal_checkpoint(full)")
	if err := errors.Join(err, moved, db.Close()); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	sharedLock := unix.Flock_t{Type: unix.F_WRLCK, Start: 1<<30 + 2, Len: 510} // whoever has the database open holds it for reading
	if err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &sharedLock); err != nil {
		return nil // not the last one
	}
	for _, suffix := range []string{"-shm", "-wal"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// numbersElsewhere returns what another process finds in the database, which
// that process has closed again.
func numbersElsewhere(t testing.TB, path string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+path, "GORACE=atexit_sleep_ms=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, &stderr)
	}
	return strings.TrimSpace(string(out))
}

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
	t.Run("creates the file for its owner only, where a link leads too", func(t *testing.T) {
		folder := t.TempDir()
		target, link := filepath.Join(folder, "target.db"), filepath.Join(folder, "link.db")
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
		open(t, link)
		if info, err := os.Stat(target); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
	})
	t.Run("leaves an existing file's permissions as they are", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "a.db")
		if err := errors.Join(os.WriteFile(path, nil, 0o640), os.Chmod(path, 0o640)); err != nil { // whatever the umask is
			t.Fatal(err)
		}
		open(t, path)
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
			t.Errorf("%v, %v", info, err)
		}
	})
	t.Run("refuses what is not a file", func(t *testing.T) {
		_, err := sqlite.Open(t.Context(), t.TempDir(), sqlite.Config{})
		if err == nil || !strings.Contains(err.Error(), "is not a file") {
			t.Error(err)
		}
	})
	t.Run("refuses a file that cannot be written", func(t *testing.T) {
		if os.Getuid() == 0 {
			t.Skip("root may write everything")
		}
		path := filepath.Join(t.TempDir(), "a.db")
		if err := os.WriteFile(path, nil, 0o400); err != nil {
			t.Fatal(err)
		}
		if _, err := sqlite.Open(t.Context(), path, sqlite.Config{}); !errors.Is(err, database.ErrReadOnly) || !errors.Is(err, os.ErrPermission) {
			t.Error(err)
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
	t.Run("creates the file with pages of the size that is set, and keeps the size of a file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "a.db")
		for _, set := range []int{16384, 0, 8192} {
			db, err := sqlite.Open(t.Context(), path, sqlite.Config{PageSize: set})
			if err != nil {
				t.Fatal(err)
			}
			var size int
			if err := errors.Join(db.Reader.Get(&size, "pragma page_size"), db.Close()); err != nil || size != 16384 {
				t.Errorf("with %d the size is %d, %v", set, size, err)
			}
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
		if _, err := sqlite.Open(t.Context(), path, sqlite.Config{}); !errors.Is(err, database.ErrNotADatabase) {
			t.Error(err)
		}
	})
	t.Run("refuses a safety level it does not know", func(t *testing.T) {
		if _, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "a.db"), sqlite.Config{Synchronous: "OFF"}); err == nil {
			t.Error("opened")
		}
	})
}

// Before the child closes the database, it must know by the locks that this
// process has it open: else it deletes the log, and what is committed
// afterwards is seen by nobody else.
func TestOpenAgainInOneProcess(t *testing.T) {
	commit := func(t *testing.T, db *sqlite.DB, n int) {
		t.Helper()
		if err := db.Update(t.Context(), insert(n)); err != nil {
			t.Fatal(err)
		}
	}
	wantElsewhere := func(t *testing.T, path, want string) {
		t.Helper()
		if got := numbersElsewhere(t, path); got != want {
			t.Errorf("another process finds %s, want %s", got, want)
		}
	}
	t.Run("loses no commits of the first when another process closes the database", func(t *testing.T) {
		first := openTable(t)
		commit(t, first, 1)
		second := open(t, first.Path())
		wantElsewhere(t, first.Path(), "[1]")
		commit(t, first, 2)
		wantElsewhere(t, first.Path(), "[1 2]")
		commit(t, second, 3)
		wantElsewhere(t, first.Path(), "[1 2 3]")
		if n := len(numbers(t, second)); n != 3 {
			t.Errorf("the second finds %d", n)
		}
	})
	t.Run("loses none when the second is closed again", func(t *testing.T) {
		first := openTable(t)
		commit(t, first, 1)
		second, err := sqlite.Open(t.Context(), first.Path(), sqlite.Config{})
		if err != nil {
			t.Fatal(err)
		}
		if err := second.Close(); err != nil {
			t.Fatal(err)
		}
		wantElsewhere(t, first.Path(), "[1]")
		commit(t, first, 2)
		wantElsewhere(t, first.Path(), "[1 2]")
	})
	t.Run("loses none when a link leads the second to the file", func(t *testing.T) {
		first := openTable(t)
		commit(t, first, 1)
		link := filepath.Join(t.TempDir(), "link.db")
		if err := os.Symlink(first.Path(), link); err != nil {
			t.Fatal(err)
		}
		open(t, link)
		wantElsewhere(t, first.Path(), "[1]")
		commit(t, first, 2)
		wantElsewhere(t, first.Path(), "[1 2]")
	})
	t.Run("waits while another connection makes the file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "a.db")
		other, err := sql.Open("sqlite3", "file:"+path+"?_txlock=immediate")
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		tx, err := other.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback() // does nothing after the commit
		if _, err := tx.Exec("create table t (n integer primary key, body blob) strict"); err != nil {
			t.Fatal(err)
		}
		var db *sqlite.DB
		opened := make(chan error, 1)
		go func() {
			var err error
			db, err = sqlite.Open(t.Context(), path, sqlite.Config{})
			opened <- err
		}()
		select {
		case err := <-opened:
			t.Fatalf("opened meanwhile: %v", err)
		case <-time.After(100 * time.Millisecond):
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if err := <-opened; err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Run("loses none when many make the file at once", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "a.db")
		var dbs [8]*sqlite.DB
		var errs [8]error
		var wg sync.WaitGroup
		for i := range dbs {
			wg.Go(func() { dbs[i], errs[i] = sqlite.Open(t.Context(), path, sqlite.Config{}) })
		}
		wg.Wait()
		if err := errors.Join(errs[:]...); err != nil {
			t.Fatal(err)
		}
		for _, db := range dbs {
			t.Cleanup(func() { _ = db.Close() })
		}
		if _, err := dbs[0].Writer.Exec("create table t (n integer primary key, body blob) strict"); err != nil {
			t.Fatal(err)
		}
		want := []int{}
		for i, db := range dbs {
			wantElsewhere(t, path, fmt.Sprint(want))
			commit(t, db, i)
			want = append(want, i)
		}
		wantElsewhere(t, path, fmt.Sprint(want))
	})
}

func TestOwns(t *testing.T) {
	db := openTable(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Link(db.Path(), link); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{
		db.Path(): true, db.Path() + "-wal": true, db.Path() + "-shm": true, link: true,
		filepath.Dir(db.Path()): false, db.Path() + "-journal": false, os.Args[0]: false,
	} {
		if db.Owns(path) != want {
			t.Errorf("%s: %t", path, !want)
		}
	}
}

func TestConformance(t *testing.T) {
	conformance.Test(t, func(t testing.TB, path string) (*database.DB, error) {
		db, err := sqlite.Open(t.Context(), path, sqlite.Config{})
		if err != nil {
			return nil, err
		}
		return db.DB, nil
	})
}
