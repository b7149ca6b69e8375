package publisher_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
)

func TestRelayStopsForGoodAndWritesNothing(t *testing.T) {
	// wantStopped wants the relay stopped for a reason, and the stream untouched
	// whatever is signed afterwards.
	wantStopped := func(t *testing.T, b *broker, r *relay, source *testOutbox, parts ...string) {
		t.Helper()
		reason := r.stops()
		for _, part := range parts {
			if !strings.Contains(reason, part) {
				t.Errorf("the reason does not say %q: %s", part, reason)
			}
		}
		if unsigned := r.Status().Unsigned; unsigned != strings.Contains(reason, "at sequence") {
			t.Errorf("Unsigned is %t: %s", unsigned, reason)
		}
		before := len(source.published())
		last := b.last()
		source.add("A", 3)
		r.stop()
		if now := b.last(); now != last {
			t.Errorf("the stream went on from %d to %d", last, now)
		}
		if after := len(source.published()); after != before {
			t.Errorf("%d more events were recorded", after-before)
		}
	}

	t.Run("when somebody else writes while it is idle", func(t *testing.T) {
		b, source := newBroker(t, natsd.Config{}), newOutbox(t)
		source.add("A", 10)
		r := run(t, b, source, publisher.Config{CompareEvery: 20 * time.Millisecond})
		r.reaches(10)
		b.intrude()
		wantStopped(t, b, r, source, "at sequence 11", "no event of ours", "the outbox has nothing", "another publisher")
	})

	t.Run("when somebody else writes just before it does", func(t *testing.T) {
		b, source := newBroker(t, natsd.Config{}), newOutbox(t)
		source.add("A", 10)
		r := run(t, b, source, publisher.Config{CompareEvery: time.Hour})
		r.reaches(10)
		b.intrude()
		source.add("A", 1)
		wantStopped(t, b, r, source, "at sequence 11", "the outbox has event 11 of study A")
	})

	t.Run("when somebody else writes in the middle of its batch", func(t *testing.T) {
		b, source := newBroker(t, natsd.Config{}), newOutbox(t)
		source.add("A", 100)
		done := false
		r := run(t, b, source, publisher.Config{Step: func(name string) {
			if name == publisher.StepMiddle && !done {
				done = true
				b.intrude()
			}
		}})
		wantStopped(t, b, r, source, "at sequence 1 ")
		if n := b.last(); n != 1 {
			t.Errorf("the stream holds %d messages, want the intruder's only", n)
		}
	})

	t.Run("when the stream holds its next event with another body", func(t *testing.T) {
		b, source := newBroker(t, natsd.Config{}), newOutbox(t)
		source.add("A", 2)
		pending, err := source.Source().Pending(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		js, e := b.jetStream(), pending[0].Event
		if _, err := publisher.EnsureStream(t.Context(), js, publisher.StreamConfig{}); err != nil {
			t.Fatal(err)
		}
		altered := bytes.Replace(e.Data, []byte("37.6"), []byte("37.7"), 1)
		if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: "in." + e.NATSSubject(), Header: e.Header(), Data: altered}); err != nil {
			t.Fatal(err)
		}
		wantStopped(t, b, run(t, b, source, publisher.Config{}), source, "at sequence 1 ")
	})

	t.Run("when its outbox is older than the stream", func(t *testing.T) {
		b, source := newBroker(t, natsd.Config{}), newOutbox(t)
		source.add("A", 10)
		r := run(t, b, source, publisher.Config{})
		r.reaches(10)
		old := source.backup()
		source.add("A", 5)
		r.reaches(15)
		r.stop()
		wantStopped(t, b, run(t, b, old, publisher.Config{}), old, "at sequence 11", "the outbox has nothing", "current outbox.db")
	})

	t.Run("when its outbox is older than the stream and went on by itself", func(t *testing.T) {
		b, source := newBroker(t, natsd.Config{}), newOutbox(t)
		source.add("A", 10)
		r := run(t, b, source, publisher.Config{})
		r.reaches(10)
		old := source.backup()
		source.add("A", 5)
		r.reaches(15)
		r.stop()
		old.add("A", 5)
		wantStopped(t, b, run(t, b, old, publisher.Config{}), old, "at sequence 11 the stream holds event 11 of study A", "the outbox has event 11 of study A")
	})

	t.Run("when the stream is another installation's", func(t *testing.T) {
		b, first, second := newBroker(t, natsd.Config{}), newOutbox(t), newOutbox(t)
		first.add("A", 10)
		r := run(t, b, first, publisher.Config{})
		r.reaches(10)
		r.stop()
		other := newBroker(t, natsd.Config{})
		second.add("A", 10)
		r = run(t, other, second, publisher.Config{})
		r.reaches(10)
		r.stop()
		wantStopped(t, b, run(t, b, second, publisher.Config{}), second, "at sequence 10")

		second.add("A", 10)
		r = run(t, other, second, publisher.Config{})
		r.reaches(23)
		r.stop()
		wantStopped(t, b, run(t, b, second, publisher.Config{}), second, "at sequence 1 ")
	})

	t.Run("when the beginning of the stream is missing", func(t *testing.T) {
		b, source := newBroker(t, natsd.Config{}), newOutbox(t)
		source.add("A", 10)
		r := run(t, b, source, publisher.Config{CompareEvery: time.Hour})
		r.reaches(10)
		r.stop()
		js := b.jetStream()
		stream, err := js.Stream(t.Context(), events.Stream)
		if err != nil {
			t.Fatal(err)
		}
		c := stream.CachedInfo().Config
		c.MaxMsgs, c.Discard = 4, jetstream.DiscardOld
		if _, err := js.UpdateStream(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		c.MaxMsgs, c.Discard = -1, jetstream.DiscardNew
		if _, err := js.UpdateStream(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		wantStopped(t, b, run(t, b, source, publisher.Config{}), source, "holds 4 messages, sequence 7 to 10", "deleted")

		if err := js.DeleteStream(t.Context(), events.Stream); err != nil { // as the reason says
			t.Fatal(err)
		}
		run(t, b, source, publisher.Config{}).reaches(13)
		same(t, b, source, 13)
	})
}

func TestRelayCarriesKindsThatItDoesNotKnow(t *testing.T) {
	b, source := newBroker(t, natsd.Config{}), newOutbox(t)
	source.add("A", 2)
	if _, err := source.Accounts().AddPartner(t.Context(), "test", "acme", "Acme", []string{"A"}); err != nil {
		t.Fatal(err)
	}
	for range 10 { // enough for a batch
		source.newer("diagnosticreport.retracted.v1", "A")
		source.newer("readercomment.added.optional.v1", "A")
	}
	source.newer("access.role.v1", events.AccessStudy)
	source.newer("access.paused.v1", events.PartnerStudy("acme"))
	source.add("A", 1)
	n := 2 + 2 + 20 + 2 + 1
	old := source.backup() // holds all events, but does not know that they are published
	r := run(t, b, source, publisher.Config{})
	r.reaches(uint64(n))
	source.newer("diagnosticreport.retracted.v1", "A")
	r.reaches(uint64(n + 1))
	r.stop()
	same(t, b, source, n+1)
	t.Run("a comparison takes the last one for what it is", func(t *testing.T) {
		r := run(t, b, source, publisher.Config{})
		r.reaches(uint64(n + 1))
		r.stop()
	})
	t.Run("those whose acknowledgement was lost are recorded", func(t *testing.T) {
		other := newBroker(t, natsd.Config{})
		first := old.backup()
		r := run(t, other, first, publisher.Config{})
		r.reaches(uint64(n))
		r.stop()
		r = run(t, other, old, publisher.Config{})
		r.reaches(uint64(n))
		r.stop()
		same(t, other, old, n)
	})
}

func TestRelayTakesUpAnOutboxThatLostItsStreamSequences(t *testing.T) {
	b, source := newBroker(t, natsd.Config{}), newOutbox(t)
	source.add("A", 1010)
	source.add("B", 1010)
	old := source.backup() // holds all events, but does not know that they are published
	r := run(t, b, source, publisher.Config{})
	r.reaches(2020)
	r.stop()
	old.add("B", 5)
	r = run(t, b, old, publisher.Config{})
	r.reaches(2025)
	same(t, b, old, 2025)
	if diff := cmp.Diff(expected(source.published()), expected(old.published())[:2020]); diff != "" {
		t.Errorf("stream sequences differ:\n%s", diff)
	}
}

// intrude stores a message that the outbox does not know.
func (b *broker) intrude() {
	b.t.Helper()
	if _, err := b.jetStream().Publish(b.t.Context(), "in.crit.v1.A.DiagnosticReport.signed", []byte("not ours")); err != nil {
		b.t.Error(err)
	}
}

// last returns the sequence of the stream's last message.
func (b *broker) last() uint64 {
	b.t.Helper()
	stream, err := b.jetStream().Stream(b.t.Context(), events.Stream)
	if err != nil {
		b.t.Fatal(err)
	}
	return stream.CachedInfo().State.LastSeq
}
