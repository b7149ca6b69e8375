package publisher_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
)

// watched is an outbox that calls a function after its head was read.
type watched struct {
	*testOutbox
	read func()
}

func (w *watched) Head(ctx context.Context) (events.Entry, error) {
	head, err := w.Outbox.Source().Head(ctx)
	w.read()
	return head, err
}

// barrier holds the first who passes it until it is opened, or the test has failed.
type barrier struct {
	t               *testing.T
	reached, opened chan struct{}
	first           sync.Once
}

func newBarrier(t *testing.T) *barrier {
	return &barrier{t: t, reached: make(chan struct{}), opened: make(chan struct{})}
}

func (b *barrier) pass() {
	b.first.Do(func() {
		close(b.reached)
		select {
		case <-b.opened:
		case <-b.t.Context().Done():
		}
	})
}

func TestTwoRelaysOnOneOutbox(t *testing.T) {
	// again opens the outbox once more, as another process would. What is added
	// through the one wakes no relay on the other.
	again := func(t *testing.T, source *testOutbox) *testOutbox { return openOutbox(t, source.path) }

	t.Run("publish everything once, and neither stops before they are contradicted", func(t *testing.T) {
		b, source := newBroker(t, natsd.Config{}), newOutbox(t)
		cfg := publisher.Config{CompareEvery: 5 * time.Millisecond, MaxBackoff: 20 * time.Millisecond, MaxBatch: 20}
		first, second := run(t, b, source, cfg), run(t, b, again(t, source), cfg)
		total := 0
		for i := range 150 {
			n := 1 + i%20
			source.add([]string{"A", "B"}[i%2], n)
			total += n
		}
		first.reaches(uint64(total))
		second.reaches(uint64(total))
		same(t, b, source, total)

		b.intrude()
		for _, r := range []*relay{first, second} {
			if reason := r.stops(); !strings.Contains(reason, "another publisher") {
				t.Errorf("stopped because %s", reason)
			}
		}
		source.add("A", 5)
		first.stop()
		second.stop()
		if n := b.last(); n != uint64(total)+1 {
			t.Errorf("the stream went on to %d", n)
		}
	})

	t.Run("go on when one has recorded what the other has published", func(t *testing.T) {
		for _, n := range []int{1, 100} { // a message, a batch
			b, source := newBroker(t, natsd.Config{}), newOutbox(t)
			source.add("A", n)
			g := newBarrier(t)
			first := run(t, b, source, publisher.Config{Step: func(name string) {
				if name == publisher.StepRecord {
					g.pass()
				}
			}})
			arrives(t, g.reached)
			other := again(t, source)
			second := run(t, b, other, publisher.Config{CompareEvery: time.Hour})
			second.reaches(uint64(n))
			source.add("A", 3)
			other.Wake()
			second.reaches(uint64(n + 3))
			close(g.opened)
			first.reaches(uint64(n + 3))
			same(t, b, source, n+3)
		}
	})

	t.Run("go on when one records while the other compares stream and outbox", func(t *testing.T) {
		for _, waiting := range []int{0, 5} {
			b, source := newBroker(t, natsd.Config{}), newOutbox(t)
			source.add("A", 10)
			other := again(t, source)
			second := run(t, b, other, publisher.Config{CompareEvery: time.Hour})
			second.reaches(10)
			g := newBarrier(t)
			first := run(t, b, &watched{source, g.pass}, publisher.Config{})
			arrives(t, g.reached) // knows the head, and neither the stream's end nor what is pending
			source.add("A", 20)
			other.Wake()
			second.reaches(30)
			second.stop()
			if waiting > 0 {
				source.add("B", waiting)
			}
			close(g.opened)
			first.reaches(uint64(30 + waiting))
			same(t, b, source, 30+waiting)
		}
	})

	t.Run("store nothing in a wrong place when the stream is lost and ends where one of them last saw it", func(t *testing.T) {
		b, source := newBroker(t, natsd.Config{}), newOutbox(t)
		first := run(t, b, source, publisher.Config{CompareEvery: time.Hour})
		first.reaches(0)
		other := again(t, source)
		other.add("A", 10)
		second := run(t, b, other, publisher.Config{CompareEvery: time.Hour})
		second.reaches(10)
		second.stop()
		b.deleteStream()
		if _, err := publisher.EnsureStream(t.Context(), b.jetStream(), publisher.StreamConfig{}); err != nil {
			t.Fatal(err)
		}
		other.add("B", 1)
		source.Wake()
		first.reaches(11)
		same(t, b, source, 11)
	})

	t.Run("go on when one publishes what the other is about to park", func(t *testing.T) {
		b, source := newBroker(t, natsd.Config{}), newOutbox(t)
		limit := func(bytes int32) {
			js := b.jetStream()
			stream, err := publisher.EnsureStream(t.Context(), js, publisher.StreamConfig{})
			if err != nil {
				t.Fatal(err)
			}
			c := stream.CachedInfo().Config
			c.MaxMsgSize = bytes
			if _, err := js.UpdateStream(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
		limit(100_000)
		source.addLarge("A")
		g := newBarrier(t)
		first := run(t, b, source, publisher.Config{Step: func(name string) {
			if name == publisher.StepPark {
				g.pass()
			}
		}})
		arrives(t, g.reached)
		limit(8 << 20)
		second := run(t, b, again(t, source), publisher.Config{})
		second.reaches(2)
		close(g.opened)
		first.reaches(2)
		if reason := source.parked("A"); reason != "" {
			t.Errorf("study A is parked because %s", reason)
		}
		same(t, b, source, 2)
	})

	t.Run("release a study in no moment in which a newer event is on its way from the other", func(t *testing.T) {
		b, source := newBroker(t, natsd.Config{MaxPayload: 100_000}), newOutbox(t)
		source.addLarge("A")
		first := run(t, b, source, publisher.Config{CompareEvery: time.Hour})
		until(t, "park", func() bool { return source.parked("A") != "" })
		first.stop()
		b.Stop()
		b.Config.MaxPayload = 8 << 20
		b.Start()

		// The first finds nothing pending. Before it releases study A, the second
		// has stored an event of study B and not recorded it yet.
		other := again(t, source)
		stored, before := newBarrier(t), newBarrier(t)
		first = run(t, b, &releasing{source, before.pass}, publisher.Config{CompareEvery: 5 * time.Millisecond, MaxBackoff: 20 * time.Millisecond})
		arrives(t, before.reached)
		other.next = 100
		other.add("B", 1)
		release(t, source, "A")
		second := run(t, b, other, publisher.Config{CompareEvery: 5 * time.Millisecond, MaxBackoff: 20 * time.Millisecond, Step: func(name string) {
			if name == publisher.StepRecord {
				stored.pass()
			}
		}})
		arrives(t, stored.reached)
		close(before.opened)
		until(t, "record what the other stored, or publish before it", func() bool {
			return first.Status().State == publisher.Stopped || first.Status().StreamSequence > 0
		})
		close(stored.opened)
		first.reaches(3)
		second.reaches(3)
		same(t, b, source, 3)
	})
}

// releasing is an outbox that calls a function before it releases studies.
type releasing struct {
	*testOutbox
	before func()
}

func (r *releasing) Release(ctx context.Context) (int, error) {
	r.before()
	return r.Outbox.Source().Release(ctx)
}
