package readmodel_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jmoiron/sqlx"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/sqlite"
	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// filled makes a model of the whole stream.
func filled(t testing.TB, js jetstream.JetStream) (path string) {
	t.Helper()
	path = newPath(t)
	if err := readmodel.Rebuild(context.Background(), path, js, quiet, nil); err != nil {
		t.Fatal(err)
	}
	return path
}

// landed makes of a model one as it was before derivations had numbers.
func landed(t *testing.T, path string) (older string) {
	t.Helper()
	schema, err := os.ReadFile("schema/0001_reports.sql")
	if err != nil {
		t.Fatal(err)
	}
	older = newPath(t)
	db, err := sqlite.Open(t.Context(), older, sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	err = errors.Join(db.Migrate(ctx, fstest.MapFS{"0001_reports.sql": {Data: schema}}), db.Update(ctx, func(tx *sqlx.Tx) error {
		if _, err := tx.Exec("attach database ? as model", path); err != nil {
			return err
		}
		for _, table := range []string{"position", "studies", "reports", "bodies", "access"} {
			var columns []string
			if err := tx.Select(&columns, "select name from pragma_table_info(?)", table); err != nil {
				return err
			}
			list := strings.Join(columns, ", ")
			if _, err := tx.Exec(fmt.Sprintf("delete from main.%[1]s; insert into main.%[1]s (%[2]s) select %[2]s from model.%[1]s", table, list)); err != nil {
				return err
			}
		}
		return nil
	}))
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return older
}

// madeAnew waits until the model's content is of this program's derivation.
func madeAnew(t *testing.T, m *readmodel.Model) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%+v", m.Status())
		}
	})
	until(t, "the model is derived again", func() bool { return !m.Status().Refill.Needed })
}

