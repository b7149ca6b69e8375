package publisher_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
)

func TestRelayWaitsForTheBroker(t *testing.T) {
	t.Run("that goes away and comes back, again and again", func(t *testing.T) {
		b, source := newBroker(t, natsd.Config{}), newOutbox(t)
		r := run(t, b, source, publisher.Config{MaxBatch: 20})
		r.reaches(0)
		var signing sync.WaitGroup
		signing.Go(func() {
			for range 60 {
				source.add("A", 20)
			}
		})
		for range 5 {
			b.Stop()
			until(t, "notice", func() bool { return r.Status().State == publisher.BackingOff })
			b.Start()
			before := r.Status().StreamSequence
			until(t, "go on", func() bool { s := r.Status(); return s.State == publisher.Running && s.StreamSequence >= before })
		}
		signing.Wait()
		r.reaches(1200)
		same(t, b, source, 1200)
	})

	t.Run("that is not there at first", func(t *testing.T) {
		b, source := newBroker(t, natsd.Config{}), newOutbox(t)
		source.add("A", 10)
		nc := b.Connect(natsd.Publisher)
		b.Stop()
		r := runOn(t, nc, source, publisher.Config{})
		until(t, "back off for a reason that people understand", func() bool {
			s := r.Status()
			return s.State == publisher.BackingOff && strings.Contains(s.Reason, "no connection to NATS")
		})
		b.Start()
		r.reaches(10)
		same(t, b, source, 10)
	})

	t.Run("whose disk is full", func(t *testing.T) {
		dir := t.TempDir()
		b, source := newBroker(t, natsd.Config{Dir: dir, MaxStore: 100_000}), newOutbox(t)
		r := run(t, b, source, publisher.Config{MaxBatch: 10})
		for range 10 {
			source.add("A", 20)
		}
		until(t, "say so", func() bool { return strings.Contains(r.Status().Reason, "disk") })
		if source.parked("A") != "" {
			t.Error("a full disk parked a study")
		}
		b.Stop()
		b.Config.MaxStore = 0
		b.Start()
		r.reaches(200)
		same(t, b, source, 200)
	})
}

func TestRelaySaysWhyTheBrokerDoesNotAnswer(t *testing.T) {
	dir := t.TempDir()
	mounted := filepath.Join(dir, "disk")
	if err := os.Mkdir(mounted, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", mounted, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("a file system can only be mounted by root: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(mounted, unix.MNT_DETACH) })
	b, source := newBroker(t, natsd.Config{Dir: mounted}), newOutbox(t)
	r := run(t, b, source, publisher.Config{MaxBatch: 10, AckTimeout: 200 * time.Millisecond})
	r.reaches(0)
	for range 10 {
		source.sign("A", 100, 20)
	}
	until(t, "say so", func() bool { return strings.Contains(r.Status().Reason, "free some space") })
	if source.parked("A") != "" {
		t.Error("a full disk parked a study")
	}
}

