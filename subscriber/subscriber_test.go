package subscriber_test

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/subscriber"
)

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		child()
		return
	}
	goleak.VerifyTestMain(m, // the server's file store now and then leaves these behind
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server.(*fileStore).flushStreamStateLoop"),
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server.(*msgBlock).flushLoop"),
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"))
}

// keeper is a Handler that keeps everything in memory.
type keeper struct {
	mu      sync.Mutex
	held    subscriber.Progress
	events  []events.Event
	batches []int
	changed chan struct{}
	refuse  func(subscriber.Batch) error
}

func newKeeper() *keeper { return &keeper{changed: make(chan struct{}, 1)} }

func (k *keeper) Resume(context.Context) (subscriber.Progress, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.held, nil
}

func (k *keeper) Apply(_ context.Context, b subscriber.Batch) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.refuse != nil {
		if err := k.refuse(b); err != nil {
			return err
		}
	}
	if !b.After.Same(k.held.Position) {
		return subscriber.ErrMoved
	}
	links := map[string]events.ChainHead{}
	for token, link := range k.held.ChainHeads {
		links[token] = link
	}
	for _, m := range b.Messages {
		k.events = append(k.events, m.Event)
		links[m.Event.Study] = m.Event.ChainHead()
	}
	k.held = subscriber.Progress{Position: b.Position, ChainHeads: links}
	k.batches = append(k.batches, len(b.Messages))
	select {
	case k.changed <- struct{}{}:
	default:
	}
	return nil
}

func (k *keeper) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.events)
}

// enough is time for anything, on a machine that has much else to do.
const enough = 2 * time.Minute

// wait returns when n events are kept.
func (k *keeper) wait(t testing.TB, n int) {
	t.Helper()
	limit := time.After(enough)
	for k.count() < n {
		select {
		case <-k.changed:
		case <-limit:
			t.Fatalf("%d of %d events arrived", k.count(), n)
		}
	}
}

// run starts a subscriber; the function it gives stops it and returns what Run did.
func run(t testing.TB, js jetstream.JetStream, k *keeper, cfg subscriber.Config) (stop func() error, ended <-chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() { result <- subscriber.New(js, k, cfg).Run(ctx) }()
	var once sync.Once
	var err error
	stop = func() error {
		once.Do(func() { cancel(); err = <-result })
		return err
	}
	t.Cleanup(func() {
		cancel()
	})
	return stop, result
}

func ended(t testing.TB, result <-chan error) error {
	t.Helper()
	select {
	case err := <-result:
		return err
	case <-time.After(enough):
		t.Fatal("Run did not end")
		return nil
	}
}

