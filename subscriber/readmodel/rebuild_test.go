package readmodel_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jmoiron/sqlx"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/sqlite"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

func files(t testing.TB, path string) []string {
	t.Helper()
	all, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range all {
		if !strings.HasSuffix(f, "-wal") && !strings.HasSuffix(f, "-shm") {
			names = append(names, filepath.Base(f))
		}
	}
	return names
}

// alter changes a database behind the model's back.
func alter(t testing.TB, path, statement string) {
	t.Helper()
	db, err := sqlite.Open(context.Background(), path, sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(context.Background(), func(tx *sqlx.Tx) error {
		_, err := tx.Exec(statement)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestRebuild(t *testing.T) {
	ctx := context.Background()
	b := newBroker(t)
	list := mixed(600)
	b.publish(list...)
	want := func() map[string][]string {
		path := newPath(t)
		m := open(t, path, quiet)
		stop := follow(t, m, b.reader)
		reaches(t, m, uint64(len(list)))
		stop()
		return dump(t, path)
	}()
	// copied returns the path of a model that is right.
	copied := func(t *testing.T) string {
		path := newPath(t)
		if err := readmodel.Rebuild(ctx, path, b.reader, quiet, nil); err != nil {
			t.Fatal(err)
		}
		return path
	}
	rebuild := func(t *testing.T, path string, left ...string) {
		t.Helper()
		if err := readmodel.Rebuild(ctx, path, b.reader, quiet, nil); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, dump(t, path)); diff != "" {
			t.Error(diff)
		}
		names := files(t, path)
		if len(names) != 1+len(left) {
			t.Errorf("left behind: %q", names)
		}
	}

	t.Run("makes what following the stream makes, and reports its progress", func(t *testing.T) {
		path := newPath(t)
		var done, total, calls uint64
		err := readmodel.Rebuild(ctx, path, b.reader, readmodel.Config{MaxBatch: 50, Log: quiet.Log}, func(d, n uint64) { done, total, calls = d, n, calls+1 })
		if err != nil {
			t.Fatal(err)
		}
		if done != uint64(len(list)) || total != done || calls < 10 {
			t.Errorf("%d of %d in %d calls", done, total, calls)
		}
		if diff := cmp.Diff(want, dump(t, path)); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("mends content that is wrong", func(t *testing.T) {
		path := copied(t)
		alter(t, path, "update bodies set body = x'00'; delete from reports where n = 3; update position set hash = 'x'")
		rebuild(t, path)
	})

	t.Run("replaces a damaged file and keeps it", func(t *testing.T) {
		path := newPath(t)
		if err := os.WriteFile(path, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readmodel.Open(ctx, path, quiet); !errors.Is(err, database.ErrNotADatabase) {
			t.Errorf("opening it: %v", err)
		}
		rebuild(t, path, "the damaged one")
	})

	t.Run("replaces a file that is damaged inside", func(t *testing.T) {
		path := copied(t)
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := 3 * 4096; i < len(content); i++ {
			content[i] = 0x5a
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		rebuild(t, path, "the damaged one")
	})

	t.Run("replaces a file of another schema and keeps it", func(t *testing.T) {
		path := newPath(t)
		db, err := sqlite.Open(ctx, path, sqlite.Config{})
		if err != nil {
			t.Fatal(err)
		}
		older := fstest.MapFS{"0001_reports.sql": {Data: []byte("create table reports (id text) strict")}}
		if err := errors.Join(db.Migrate(ctx, older), db.Close()); err != nil {
			t.Fatal(err)
		}
		rebuild(t, path, "the older one")
	})

	t.Run("refuses a file of a newer version and leaves it alone", func(t *testing.T) {
		path := copied(t)
		alter(t, path, "insert into migrations (name, sha256, applied) values ('9999_later.sql', 'x', 'x')")
		if err := readmodel.Rebuild(ctx, path, b.reader, quiet, nil); !errors.Is(err, database.ErrNewer) {
			t.Error(err)
		}
		if n := files(t, path); len(n) != 1 {
			t.Errorf("there are %q", n)
		}
	})

	t.Run("starts again after an earlier one was killed", func(t *testing.T) {
		path := copied(t)
		if err := os.WriteFile(path+".rebuild", []byte("half of it"), 0o600); err != nil {
			t.Fatal(err)
		}
		rebuild(t, path)
	})

	t.Run("ends with its context, with nothing changed", func(t *testing.T) {
		path := copied(t)
		cancelled, cancel := context.WithCancel(ctx)
		err := readmodel.Rebuild(cancelled, path, b.reader, readmodel.Config{MaxBatch: 10, Log: quiet.Log}, func(done, _ uint64) {
			if done > 100 {
				cancel()
			}
		})
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if diff := cmp.Diff(want, dump(t, path)); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("stops at what does not follow, with nothing changed", func(t *testing.T) {
		b := newBroker(t)
		s := &study{number: "S1"}
		b.publish(s.many(3)...)
		path := newPath(t)
		m := open(t, path, quiet)
		follow(t, m, b.reader)
		reaches(t, m, 3)
		s.signed("missing")
		b.publish(s.signed("after-the-gap"))
		if err := readmodel.Rebuild(ctx, path, b.reader, quiet, nil); !errors.Is(err, events.Gap) {
			t.Error(err)
		}
		if n := len(ids(t, m, "S1")); n != 3 {
			t.Errorf("%d reports are left", n)
		}
	})
}

func TestOneRebuildAtATime(t *testing.T) {
	b := newBroker(t)
	b.publish(mixed(20)...)
	path := newPath(t)
	begun, goOn := make(chan struct{}), make(chan struct{})
	paused := quiet
	paused.Step = func(string) {
		select {
		case begun <- struct{}{}:
			<-goOn
		case <-goOn:
		}
	}
	first := make(chan error, 1)
	go func() { first <- readmodel.Rebuild(context.Background(), path, b.reader, paused, nil) }()
	arrives(t, begun)
	err := readmodel.Rebuild(t.Context(), path, b.reader, quiet, nil)
	if !errors.Is(err, events.Conflict) || !strings.Contains(err.Error(), "another rebuild") {
		t.Errorf("beside another one: %v", err)
	}
	close(goOn)
	if err := <-first; err != nil {
		t.Errorf("the first one: %v", err)
	}
	if err := readmodel.Rebuild(t.Context(), path, b.reader, quiet, nil); err != nil {
		t.Errorf("after it: %v", err)
	}
}

func TestRebuildWhileAnotherFollows(t *testing.T) {
	b := newBroker(t)
	path := newPath(t)
	m := open(t, path, readmodel.Config{Interval: 100 * time.Millisecond, Log: quiet.Log})
	follow(t, m, b.reader)
	s := &study{number: "S1"}
	b.publish(s.many(200)...)
	reaches(t, m, 200)

	rebuilt := make(chan error, 1)
	go func() {
		var err error
		for range 5 {
			err = errors.Join(err, readmodel.Rebuild(context.Background(), path, b.reader, quiet, nil))
		}
		rebuilt <- err
	}()
	// Meanwhile reports are signed, and who reads never sees fewer.
	total, signed := 0, 200
	for ended := false; !ended; {
		select {
		case err := <-rebuilt:
			if err != nil {
				t.Fatal(err)
			}
			ended = true
		default:
		}
		b.publish(s.signed("x" + string(rune('a'+signed%26)) + time.Now().Format("150405.000000000")))
		signed++
		page, err := m.Search(context.Background(), readmodel.Query{Study: "S1"})
		if err != nil {
			t.Fatal(err)
		}
		if page.Total < total {
			t.Fatalf("%d reports after %d", page.Total, total)
		}
		total = page.Total
	}
	reaches(t, m, uint64(signed))
	if n := m.Status(); n.State != readmodel.Green {
		t.Errorf("%+v", n)
	}
	page, err := m.Search(context.Background(), readmodel.Query{Study: "S1"})
	if err != nil || page.Total != signed {
		t.Errorf("%d of %d: %v", page.Total, signed, err)
	}
}
