package publisher_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
)

func TestEnsureStream(t *testing.T) {
	t.Run("creates the stream once and then finds it", func(t *testing.T) {
		js := newBroker(t, natsd.Config{}).jetStream()
		first, err := publisher.EnsureStream(t.Context(), js, publisher.StreamConfig{})
		if err != nil {
			t.Fatal(err)
		}
		second, err := publisher.EnsureStream(t.Context(), js, publisher.StreamConfig{Replicas: 1})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(first.CachedInfo().Created, second.CachedInfo().Created); diff != "" {
			t.Errorf("another stream:\n%s", diff)
		}
		c := second.CachedInfo().Config
		if c.Storage != jetstream.FileStorage || !c.DenyDelete || !c.DenyPurge || !c.AllowAtomicPublish || c.Duplicates != 100*time.Millisecond {
			t.Errorf("settings %+v", c)
		}
	})

	for name, change := range map[string]func(*jetstream.StreamConfig){
		"subjects is": func(c *jetstream.StreamConfig) { c.Subjects = []string{"in.>"} },
		"storage is":  func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage },
		"persist mode is": func(c *jetstream.StreamConfig) {
			c.PersistMode, c.AllowAtomicPublish = jetstream.AsyncPersistMode, false
		},
		"subject transform": func(c *jetstream.StreamConfig) { c.SubjectTransform = nil },
		"republish is none": func(c *jetstream.StreamConfig) { c.RePublish = nil },
		"max messages is":   func(c *jetstream.StreamConfig) { c.MaxMsgs = 1000 },
		"max age is 1h":     func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour },
		"duplicate window":  func(c *jetstream.StreamConfig) { c.Duplicates = time.Minute },
		"deny delete is":    func(c *jetstream.StreamConfig) { c.DenyDelete = false },
		"allow atomic":      func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false },
	} {
		t.Run("refuses and leaves alone a stream whose "+name+" another", func(t *testing.T) {
			b := newBroker(t, natsd.Config{})
			js := b.jetStream()
			if _, err := publisher.EnsureStream(t.Context(), js, publisher.StreamConfig{}); err != nil {
				t.Fatal(err)
			}
			stream, err := js.Stream(t.Context(), events.Stream)
			if err != nil {
				t.Fatal(err)
			}
			other := stream.CachedInfo().Config
			change(&other)
			if err := js.DeleteStream(t.Context(), events.Stream); err != nil {
				t.Fatal(err)
			}
			var made jetstream.Stream
			until(t, "delete the files and make the stream anew", func() bool {
				made, err = js.CreateStream(t.Context(), other)
				return err == nil
			})
			if _, err := publisher.EnsureStream(t.Context(), js, publisher.StreamConfig{}); !errors.Is(err, events.Conflict) || !strings.Contains(err.Error(), name) {
				t.Errorf("got %v", err)
			}
			now, err := js.Stream(t.Context(), events.Stream)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(made.CachedInfo().Config, now.CachedInfo().Config); diff != "" {
				t.Errorf("the stream was changed:\n%s", diff)
			}
			if reason := run(t, b, newOutbox(t), publisher.Config{}).stops(); !strings.Contains(reason, name) {
				t.Errorf("the relay stopped because %s", reason)
			}
		})
	}
}

