package stream_test

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/leaktest"
	"github.com/seed-e88a4ece/signoff/publisher/brokertest"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/subscriber/stream"
)

func TestMain(m *testing.M) {
	leaktest.Main(m)
}

// memoryHandler is a Handler that stores everything in memory.
type memoryHandler struct {
	mu       sync.Mutex
	progress stream.Progress
	events   []events.Event
	batches  []int
	changed  chan struct{}
	reject   func(stream.Batch) error
}

func newMemoryHandler() *memoryHandler { return &memoryHandler{changed: make(chan struct{}, 1)} }

func (h *memoryHandler) Resume(context.Context) (stream.Progress, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.progress, nil
}

func (h *memoryHandler) Apply(_ context.Context, b stream.Batch) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.reject != nil {
		if err := h.reject(b); err != nil {
			return err
		}
	}
	if !b.After.Same(h.progress.Position) {
		return stream.ErrMoved
	}
	heads := map[string]events.ChainHead{}
	for key, head := range h.progress.ChainHeads {
		heads[key] = head
	}
	for _, m := range b.Messages {
		h.events = append(h.events, m.Event)
		heads[m.Event.Study] = m.Event.ChainHead()
	}
	h.progress = stream.Progress{Position: b.Position, ChainHeads: heads}
	h.batches = append(h.batches, len(b.Messages))
	select {
	case h.changed <- struct{}{}:
	default:
	}
	return nil
}

func (h *memoryHandler) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.events)
}

// enough is time for anything, on a slow and loaded machine.
const enough = 2 * time.Minute

// wait returns when n events are stored.
func (h *memoryHandler) wait(t testing.TB, n int) {
	t.Helper()
	limit := time.After(enough)
	for h.count() < n {
		select {
		case <-h.changed:
		case <-limit:
			t.Fatalf("%d of %d events arrived", h.count(), n)
		}
	}
}

