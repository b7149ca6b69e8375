package conformance

import (
	"context"
	"errors"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jmoiron/sqlx"

	"github.com/seed-e88a4ece/signoff/outbox/database"
)

var errRefused = errors.New("refused")

func insert(n int) func(*sqlx.Tx) error {
	return func(tx *sqlx.Tx) error {
		_, err := tx.Exec("insert into t (n) values (?)", n)
		return err
	}
}

// together queues all of fns while the writer is held, so that they share a
// transaction in their order, and returns their outcomes.
func together(t *testing.T, db *database.DB, fns ...func(*sqlx.Tx) error) []error {
	t.Helper()
	entered, leave := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		err := db.Update(t.Context(), func(*sqlx.Tx) error { close(entered); <-leave; return errRefused })
		if !errors.Is(err, errRefused) {
			t.Error(err)
		}
	})
	<-entered
	outcomes := make([]error, len(fns))
	for i, fn := range fns {
		wg.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					outcomes[i], _ = p.(error)
				}
			}()
			outcomes[i] = errors.New("ended")
			outcomes[i] = db.Update(t.Context(), fn)
		})
		for db.Queued() != i+1 {
			runtime.Gosched()
		}
	}
	close(leave)
	wg.Wait()
	return outcomes
}

// failing writes and then fails.
func failing(tx *sqlx.Tx) error { return errors.Join(insert(100)(tx), errRefused) }

func testUpdate(t *testing.T, open Open) {
	panicking := func(tx *sqlx.Tx) error { panic(errors.Join(insert(101)(tx), errRefused)) }

	t.Run("undoes one that fails or panics, and nobody else", func(t *testing.T) {
		db := table(t, open)
		got := together(t, db, failing, insert(1), failing, panicking, insert(2), insert(2), insert(3), panicking)
		for i, want := range []bool{false, true, false, false, true, false, true, false} {
			if (got[i] == nil) != want {
				t.Errorf("request %d: %v", i, got[i])
			}
		}
		if !errors.Is(got[0], errRefused) || !errors.Is(got[3], errRefused) {
			t.Error(got[0], got[3])
		}
		if diff := cmp.Diff([]int{1, 2, 3}, numbers(t, db)); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("undoes a failing one that is alone, and goes on", func(t *testing.T) {
		db := table(t, open)
		if err := db.Update(t.Context(), failing); !errors.Is(err, errRefused) {
			t.Error(err)
		}
		if err := db.Update(t.Context(), insert(7)); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]int{7}, numbers(t, db)); diff != "" {
			t.Error(diff)
		}
	})
}

// testUpdateOutlives tests that Update still works after a transaction was broken or a
// goroutine ended, and that it does not run what comes too late: after its caller gave up
// or after Close.
func testUpdateOutlives(t *testing.T, open Open) {
	t.Run("fails all that share a transaction when one breaks it", func(t *testing.T) {
		db := table(t, open)
		// On a slow machine the transaction ends after the first insert, and that is kept.
		for n, shared := 1, false; !shared; n += 2 {
			if n > 2000 {
				t.Fatal("no two updates shared a transaction")
			}
			var first *sqlx.Tx
			inserting := func(tx *sqlx.Tx) error { first = tx; return insert(n)(tx) }
			breaking := func(tx *sqlx.Tx) error { shared = tx == first; _, err := tx.Exec("rollback"); return err }
			// The broken transaction ends, so that the insert queued behind it may run in the next.
			got := together(t, db, inserting, breaking, insert(n+1))
			if got[1] == nil {
				t.Error("the one that breaks the transaction was answered with success")
			}
			if kept := slices.Contains(numbers(t, db), n); kept != (got[0] == nil) || kept && shared {
				t.Errorf("shared: %t, kept: %t, answered %v", shared, kept, got[0])
			}
		}
		if err := db.Update(t.Context(), insert(0)); err != nil {
			t.Error(err)
		}
	})
	t.Run("survives an update that ends its goroutine", func(t *testing.T) {
		db := table(t, open)
		together(t, db, insert(1), func(*sqlx.Tx) error { runtime.Goexit(); return nil }, insert(2))
		if err := db.Update(t.Context(), insert(3)); err != nil {
			t.Error(err)
		}
	})
	t.Run("does not run one whose caller gave up before its turn", func(t *testing.T) {
		db := table(t, open)
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errRefused)
		if err := db.Update(ctx, insert(1)); !errors.Is(err, errRefused) {
			t.Error(err)
		}
		if n := numbers(t, db); len(n) != 0 {
			t.Errorf("holds %v", n)
		}
	})
	t.Run("is refused after Close", func(t *testing.T) {
		db, err := open(t, filepath.Join(t.TempDir(), "a.db"))
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if err := db.Update(t.Context(), insert(1)); !errors.Is(err, database.ErrClosed) {
			t.Error(err)
		}
	})
}

func testManyCallers(t *testing.T, open Open) {
	t.Run("keeps every update that was answered with success, of many callers", func(t *testing.T) {
		db := table(t, open)
		const callers, each = 64, 10
		var wg sync.WaitGroup
		for c := range callers {
			wg.Go(func() {
				for i := range each {
					if err := db.Update(t.Context(), insert(c*each+i)); err != nil {
						t.Error(err)
					}
					if err := db.Update(t.Context(), failing); !errors.Is(err, errRefused) {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if n := len(numbers(t, db)); n != callers*each {
			t.Errorf("holds %d rows", n)
		}
	})
}