func TestAStreamThatShowedStudiesOnlyShowsAllFromThenOn(t *testing.T) {
	b := newBroker(t, natsd.Config{})
	js := b.jetStream()
	stream, err := publisher.EnsureStream(t.Context(), js, publisher.StreamConfig{})
	if err != nil {
		t.Fatal(err)
	}
	before := stream.CachedInfo().Config
	before.RePublish = &jetstream.RePublish{Source: "crit.v1.>", Destination: "crit.v1.>"}
	if _, err := js.UpdateStream(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "in.crit.v1.A.DiagnosticReport.signed", []byte("one")); err != nil {
		t.Fatal(err)
	}
	again, err := publisher.EnsureStream(t.Context(), js, publisher.StreamConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(stream.CachedInfo().Config, again.CachedInfo().Config); diff != "" {
		t.Errorf("settings (-wanted +got):\n%s", diff)
	}
	if now := again.CachedInfo(); now.State.LastSeq != 1 || !now.Created.Equal(stream.CachedInfo().Created) {
		t.Errorf("another stream: %+v", now)
	}
}

// A stream from before limits were stated has the server's default, and one may be full.
func TestAStreamThatAllowsFewerConsumersAllowsAsManyAsAreSet(t *testing.T) {
	for name, before := range map[string]int{"no limit": -1, "a limit that is reached": 1} {
		t.Run("from "+name, func(t *testing.T) {
			js := newBroker(t, natsd.Config{}).jetStream()
			stream, err := publisher.EnsureStream(t.Context(), js, publisher.StreamConfig{})
			if err != nil {
				t.Fatal(err)
			}
			old := stream.CachedInfo().Config
			old.MaxConsumers = before
			if _, err := js.UpdateStream(t.Context(), old); err != nil {
				t.Fatal(err)
			}
			if _, err := js.CreateConsumer(t.Context(), events.Stream, jetstream.ConsumerConfig{Durable: "first"}); err != nil {
				t.Fatal(err)
			}
			again, err := publisher.EnsureStream(t.Context(), js, publisher.StreamConfig{MaxConsumers: 2})
			if err != nil {
				t.Fatal(err)
			}
			if c := again.CachedInfo(); c.Config.MaxConsumers != 2 || !c.Created.Equal(stream.CachedInfo().Created) {
				t.Errorf("the stream allows %d consumers and was created %s", c.Config.MaxConsumers, c.Created)
			}
			if _, err := js.CreateConsumer(t.Context(), events.Stream, jetstream.ConsumerConfig{Durable: "second"}); err != nil {
				t.Errorf("within the limit: %v", err)
			}
			if _, err := js.CreateConsumer(t.Context(), events.Stream, jetstream.ConsumerConfig{Durable: "third"}); !errors.Is(err, jetstream.ErrMaximumConsumersLimit) {
				t.Errorf("beyond the limit: %v", err)
			}
		})
	}
	t.Run("and is left alone if it allows more", func(t *testing.T) {
		js := newBroker(t, natsd.Config{}).jetStream()
		for _, setting := range []int{2000, 1000} {
			stream, err := publisher.EnsureStream(t.Context(), js, publisher.StreamConfig{MaxConsumers: setting})
			if err != nil {
				t.Fatal(err)
			}
			if got := stream.CachedInfo().Config.MaxConsumers; got != 2000 {
				t.Errorf("the stream allows %d consumers", got)
			}
		}
	})
	t.Run("and is not changed if other settings are wrong", func(t *testing.T) {
		js := newBroker(t, natsd.Config{}).jetStream()
		if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: events.Stream, Subjects: []string{events.IngestWildcard}}); err != nil {
			t.Fatal(err)
		}
		if _, err := publisher.EnsureStream(t.Context(), js, publisher.StreamConfig{}); !errors.Is(err, events.Conflict) {
			t.Errorf("got %v", err)
		}
		stream, err := js.Stream(t.Context(), events.Stream)
		if err != nil {
			t.Fatal(err)
		}
		if got := stream.CachedInfo().Config.MaxConsumers; got != -1 {
			t.Errorf("it allows %d consumers now", got)
		}
	})
}

// An account elsewhere may have a limit of its own, which the server refuses to exceed.
func TestAStreamAllowsNoMoreConsumersThanItsAccount(t *testing.T) {
	opts := &server.Options{}
	config := `accounts { A { jetstream: {max_consumers: 7}, users: [{user: a, password: a}] } }`
	if err := opts.ProcessConfigString(config); err != nil {
		t.Fatal(err)
	}
	opts.Host, opts.Port, opts.JetStream, opts.StoreDir, opts.NoSigs, opts.NoLog = "127.0.0.1", server.RANDOM_PORT, true, t.TempDir(), true, true
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the server is not ready")
	}
	nc, err := nats.Connect(s.ClientURL(), nats.UserInfo("a", "a"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"a new stream", "one that is there"} {
		stream, err := publisher.EnsureStream(t.Context(), js, publisher.StreamConfig{})
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if got := stream.CachedInfo().Config.MaxConsumers; got != 7 {
			t.Errorf("%s allows %d consumers", what, got)
		}
	}
}

func TestCoreSubscribersSeeWhatIsStoredOnceItIsStored(t *testing.T) {
	b, source := newBroker(t, natsd.Config{}), newOutbox(t)
	js := b.jetStream()
	if _, err := publisher.EnsureStream(t.Context(), js, publisher.StreamConfig{}); err != nil {
		t.Fatal(err)
	}
	nc := b.Connect(natsd.Reader)
	live, err := nc.SubscribeSync(events.StoredWildcard)
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}

	// A batch that is never committed and a message that is refused.
	batch := nats.NewMsg("in.crit.v1.A.DiagnosticReport.signed")
	batch.Header.Set("Nats-Batch-Id", "abandoned")
	batch.Header.Set("Nats-Batch-Sequence", "1")
	if _, err := js.Conn().RequestMsg(batch, time.Minute); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), batch.Subject, nil, jetstream.WithExpectLastSequence(7)); err == nil {
		t.Fatal("a wrong expectation was met")
	}

	source.add("A", 40)
	source.add("B", 1)
	r := run(t, b, source, publisher.Config{})
	r.reaches(41)
	var seen []message
	for _, want := range expected(source.published()) {
		msg, err := live.NextMsg(time.Minute)
		if err != nil {
			t.Fatalf("message %d: %v", want.Sequence, err)
		}
		e, err := events.FromHeader(msg.Header, msg.Data)
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, message{want.Sequence, msg.Subject, e.ID, e.Hash, string(e.Data)})
	}
	if diff := cmp.Diff(b.stored(), seen); diff != "" {
		t.Errorf("stored and seen differ (-stored +seen):\n%s", diff)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if n, _, err := live.Pending(); err != nil || n != 0 {
		t.Errorf("%d more messages seen, %v", n, err)
	}
}