func TestAModelOfAnotherDerivationIsMadeAnew(t *testing.T) {
	b := newBroker(t)
	list := mixed(600)
	b.publish(list...)
	want := dump(t, filled(t, b.reader))

	for what, older := range map[string]func(t *testing.T) string{
		"of another number, with a table that was not filled": func(t *testing.T) string {
			path := filled(t, b.reader)
			alter(t, path, "update derivation set number = 99; delete from access")
			return path
		},
		"of a lower number": func(t *testing.T) string {
			path := filled(t, b.reader)
			alter(t, path, "update derivation set number = -1")
			return path
		},
		"of the time before there were numbers": func(t *testing.T) string { return landed(t, filled(t, b.reader)) },
	} {
		t.Run(what, func(t *testing.T) {
			path := older(t)
			m := open(t, path, quiet)
			if !m.Status().Refill.Needed {
				t.Error("it is taken for one of this derivation")
			}
			if n := len(ids(t, m, "S1")); n == 0 {
				t.Error("meanwhile the old one shows nothing")
			}
			stop := follow(t, m, b.reader)
			madeAnew(t, m)
			stop()
			if n := len(m.Directory().Partners()); n == 0 {
				t.Error("the directory is not that of the new content")
			}
			if diff := cmp.Diff(want, dump(t, path)); diff != "" {
				t.Error(diff)
			}
			if n := files(t, path); len(n) != 1 {
				t.Errorf("left behind: %q", n)
			}
		})
	}
	t.Run("and one that is empty is filled in place", func(t *testing.T) {
		if m := open(t, newPath(t), quiet); m.Status().Refill.Needed {
			t.Error("an empty model has to be derived again")
		}
	})
	t.Run("and what is applied next finds the new content, also where its rows have other numbers", func(t *testing.T) {
		b, s := newBroker(t), &study{number: "S1"}
		b.publish(s.many(30)...)
		path := filled(t, b.reader)
		alter(t, path, "update derivation set number = 99; update studies set study = study + 100; update reports set study = study + 100")
		arrivals := make(chan struct{})
		m := open(t, path, readmodel.Config{Log: quiet.Log, Step: func(name string) {
			if name == "swap" {
				<-arrivals
			}
		}})
		follow(t, m, b.reader)
		b.publish(s.signed("before"))
		reaches(t, m, 31) // it has read the old content
		close(arrivals)
		madeAnew(t, m)
		b.publish(s.signed("after"))
		reaches(t, m, 32)
		if n := len(ids(t, m, "S1")); n != 32 {
			t.Errorf("%d reports", n)
		}
	})
	t.Run("and meanwhile has no version of a report for certain", func(t *testing.T) {
		path := filled(t, b.reader)
		alter(t, path, "update derivation set number = 99; delete from events")
		m := open(t, path, readmodel.Config{Log: quiet.Log})
		for _, id := range ids(t, m, "S1")[:1] {
			if _, err := m.Version(t.Context(), id, 1); !errors.Is(err, events.Unavailable) {
				t.Errorf("version 1 of %s: %v", id, err)
			}
		}
	})
	t.Run("but not from another stream", func(t *testing.T) {
		path := filled(t, b.reader)
		alter(t, path, "update derivation set number = 99")
		other := newBroker(t)
		other.publish(list...)
		m := open(t, path, readmodel.Config{Interval: 10 * time.Millisecond, Log: quiet.Log})
		follow(t, m, other.reader)
		until(t, "it is refused", func() bool { return strings.Contains(m.Status().Refill.Reason, "signoff rebuild") })
		if diff := cmp.Diff(want, dump(t, path)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestAModelIsMadeAnewWhileOthersReadAndTheLogGoesOn(t *testing.T) {
	b := newBroker(t)
	s := &study{number: "S1"}
	b.publish(s.many(300)...)
	path := filled(t, b.reader)
	alter(t, path, "update derivation set number = 99")
	arrivals, permits := make(chan struct{}), make(chan struct{})
	var once sync.Once
	cfg := readmodel.Config{MaxBatch: 50, Log: quiet.Log, Step: func(name string) {
		if name == "refill" {
			once.Do(func() { arrivals <- struct{}{}; <-permits })
		}
	}}
	m := open(t, path, cfg)
	follow(t, m, b.reader)
	arrives(t, arrivals)
	if r := m.Status().Refill; r.Total != 300 {
		t.Errorf("progress %+v", r)
	}
	for range 20 { // the old content goes on being followed
		b.publish(s.signed("meanwhile-" + fmt.Sprint(s.head.Number)))
	}
	reaches(t, m, 320)
	close(permits)

	total := 320
	for ended := false; !ended; {
		ended = !m.Status().Refill.Needed
		page, err := m.Search(context.Background(), readmodel.Query{Study: "S1"})
		if err != nil {
			t.Fatal(err)
		}
		if page.Total < total {
			t.Fatalf("%d reports after %d", page.Total, total)
		}
		total = page.Total
		b.publish(s.signed("then-" + fmt.Sprint(s.head.Number)))
	}
	reaches(t, m, s.head.Number)
	if n := len(ids(t, m, "S1")); uint64(n) != s.head.Number {
		t.Errorf("%d reports of %d", n, s.head.Number)
	}
	if s := m.Status(); s.State != readmodel.Green {
		t.Errorf("%+v", s)
	}
}

func TestMakingAModelAnewOutlivesBeingKilled(t *testing.T) {
	b := newBroker(t)
	list := mixed(600)
	b.publish(list...)
	path := filled(t, b.reader)
	want := dump(t, path)
	alter(t, path, "update derivation set number = 99; delete from access")
	before := dump(t, path)
	url, creds := b.Server().ClientURL(), b.credentials()
	for _, step := range []string{"refill", "swap", "refill"} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // of one that does not get to the step
		defer cancel()
		child := exec.CommandContext(ctx, os.Args[0])
		child.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0",
			childURL+"="+url, childCreds+"="+creds, childPath+"="+path, childStep+"="+step, childRounds+"=1")
		child.Stderr = os.Stderr
		err := child.Run()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("the child was not killed: %v", err)
		}
		if diff := cmp.Diff(before, dump(t, path)); diff != "" {
			t.Errorf("killed at %q: %s", step, diff)
		}
	}
	m := open(t, path, quiet)
	stop := follow(t, m, b.reader)
	madeAnew(t, m)
	stop()
	if diff := cmp.Diff(want, dump(t, path)); diff != "" {
		t.Error(diff)
	}
	if n := files(t, path); len(n) != 1 {
		t.Errorf("left behind: %q", n)
	}
}

func TestMakingAModelAnewOutlivesABrokerThatIsAway(t *testing.T) {
	b := newBroker(t)
	list := mixed(2000)
	b.publish(list...)
	path := filled(t, b.reader)
	want := dump(t, path)
	alter(t, path, "update derivation set number = 99; delete from access")

	passes := 0
	arrivals, permits := make(chan struct{}), make(chan struct{})
	m := open(t, path, readmodel.Config{MaxBatch: 20, Interval: time.Second, Log: quiet.Log, Step: func(name string) {
		if name == "refill" {
			if passes++; passes == 5 {
				arrivals <- struct{}{}
				<-permits
			}
		}
	}})
	stop := follow(t, m, b.reader)
	arrives(t, arrivals)
	b.Stop()
	close(permits)
	until(t, "the outage is noticed", func() bool { return m.Status().State == readmodel.Waiting })
	if n := len(ids(t, m, "S1")); n == 0 || !m.Status().Refill.Needed {
		t.Errorf("meanwhile the old one shows %d reports, %+v", n, m.Status())
	}
	b.Start()
	madeAnew(t, m)
	stop()
	if diff := cmp.Diff(want, dump(t, path)); diff != "" {
		t.Error(diff)
	}
}

func TestAModelIsNeverReplacedByOneThatEndsBefore(t *testing.T) {
	list := mixed(600)[:600]
	whole := newBroker(t)
	whole.publish(list...)
	recorded := readmodel.Config{Log: quiet.Log}
	last := list[len(list)-1]
	recorded.Recorded.StreamSequence, recorded.Recorded.ID, recorded.Recorded.Hash = uint64(len(list)), last.ID, last.Hash
	short := newBroker(t)
	short.publish(list[:500]...)

	refused := func(t *testing.T, path string, cfg readmodel.Config, words ...string) {
		t.Helper()
		before, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		err = readmodel.Rebuild(t.Context(), path, short.reader, cfg, nil)
		if !errors.Is(err, events.Conflict) {
			t.Fatal(err)
		}
		for _, w := range words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q is not in: %v", w, err)
			}
		}
		if after, err := os.ReadFile(path); len(before) > 0 && (err != nil || len(after) == 0) {
			t.Errorf("the file is gone: %v", err)
		}
	}
	t.Run("by a shorter stream, another one", func(t *testing.T) {
		path := filled(t, whole.reader)
		want := dump(t, path)
		refused(t, path, quiet, "600", "500")
		if diff := cmp.Diff(want, dump(t, path)); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("by another stream that is complete it is", func(t *testing.T) {
		path := filled(t, whole.reader)
		complete := newBroker(t)
		complete.publish(list...)
		if err := readmodel.Rebuild(t.Context(), path, complete.reader, recorded, nil); err != nil {
			t.Error(err)
		}
	})
	t.Run("where it is damaged, as far as its position can be read", func(t *testing.T) {
		path := filled(t, whole.reader)
		alter(t, path, "update migrations set sha256 = 'x'")
		refused(t, path, quiet, "600", "500")
		if n := files(t, path); len(n) != 1 {
			t.Errorf("it was set aside: %q", n)
		}
	})
	t.Run("where it is damaged and its position cannot be read just now", func(t *testing.T) {
		path := filled(t, whole.reader)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if p, err := readmodel.PositionIn(ended, path); !errors.Is(err, context.Canceled) {
			t.Errorf("position %d, %v", p.StreamSequence, err)
		}
		if p, err := readmodel.PositionIn(t.Context(), path); err != nil || p.StreamSequence != 600 {
			t.Errorf("position %d, %v", p.StreamSequence, err)
		}
	})
	t.Run("where it is damaged, missing or older, by what the outbox has recorded", func(t *testing.T) {
		path := newPath(t)
		refused(t, path, recorded, "600", "500")
		if err := os.WriteFile(path, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
			t.Fatal(err)
		}
		refused(t, path, recorded, "600", "500")
		refused(t, filled(t, short.reader), recorded, "600", "500")
	})
	t.Run("by a stream of another history", func(t *testing.T) {
		other := recorded
		other.Recorded.StreamSequence = 400
		refused(t, filled(t, short.reader), other, "400", last.ID, "do not belong together")
	})
	t.Run("by the beginning of a stream that is being filled again", func(t *testing.T) {
		b := newBroker(t)
		if err := b.writer.DeleteStream(t.Context(), events.Stream); err != nil {
			t.Fatal(err)
		}
		if _, err := publisher.EnsureStream(t.Context(), b.writer, publisher.StreamConfig{RefillTo: 600}); err != nil {
			t.Fatal(err)
		}
		b.publish(list[:500]...)
		path := newPath(t)
		at, done := make(chan [2]uint64, 1000), make(chan error, 1)
		go func() {
			done <- readmodel.Rebuild(context.Background(), path, b.reader, quiet, func(done, total uint64) { at <- [2]uint64{done, total} })
		}()
		for p := range at {
			if p[1] != 600 {
				t.Errorf("progress %v", p)
			}
			if p[0] == 500 {
				break
			}
		}
		if m := open(t, path, quiet); m.Position().StreamSequence != 0 {
			t.Errorf("installed up to %d", m.Position().StreamSequence)
		}
		b.publish(list[500:]...)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if m := open(t, path, quiet); m.Position().StreamSequence != 600 {
			t.Errorf("installed up to %d", m.Position().StreamSequence)
		}
	})
}

func TestAModelSaysThatItsStreamIsBeingFilledAgain(t *testing.T) {
	list := mixed(600)[:600]
	b := newBroker(t)
	if err := b.writer.DeleteStream(t.Context(), events.Stream); err != nil {
		t.Fatal(err)
	}
	stream, err := publisher.EnsureStream(t.Context(), b.writer, publisher.StreamConfig{RefillTo: 600})
	if err != nil {
		t.Fatal(err)
	}
	b.publish(list[:500]...)
	m := open(t, newPath(t), readmodel.Config{Interval: 10 * time.Millisecond, Log: quiet.Log})
	follow(t, m, b.reader)
	reaches(t, m, 500)
	if s := m.Status(); s.CaughtUp || s.Lag != 100 {
		t.Errorf("%+v", s)
	}
	b.publish(list[500:]...)
	reaches(t, m, 600)
	cfg := stream.CachedInfo().Config
	delete(cfg.Metadata, events.RefillKey)
	if _, err := b.writer.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	until(t, "it has caught up", func() bool { s := m.Status(); return s.CaughtUp && s.Lag == 0 })
}
