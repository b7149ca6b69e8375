package publisher_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/publisher/brokertest"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
)

func TestMain(m *testing.M) {
	if args := os.Getenv(childVariable); args != "" {
		fmt.Fprintln(os.Stderr, child(args))
		os.Exit(1)
	}
	brokertest.VerifyTestMain(m)
}

func TestRelay(t *testing.T) {
	t.Run("publishes a backlog in batches and then one event at once", func(t *testing.T) {
		b, source := newBroker(t, natsd.Config{}), newOutbox(t)
		source.add("A", 700)
		source.add("B", 600)
		r := run(t, b, source, publisher.Config{AckTimeout: patience, CompareEvery: time.Hour})
		r.reaches(1300)
		if n := r.count("batches_total"); n > 10 {
			t.Errorf("%v publishes for 1300 events", n)
		}
		source.add("A", 1)
		r.reaches(1301)
		same(t, b, source, 1301)
		if s := r.Status(); !s.Ready() || s.Reason != "" {
			t.Errorf("status %+v", s)
		}
	})

	t.Run("keeps batches within their bytes, and large events whole", func(t *testing.T) {
		b, source := newBroker(t, natsd.Config{}), newOutbox(t)
		for range 5 {
			source.addLarge("A")
		}
		source.add("A", 30)
		r := run(t, b, source, publisher.Config{MaxBatchBytes: 700_000})
		r.reaches(40)
		same(t, b, source, 40)
		if n := r.count("batches_total"); n < 5 {
			t.Errorf("%v publishes for 4 MB in batches of 0.7 MB", n)
		}
	})

	t.Run("finishes and records the batch it is sending when it is told to stop", func(t *testing.T) {
		for _, at := range []string{publisher.StepOpen, publisher.StepMiddle, publisher.StepCommit, publisher.StepRecord} {
			b, source := newBroker(t, natsd.Config{}), newOutbox(t)
			source.add("A", 100)
			reached, goOn := make(chan struct{}), make(chan struct{})
			var once atomic.Bool
			r := run(t, b, source, publisher.Config{MaxBatch: 50, AckTimeout: patience, Step: func(name string) {
				if name == at && once.CompareAndSwap(false, true) {
					close(reached)
					<-goOn
				}
			}})
			arrives(t, reached)
			stopped := make(chan struct{})
			go func() { defer close(stopped); r.stop() }()
			close(goOn)
			<-stopped
			same(t, b, source, len(source.published()))
			if n := len(source.published()); n != 50 && n != 100 {
				t.Errorf("%s: %d events recorded", at, n)
			}
			run(t, b, source, publisher.Config{}).reaches(100)
			same(t, b, source, 100)
		}
	})

	t.Run("finds what was acknowledged and could not be recorded", func(t *testing.T) {
		b, source := newBroker(t, natsd.Config{}), newOutbox(t)
		failing := &failing{testOutbox: source}
		failing.records.Store(3)
		source.add("A", 20)
		r := run(t, b, failing, publisher.Config{MaxBatch: 8})
		r.reaches(20)
		source.add("A", 1)
		failing.records.Store(1)
		r.reaches(21)
		same(t, b, source, 21)
		if n := r.count("adopted_total"); n == 0 {
			t.Error("nothing was found in the stream")
		}
	})

	t.Run("tells the age of the oldest event that is not published", func(t *testing.T) {
		b, source := newBroker(t, natsd.Config{}), newOutbox(t)
		r := run(t, b, source, publisher.Config{Clock: func() time.Time { return time.Now().Add(time.Hour) }})
		r.reaches(0)
		b.Stop()
		source.add("A", 1)
		until(t, "notice", func() bool { return r.Status().State == publisher.BackingOff && !r.Status().Oldest.IsZero() })
		if age := r.count("oldest_unpublished_seconds"); age < 3600 || age > 7200 {
			t.Errorf("the oldest event is %v s old, want an hour", age)
		}
		if s := r.Status(); s.Ready() || s.Reason == "" {
			t.Errorf("status %+v", s)
		}
		b.Start()
		r.reaches(1)
		until(t, "see that all is published", func() bool { return r.count("oldest_unpublished_seconds") == 0 })
	})

	t.Run("can be stopped at any moment, the broker away or not", func(t *testing.T) {
		b, source := newBroker(t, natsd.Config{}), newOutbox(t)
		source.add("A", 1)
		run(t, b, source, publisher.Config{}).stop()
		b.Stop()
		b.Start()
		r := run(t, b, source, publisher.Config{})
		b.Stop()
		r.stop()
	})
}

// failing is an outbox whose disk refuses some writes.
type failing struct {
	*testOutbox
	records atomic.Int32 // so many more calls of Record fail
}

func (f *failing) Record(ctx context.Context, entries []events.Entry) error {
	if f.records.Add(-1) >= 0 {
		return errors.New("disk full")
	}
	return f.Outbox.Source().Record(ctx, entries)
}

// count returns a metric's value.
func (r *relay) count(name string) float64 {
	r.t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(r.Metrics()...)
	families, err := registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		if m := f.GetMetric()[0]; f.GetName() == "signoff_publisher_"+name {
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	r.t.Fatalf("no metric %s", name)
	return 0
}