// run starts a Reader. The function that it returns stops it and returns what Run
// returned.
func run(t testing.TB, js jetstream.JetStream, h *memoryHandler, cfg stream.Config) (stop func() error, ended <-chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() { result <- stream.NewReader(js, h, cfg).Run(ctx) }()
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
	t.Run("applies present and later events, in order and byte for byte", func(t *testing.T) {
		b := newBroker(t)
		one, two := &study{key: "S1"}, &study{key: "S2"}
		var want []events.Event
		for range 700 {
			want = append(want, one.next(), two.next())
		}
		b.publish(want...)
		h := newMemoryHandler()
		stop, _ := run(t, b.connectReader(), h, stream.Config{})
		h.wait(t, len(want))
		more := one.take(3)
		for i, e := range more {
			b.publish(e)
			h.wait(t, len(want)+i+1)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(append(want, more...), h.events); diff != "" {
			t.Error(diff)
		}
		if last := h.batches[len(h.batches)-1]; last != 1 {
			t.Errorf("a reader that is current got a batch of %d", last)
		}
	})

	t.Run("learns of later events from live messages", func(t *testing.T) {
		b := newBroker(t)
		s := &study{key: "S1"}
		h := newMemoryHandler()
		begun := make(chan error, 100)
		stop, _ := run(t, b.connectReader(), h, stream.Config{
			Poll: time.Hour, Interval: time.Hour, Outage: func(err error) { begun <- err },
		})
		if err := <-begun; err != nil {
			t.Fatal(err)
		}
		for n := range 20 {
			b.publish(s.take(3)...)
			h.wait(t, 3*n+3)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("applies live messages without a request", func(t *testing.T) {
		b := newBroker(t)
		s := &study{key: "S1"}
		want := s.take(41)
		h := newMemoryHandler()
		stop, _ := run(t, b.connectReader(), h, stream.Config{Poll: time.Hour, Interval: time.Hour})
		for i, e := range want {
			if i == 2 { // the first may have come before the subscription, the second has come live
				b.updateStream(func(c *jetstream.StreamConfig) { c.AllowDirect = false })
			}
			b.publish(e)
			h.wait(t, i+1)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, h.events); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("requests what the live messages lack", func(t *testing.T) {
		b := newBroker(t)
		s := &study{key: "S1"}
		want := s.take(20)
		h := newMemoryHandler()
		stop, _ := run(t, b.connectReader(), h, stream.Config{Poll: time.Hour, Interval: time.Hour})
		for list := want; len(list) > 0; list = list[4:] {
			b.publish(list[0])
			h.wait(t, 21-len(list))
			var live *jetstream.RePublish
			b.updateStream(func(c *jetstream.StreamConfig) { live, c.RePublish = c.RePublish, nil })
			b.publish(list[1:3]...)
			b.updateStream(func(c *jetstream.StreamConfig) { c.RePublish = live })
			b.publish(list[3])
		}
		h.wait(t, len(want))
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, h.events); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("asks for later events where no live message arrives", func(t *testing.T) {
		b := newBroker(t)
		b.deleteStream()
		b.createStream(func(c *jetstream.StreamConfig) { c.RePublish = nil })
		s := &study{key: "S1"}
		h := newMemoryHandler()
		stop, _ := run(t, b.connectReader(), h, stream.Config{Poll: 20 * time.Millisecond, Interval: time.Hour})
		for n := range 3 {
			b.publish(s.take(3)...)
			h.wait(t, 3*n+3)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("gets messages that fill several answers, the last exactly", func(t *testing.T) {
		b := newBroker(t)
		s := &study{key: "S1"}
		want := s.take(1498) // answers of 500, each but the first with the message before
		brokertest.PublishBatches(t, b.writer, want)
		h := newMemoryHandler()
		stop, _ := run(t, b.connectReader(), h, stream.Config{Poll: time.Hour, Interval: time.Hour})
		h.wait(t, len(want))
		more := s.take(2)
		b.publish(more...)
		h.wait(t, len(want)+2)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(append(want, more...), h.events); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("gets large messages, of which an answer has few", func(t *testing.T) {
		b := newBroker(t)
		s := &study{key: "S1", body: bytes.Repeat([]byte("x"), 200_000)}
		want := s.take(300) // several times what is requested at a time
		for list := want; len(list) > 0; list = list[25:] {
			brokertest.PublishBatches(t, b.writer, list[:25])
		}
		h := newMemoryHandler()
		stop, _ := run(t, b.connectReader(), h, stream.Config{Poll: time.Hour, Interval: time.Hour})
		h.wait(t, len(want))
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want[299], h.events[299]); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("continues behind the stored position", func(t *testing.T) {
		b := newBroker(t)
		s := &study{key: "S1"}
		want := s.take(20)
		b.publish(want[:10]...)
		h := newMemoryHandler()
		js := b.connectReader()
		stop, _ := run(t, js, h, stream.Config{})
		h.wait(t, 10)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		b.publish(want[10:]...)
		stop, _ = run(t, js, h, stream.Config{})
		h.wait(t, 20)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, h.events); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("ends with the handler's error and repeats the batch later", func(t *testing.T) {
		b := newBroker(t)
		s := &study{key: "S1"}
		want := s.take(30)
		b.publish(want...)
		h := newMemoryHandler()
		full := errors.New("disk full")
		h.reject = func(b stream.Batch) error {
			if b.Position.StreamSequence > 12 {
				return full
			}
			return nil
		}
		js := b.connectReader()
		_, result := run(t, js, h, stream.Config{MaxBatch: 4})
		if err := ended(t, result); !errors.Is(err, full) {
			t.Fatalf("Run ended with %v", err)
		}
		h.reject = nil
		stop, _ := run(t, js, h, stream.Config{})
		h.wait(t, 30)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, h.events); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("starts again from the stored position when that was moved", func(t *testing.T) {
		b := newBroker(t)
		s := &study{key: "S1"}
		want := s.take(20)
		b.publish(want[:10]...)
		h := newMemoryHandler()
		stop, _ := run(t, b.connectReader(), h, stream.Config{})
		h.wait(t, 10)
		h.mu.Lock()
		h.progress, h.events = stream.Progress{}, nil
		h.mu.Unlock()
		b.publish(want[10:]...)
		h.wait(t, 20)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, h.events); diff != "" {
			t.Error(diff)
		}
	})
}

func TestOutage(t *testing.T) {
	t.Run("a stream that does not exist yet is waited for", func(t *testing.T) {
		b := newBroker(t)
		b.deleteStream()
		h := newMemoryHandler()
		causes := make(chan error, 100)
		stop, _ := run(t, b.connectReader(), h, stream.Config{Outage: func(err error) { causes <- err }})
		if err := <-causes; !errors.Is(err, jetstream.ErrStreamNotFound) {
			t.Errorf("causes %v", err)
		}
		b.createStream()
		s := &study{key: "S1"}
		b.publish(s.take(2)...)
		h.wait(t, 2)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("a connection that is lost again and again loses and repeats nothing", func(t *testing.T) {
		b := newBroker(t)
		s := &study{key: "S1"}
		h := newMemoryHandler()
		stop, _ := run(t, b.connectReader(), h, stream.Config{Interval: time.Second})
		var want []events.Event
		for round := range 8 {
			list := s.take(200)
			want = append(want, list...)
			b.publish(list[:100]...)
			if round%2 == 0 {
				h.wait(t, len(want)-100)
			}
			b.disconnect()
			b.publish(list[100:]...)
			b.allow()
		}
		h.wait(t, len(want))
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, h.events); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("a broker that restarts is waited for", func(t *testing.T) {
		b := newBroker(t)
		s := &study{key: "S1"}
		want := s.take(40)
		b.publish(want[:20]...)
		h := newMemoryHandler()
		stop, _ := run(t, b.connectReader(), h, stream.Config{})
		h.wait(t, 20)
		b.disconnect()
		b.Stop()
		b.Start()
		b.writer = b.JetStream(natsd.Publisher)
		b.publish(want[20:]...)
		b.allow()
		h.wait(t, 40)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, h.events); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("Run ends while the broker is unreachable", func(t *testing.T) {
		b := newBroker(t)
		causes := make(chan error, 1000)
		stop, _ := run(t, b.connectReader(), newMemoryHandler(), stream.Config{Outage: func(err error) { causes <- err }})
		if err := <-causes; err != nil {
			t.Fatal(err)
		}
		b.disconnect()
		if err := <-causes; err == nil {
			t.Fatal("causes of no outage")
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("a connection that was closed ends Run", func(t *testing.T) {
		b := newBroker(t)
		js := b.connectReader()
		causes := make(chan error, 1000)
		_, result := run(t, js, newMemoryHandler(), stream.Config{Outage: func(err error) { causes <- err }})
		<-causes
		js.Conn().Close()
		if err := ended(t, result); !errors.Is(err, stream.ErrClosed) {
			t.Errorf("Run ended with %v", err)
		}
	})
}

func TestAnAnswerThatIsLateIsAnOutage(t *testing.T) {
	b := newBroker(t)
	b.publish((&study{key: "S1"}).take(100)...)
	js := b.JetStream(natsd.Reader)
	for i := range 400 {
		// An inbox for each request, so that none receives the rest of another answer.
		inbox := js.Conn().NewInbox()
		answers, err := js.Conn().SubscribeSync(inbox + ".*")
		if err != nil {
			t.Fatal(err)
		}
		wait := time.Duration(1+i%100) * 5 * time.Microsecond // about as long as the broker takes
		if err := stream.Get(t.Context(), js, inbox, answers, wait); err != nil {
			t.Fatalf("after %s: %v", wait, err)
		}
		if err := answers.Unsubscribe(); err != nil {
			t.Fatal(err)
		}
	}
}
