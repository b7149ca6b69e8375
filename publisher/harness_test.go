package publisher_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/publisher/brokertest"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
)

// broker is an embedded server that can be stopped and started again.
type broker struct {
	*brokertest.Broker
	t testing.TB
}

func newBroker(t testing.TB, cfg natsd.Config) *broker {
	t.Helper()
	b := &broker{brokertest.New(t, cfg), t}
	b.Start()
	return b
}

// jetStream returns the API with all rights on the stream.
func (b *broker) jetStream() jetstream.JetStream {
	b.t.Helper()
	return b.JetStream(natsd.Publisher)
}

// relay is a running relay.
type relay struct {
	*publisher.Relay
	t    testing.TB
	stop func() // and wait until it has stopped
}

// run starts a relay on a connection of its own.
func run(t testing.TB, b *broker, source publisher.Source, cfg publisher.Config) *relay {
	t.Helper()
	return runOn(t, b.Connect(natsd.Publisher), source, cfg)
}

func runOn(t testing.TB, nc *nats.Conn, source publisher.Source, cfg publisher.Config) *relay {
	t.Helper()
	cfg.Log = slog.New(slog.DiscardHandler)
	if cfg.MaxBackoff == 0 {
		cfg.MaxBackoff = 100 * time.Millisecond
	}
	if cfg.AckTimeout == 0 {
		cfg.AckTimeout = time.Second
	}
	if cfg.Settle == 0 {
		cfg.Settle = 10 * time.Millisecond
	}
	r, err := publisher.New(nc, source, cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	return &relay{Relay: r, t: t, stop: stop}
}

// patience is enough for what takes seconds, on a machine that has much else to do.
const patience = 2 * time.Minute

// until waits for a condition that other goroutines make true.
func until(t testing.TB, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("in vain: %s", what)
		}
	}
}

// arrives waits until a relay has arrived at a step.
func arrives(t testing.TB, step <-chan struct{}) {
	t.Helper()
	select {
	case <-step:
	case <-time.After(patience):
		t.Fatal("the relay does not arrive at the step")
	}
}

// reaches waits until n events are published and recorded.
func (r *relay) reaches(n uint64) {
	r.t.Helper()
	r.t.Cleanup(func() {
		if r.t.Failed() {
			r.t.Logf("relay: %+v", r.Status())
		}
	})
	until(r.t, "publish everything", func() bool {
		s := r.Status()
		if s.State == publisher.Stopped {
			r.t.Fatalf("stopped: %s", s.Reason)
		}
		return s.State == publisher.Running && s.StreamSequence == n
	})
}

// stops waits until the relay has stopped for good and returns the reason.
func (r *relay) stops() string {
	r.t.Helper()
	until(r.t, "stop", func() bool { return r.Status().State == publisher.Stopped })
	return r.Status().Reason
}

// message is what a test compares of a stored message.
type message struct {
	Sequence uint64
	Subject  string
	ID, Hash string
	Data     string
}

// stored reads the whole stream.
func (b *broker) stored() []message {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	js := b.jetStream()
	stream, err := js.Stream(ctx, events.Stream)
	if err != nil {
		b.t.Fatal(err)
	}
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		b.t.Fatal(err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		b.t.Fatal(err)
	}
	defer messages.Stop()
	var all []message
	for uint64(len(all)) < stream.CachedInfo().State.LastSeq {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			b.t.Fatal(err)
		}
		meta, err := msg.Metadata()
		if err != nil {
			b.t.Fatal(err)
		}
		e, err := events.FromHeader(msg.Headers(), msg.Data())
		if err != nil {
			b.t.Fatal(err)
		}
		if err := e.Verify(); err != nil {
			b.t.Error(err)
		}
		all = append(all, message{meta.Sequence.Stream, msg.Subject(), e.ID, e.Hash, string(e.Data)})
	}
	return all
}

func expected(entries []events.Entry) []message {
	var all []message
	for _, e := range entries {
		all = append(all, message{e.StreamSequence, e.Event.NATSSubject(), e.Event.ID, e.Event.Hash, string(e.Event.Data)})
	}
	return all
}

// same wants the stream to hold exactly what the outbox recorded, n events.
func same(t testing.TB, b *broker, source *testOutbox, n int) {
	t.Helper()
	want := expected(source.published())
	if len(want) != n {
		t.Errorf("%d events are recorded, want %d", len(want), n)
	}
	if diff := cmp.Diff(want, b.stored()); diff != "" {
		t.Errorf("outbox and stream differ (-outbox +stream):\n%s", diff)
	}
}