func TestRelayFillsTheStreamAgain(t *testing.T) {
	t.Run("that was deleted while it is idle", func(t *testing.T) {
		b, source := newBroker(t, natsd.Config{}), newOutbox(t)
		source.add("A", 1200)
		source.add("B", 100)
		cfg, comparing, goOn := beforeComparison(t, publisher.Config{CompareEvery: 20 * time.Millisecond})
		r := run(t, b, source, cfg)
		r.reaches(1300)
		before := b.stored()
		until(t, "the relay compares", comparing)
		b.deleteStream()
		goOn()
		until(t, "the stream is filled again", b.holds(1300))
		if diff := cmp.Diff(before, b.stored()); diff != "" {
			t.Errorf("before and after differ:\n%s", diff)
		}
		same(t, b, source, 1300)
	})

	t.Run("that was deleted while it is woken for nothing all the time", func(t *testing.T) {
		b, source := newBroker(t, natsd.Config{}), newOutbox(t)
		source.add("A", 100)
		cfg, comparing, goOn := beforeComparison(t, publisher.Config{CompareEvery: 200 * time.Millisecond})
		r := run(t, b, source, cfg)
		r.reaches(100)
		until(t, "the relay compares", func() bool { source.Wake(); return comparing() })
		b.deleteStream()
		goOn()
		filled := b.holds(100)
		until(t, "the stream is filled again", func() bool { source.Wake(); return filled() })
		same(t, b, source, 100)
	})

	t.Run("that was deleted, but not before the deletion has certainly ended", func(t *testing.T) {
		b, source := newBroker(t, natsd.Config{}), newOutbox(t)
		source.add("A", 100)
		r := run(t, b, source, publisher.Config{CompareEvery: time.Hour, Settle: time.Hour})
		r.reaches(100)
		b.deleteStream()
		source.add("A", 1)
		until(t, "wait", func() bool { return strings.Contains(r.Status().Reason, "wait until its deletion has ended") })
		r.stop()
		if _, err := b.jetStream().Stream(t.Context(), events.Stream); !errors.Is(err, jetstream.ErrStreamNotFound) {
			t.Errorf("looking the stream up returned %v", err)
		}
		run(t, b, source, publisher.Config{}).reaches(101)
		same(t, b, source, 101)
	})

	t.Run("that was deleted just before it publishes", func(t *testing.T) {
		b, source := newBroker(t, natsd.Config{}), newOutbox(t)
		source.add("A", 100)
		r := run(t, b, source, publisher.Config{CompareEvery: time.Hour})
		r.reaches(100)
		b.deleteStream()
		source.add("A", 1)
		r.reaches(101)
		same(t, b, source, 101)
	})

	t.Run("that was deleted and is an empty one again", func(t *testing.T) {
		b, source := newBroker(t, natsd.Config{}), newOutbox(t)
		source.add("A", 100)
		r := run(t, b, source, publisher.Config{CompareEvery: time.Hour})
		r.reaches(100)
		b.deleteStream()
		if _, err := publisher.EnsureStream(t.Context(), b.jetStream(), publisher.StreamConfig{}); err != nil {
			t.Fatal(err)
		}
		source.add("A", 1)
		r.reaches(101)
		same(t, b, source, 101)
	})

	t.Run("that was restored from an older copy", func(t *testing.T) {
		dir, copied := t.TempDir(), t.TempDir()
		b, source := newBroker(t, natsd.Config{Dir: dir}), newOutbox(t)
		source.add("A", 700)
		r := run(t, b, source, publisher.Config{})
		r.reaches(700)
		b.Stop()
		if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		b.Start()
		source.add("A", 900)
		r.reaches(1600)
		r.stop()
		b.Stop()

		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(dir, os.DirFS(copied)); err != nil {
			t.Fatal(err)
		}
		b.Start()
		source.add("B", 10)
		r = run(t, b, source, publisher.Config{})
		r.reaches(1610)
		if n := r.count("healed_total"); n > 900 { // fewer where an acknowledgement came too late
			t.Errorf("%v events were published again, want 900", n)
		}
		same(t, b, source, 1610)
	})

	t.Run("but not one whose remainder is not its own", func(t *testing.T) {
		b, source, other := newBroker(t, natsd.Config{}), newOutbox(t), newOutbox(t)
		other.add("A", 5)
		r := run(t, b, other, publisher.Config{})
		r.reaches(5)
		r.stop()
		elsewhere := newBroker(t, natsd.Config{})
		source.add("A", 10)
		r = run(t, elsewhere, source, publisher.Config{})
		r.reaches(10)
		r.stop()
		run(t, b, source, publisher.Config{}).stops()
		if n := b.last(); n != 5 {
			t.Errorf("the stream went on to %d", n)
		}
	})
}

// beforeComparison returns cfg with a Step in which the relay waits before a comparison.
// The first call of comparing makes it wait before the next one; comparing reports whether
// the relay waits. GoOn ends the wait. A stream that is deleted between them is deleted
// completely when the relay looks for it.
func beforeComparison(t *testing.T, cfg publisher.Config) (_ publisher.Config, comparing func() bool, goOn func()) {
	t.Helper()
	b := newBarrier(t)
	var wanted atomic.Bool
	cfg.Step = func(name string) {
		if name == publisher.StepCompare && wanted.Load() {
			b.pass()
		}
	}
	comparing = func() bool {
		wanted.Store(true)
		select {
		case <-b.reached:
			return true
		default:
			return false
		}
	}
	return cfg, comparing, func() { close(b.opened) }
}

// deleteStream deletes the stream as only its owner can.
func (b *broker) deleteStream() {
	b.t.Helper()
	if err := b.jetStream().DeleteStream(b.t.Context(), events.Stream); err != nil {
		b.t.Fatal(err)
	}
}

func TestRelayOutlivesEverythingAtOnce(t *testing.T) {
	b, source := newBroker(t, natsd.Config{}), newOutbox(t)
	failing := &failing{testOutbox: source}
	r := run(t, b, failing, publisher.Config{MaxBatch: 7, CompareEvery: 10 * time.Millisecond})
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	total := 0
	for range 40 {
		switch random.IntN(6) {
		case 0:
			b.Stop()
			b.Start()
		case 1:
			// Not in the middle of a batch, which may be one that is published again: the
			// server may then make the new stream end where the old one did, empty, and the
			// relay stops.
			r.stop()
			if err := b.jetStream().DeleteStream(t.Context(), events.Stream); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
				t.Fatal(err)
			}
			r = run(t, b, failing, publisher.Config{MaxBatch: 7, CompareEvery: 10 * time.Millisecond})
			until(t, "the stream is filled again", b.holds(total))
		case 2:
			failing.records.Store(int32(random.IntN(3)))
		case 3:
			r.stop()
			r = run(t, b, failing, publisher.Config{MaxBatch: 1 + random.IntN(30), CompareEvery: 10 * time.Millisecond})
		default:
			n := 1 + random.IntN(30)
			source.add([]string{"A", "B"}[random.IntN(2)], n)
			total += n
		}
		if random.IntN(3) == 0 {
			r.reaches(uint64(total))
		}
	}
	r.reaches(uint64(total))
	until(t, "the stream is filled again", b.holds(total))
	same(t, b, source, total)
}

// holds returns a function that reports whether the stream exists and ends at n.
func (b *broker) holds(n int) func() bool {
	b.t.Helper()
	js := b.jetStream()
	return func() bool {
		stream, err := js.Stream(b.t.Context(), events.Stream)
		return err == nil && stream.CachedInfo().State.LastSeq == uint64(n)
	}
}