func TestRun(t *testing.T) {
	t.Run("delivers what is there and what comes, in order and byte for byte", func(t *testing.T) {
		b := newBroker(t)
		one, two := &study{token: "S1"}, &study{token: "S2"}
		var want []events.Event
		for range 700 {
			want = append(want, one.next(), two.next())
		}
		b.publish(want...)
		k := newKeeper()
		stop, _ := run(t, b.reader(), k, subscriber.Config{})
		k.wait(t, len(want))
		more := one.take(3)
		for i, e := range more {
			b.publish(e)
			k.wait(t, len(want)+i+1)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(append(want, more...), k.events); diff != "" {
			t.Error(diff)
		}
		if last := k.batches[len(k.batches)-1]; last != 1 {
			t.Errorf("a reader that is current got a batch of %d", last)
		}
	})

	t.Run("goes on behind what is held", func(t *testing.T) {
		b := newBroker(t)
		s := &study{token: "S1"}
		want := s.take(20)
		b.publish(want[:10]...)
		k := newKeeper()
		js := b.reader()
		stop, _ := run(t, js, k, subscriber.Config{})
		k.wait(t, 10)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		b.publish(want[10:]...)
		stop, _ = run(t, js, k, subscriber.Config{})
		k.wait(t, 20)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, k.events); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("ends with the handler's error and repeats the batch later", func(t *testing.T) {
		b := newBroker(t)
		s := &study{token: "S1"}
		want := s.take(30)
		b.publish(want...)
		k := newKeeper()
		full := errors.New("disk full")
		k.refuse = func(b subscriber.Batch) error {
			if b.Position.StreamSequence > 12 {
				return full
			}
			return nil
		}
		js := b.reader()
		_, result := run(t, js, k, subscriber.Config{MaxBatch: 4})
		if err := ended(t, result); !errors.Is(err, full) {
			t.Fatalf("Run ended with %v", err)
		}
		k.refuse = nil
		stop, _ := run(t, js, k, subscriber.Config{})
		k.wait(t, 30)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, k.events); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("starts again from what is held when that was moved", func(t *testing.T) {
		b := newBroker(t)
		s := &study{token: "S1"}
		want := s.take(20)
		b.publish(want[:10]...)
		k := newKeeper()
		stop, _ := run(t, b.reader(), k, subscriber.Config{})
		k.wait(t, 10)
		k.mu.Lock()
		k.held, k.events = subscriber.Progress{}, nil
		k.mu.Unlock()
		b.publish(want[10:]...)
		k.wait(t, 20)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, k.events); diff != "" {
			t.Error(diff)
		}
	})
}

func TestOutage(t *testing.T) {
	t.Run("a stream that does not exist yet is waited for", func(t *testing.T) {
		b := newBroker(t)
		b.deleteStream()
		k := newKeeper()
		told := make(chan error, 100)
		stop, _ := run(t, b.reader(), k, subscriber.Config{Outage: func(err error) { told <- err }})
		if err := <-told; !errors.Is(err, jetstream.ErrStreamNotFound) {
			t.Errorf("told %v", err)
		}
		b.createStream()
		s := &study{token: "S1"}
		b.publish(s.take(2)...)
		k.wait(t, 2)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("a line that is cut again and again loses and repeats nothing", func(t *testing.T) {
		b := newBroker(t)
		s := &study{token: "S1"}
		k := newKeeper()
		stop, _ := run(t, b.reader(), k, subscriber.Config{Interval: time.Second})
		var want []events.Event
		for round := range 8 {
			list := s.take(200)
			want = append(want, list...)
			b.publish(list[:100]...)
			if round%2 == 0 {
				k.wait(t, len(want)-100)
			}
			b.cut()
			b.publish(list[100:]...)
			b.mend()
		}
		k.wait(t, len(want))
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, k.events); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("a broker that restarts is waited for", func(t *testing.T) {
		b := newBroker(t)
		s := &study{token: "S1"}
		want := s.take(40)
		b.publish(want[:20]...)
		k := newKeeper()
		stop, _ := run(t, b.reader(), k, subscriber.Config{})
		k.wait(t, 20)
		b.cut()
		b.stop()
		b.start()
		b.publish(want[20:]...)
		b.mend()
		k.wait(t, 40)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, k.events); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("Run ends while the broker is away", func(t *testing.T) {
		b := newBroker(t)
		told := make(chan error, 1000)
		stop, _ := run(t, b.reader(), newKeeper(), subscriber.Config{Outage: func(err error) { told <- err }})
		if err := <-told; err != nil {
			t.Fatal(err)
		}
		b.cut()
		if err := <-told; err == nil {
			t.Fatal("told of no outage")
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("a connection that was closed ends Run", func(t *testing.T) {
		b := newBroker(t)
		js := b.reader()
		told := make(chan error, 1000)
		_, result := run(t, js, newKeeper(), subscriber.Config{Outage: func(err error) { told <- err }})
		<-told
		js.Conn().Close()
		if err := ended(t, result); !errors.Is(err, subscriber.ErrClosed) {
			t.Errorf("Run ended with %v", err)
		}
	})
}
