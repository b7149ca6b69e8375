package accounts_test

import (
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/leaktest"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/accounts/accountstest"
)

const (
	study    = "FHIR-T"
	password = "correct horse battery"
	operator = "ops"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// clock is a time that a test moves.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// testOutbox is an outbox with a clock of its own and PIs who may sign for study.
type testOutbox struct {
	*outbox.Outbox
	t     testing.TB
	path  string
	clock *clock
}

// newOutbox creates an outbox with these users, or with dr.a alone.
func newOutbox(t testing.TB, users ...string) *testOutbox {
	t.Helper()
	d := &testOutbox{t: t, path: filepath.Join(t.TempDir(), "outbox.db"), clock: &clock{t: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)}}
	d.Outbox = open(t, d.path, outbox.Config{Clock: d.clock.now})
	if len(users) == 0 {
		users = []string{"dr.a"}
	}
	for _, u := range users {
		ok(t, accountstest.AddPI(t.Context(), d.Accounts(), operator, u, "Printed "+u, []string{study}, password))
	}
	return d
}

func open(t testing.TB, path string, cfg outbox.Config) *outbox.Outbox {
	t.Helper()
	o := must(outbox.Open(t.Context(), path, cfg))(t)
	t.Cleanup(func() {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	})
	return o
}

// openAgain opens the outbox once more, as another process would.
func openAgain(t *testing.T, d *testOutbox) *testOutbox {
	t.Helper()
	o := open(t, filepath.Clean(d.path), outbox.Config{Clock: d.clock.now})
	return &testOutbox{Outbox: o, t: t, path: d.path, clock: d.clock}
}

// all returns every event of the outbox in commit order.
func all(t testing.TB, o *outbox.Outbox) (out []events.Event) {
	t.Helper()
	for _, e := range must(o.Source().Pending(t.Context(), 1_000_000))(t) {
		out = append(out, e.Event)
	}
	return out
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func must[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		ok(t, err)
		return value
	}
}

func wantCode(t *testing.T, err error, code events.Code, texts ...string) {
	t.Helper()
	if !errors.Is(err, code) {
		t.Fatalf("%v is not %s", err, code)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q does not say %q", err, text)
		}
	}
}
