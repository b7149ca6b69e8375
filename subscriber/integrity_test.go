package subscriber_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/subscriber"
)

// resealed is e with another body and the hash that belongs to it.
func resealed(e events.Event, previous events.ChainHead) events.Event {
	e.Data = []byte(`{"another":"body"}`)
	e.Seal(previous)
	return e
}

func TestFollowRefusesWhatDoesNotBelong(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(list []events.Event) []events.Event // of six events, what the log holds
		code events.Code
		good int // events that come before
	}{
		{"a gap", func(l []events.Event) []events.Event { return append(l[:3:3], l[4:]...) }, events.Gap, 3},
		{"a gap before the first event", func(l []events.Event) []events.Event { return l[2:] }, events.Gap, 0},
		{"the last event twice", func(l []events.Event) []events.Event { return append(l[:4:4], l[3], l[4]) }, events.Repeat, 4},
		{"an earlier event twice", func(l []events.Event) []events.Event { return append(l[:4:4], l[1], l[4]) }, events.Reorder, 4},
		{"two events in the wrong order", func(l []events.Event) []events.Event { return []events.Event{l[0], l[1], l[3], l[2], l[4]} }, events.Reorder, 2},
		{"an altered body", func(l []events.Event) []events.Event { l[3].Data = []byte(`{"other":1}`); return l }, events.Altered, 3},
		{"an altered attribute", func(l []events.Event) []events.Event { l[3].Subject = "DiagnosticReport/9/_history/9"; return l }, events.Altered, 3},
		{"another chain", func(l []events.Event) []events.Event {
			l[3] = resealed(l[3], events.ChainHead{Number: 3, Hash: l[1].Hash})
			return l
		}, events.Altered, 3},
		{"a replaced event, sealed anew", func(l []events.Event) []events.Event { l[3] = resealed(l[3], l[2].ChainHead()); return l }, events.Altered, 4},
		{"a second event of the same number", func(l []events.Event) []events.Event {
			return append(l[:4:4], resealed(l[3], l[2].ChainHead()))
		}, events.Altered, 4},
		{"what is no event", func(l []events.Event) []events.Event { l[3].ID = "with space"; return l }, events.Invalid, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newServer(t, "S1")
			list := (&study{key: "S1"}).take(6)
			log := c.make(append([]events.Event(nil), list...))
			publish(t, d, log...)
			p, r := d.dial(t, subscriber.PartnerConfig{}), newMemoryFollower()
			_, result := follow(t, p, "S1", r)
			err := ended(t, result)
			if !errors.Is(err, c.code) || errors.Is(err, subscriber.ErrAccessEnded) {
				t.Errorf("Follow ended with %v, want the code %s", err, c.code)
			}
			if n := r.count("S1"); n != c.good {
				t.Errorf("%d events were handled before, want %d", n, c.good)
			}
			// What is redelivered may come in another order, and so look otherwise.
			_, result = follow(t, p, "S1", r)
			if err := ended(t, result); !errors.Is(err, c.code) && !errors.Is(err, events.Reorder) {
				t.Errorf("a second Follow ended with %v", err)
			}
		})
	}

	t.Run("an event of another study", func(t *testing.T) {
		d := newServer(t, "S1")
		e := (&study{key: "S2"}).next()
		if err := d.consumer("S1", func(cfg *jetstream.ConsumerConfig) { cfg.FilterSubject = events.StudySubjects("S2") }); err != nil {
			t.Fatal(err)
		}
		publish(t, d, e)
		p := d.dial(t, subscriber.PartnerConfig{})
		if err := p.Follow(t.Context(), "S1", newMemoryFollower()); !errors.Is(err, events.Invalid) {
			t.Errorf("Follow ended with %v", err)
		}
	})

	t.Run("a consumer that starts behind the stored bookmark", func(t *testing.T) {
		d := newServer(t, "S1")
		list := (&study{key: "S1"}).take(50)
		publish(t, d, list...)
		d.deleteConsumer(t, "S1")
		if err := d.consumer("S1", func(cfg *jetstream.ConsumerConfig) {
			cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, 31
		}); err != nil {
			t.Fatal(err)
		}
		p, r := d.dial(t, subscriber.PartnerConfig{}), newMemoryFollower()
		r.marks["S1"] = subscriber.Bookmark{Number: 20, Hash: list[19].Hash, StreamSequence: 20}
		if err := p.Follow(t.Context(), "S1", r); !errors.Is(err, events.Gap) {
			t.Errorf("Follow ended with %v", err)
		}
		if r.count("S1") != 0 {
			t.Error("events were handled behind the gap")
		}
	})

	t.Run("a stored bookmark that is older than what was acknowledged", func(t *testing.T) {
		d := newServer(t, "S1")
		s := &study{key: "S1"}
		publish(t, d, s.take(10)...)
		p, r := d.dial(t, subscriber.PartnerConfig{}), newMemoryFollower()
		stop, _ := follow(t, p, "S1", r)
		r.wait(t, "S1", 10)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		old := newMemoryFollower() // restored from a backup
		old.marks["S1"] = subscriber.Bookmark{Number: 4, Hash: r.got["S1"][3].Hash, StreamSequence: 4}
		_, result := follow(t, p, "S1", old)
		publish(t, d, s.next())
		if err := ended(t, result); !errors.Is(err, events.Gap) {
			t.Errorf("Follow ended with %v", err)
		}
	})
}

func TestFollowComparesWhatComesAgain(t *testing.T) {
	// redelivers makes a consumer deliver everything again to a partner that
	// has stored all of it, and returns the result of Follow when one more event is delivered.
	redelivers := func(t *testing.T, log []events.Event, stored events.Event, sequence uint64) (*memoryFollower, func() error, <-chan error) {
		d := newServer(t, "S1")
		publish(t, d, log...)
		p, r := d.dial(t, subscriber.PartnerConfig{}), newMemoryFollower()
		r.marks["S1"] = subscriber.Bookmark{Number: stored.Number, Hash: stored.Hash, StreamSequence: sequence}
		stop, result := follow(t, p, "S1", r)
		return r, stop, result
	}
	list := (&study{key: "S1"}).take(6)

	t.Run("and passes over it when it is the same", func(t *testing.T) {
		r, stop, _ := redelivers(t, list, list[4], 5)
		r.wait(t, "S1", 1)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if got := r.got["S1"]; len(got) != 1 || got[0].Number != 6 {
			t.Errorf("handled %v", got)
		}
	})
	for name, log := range map[string][]events.Event{
		"the stored event is another":   {list[0], list[1], list[2], list[3], resealed(list[4], list[3].ChainHead()), list[5]},
		"an event before it is another": {list[0], resealed(list[1], list[0].ChainHead()), list[2], list[3], list[4], list[5]},
		"the first event is another":    {resealed(list[0], events.ChainHead{}), list[1], list[2], list[3], list[4], list[5]},
	} {
		t.Run("and ends when "+name, func(t *testing.T) {
			r, _, result := redelivers(t, log, list[4], 5)
			if err := ended(t, result); !errors.Is(err, events.Altered) {
				t.Errorf("Follow ended with %v", err)
			}
			if r.count("S1") != 0 {
				t.Error("an event was handled")
			}
		})
	}
	t.Run("and ends when it has moved in the stream", func(t *testing.T) {
		_, _, result := redelivers(t, list, list[4], 3)
		if err := ended(t, result); !errors.Is(err, events.Reorder) && !errors.Is(err, events.Repeat) {
			t.Errorf("Follow ended with %v", err)
		}
	})
}

// A rival takes events from the same consumer and never acknowledges them:
// deliveries are then missing, late, repeated and out of order.
func TestFollowPutsAnyDisorderOfDeliveryInOrder(t *testing.T) {
	d := newServer(t, "S1")
	s := &study{key: "S1"}
	var want []events.Event
	p, r := d.dial(t, subscriber.PartnerConfig{}), newMemoryFollower()
	if err := d.consumer("S1", func(cfg *jetstream.ConsumerConfig) { cfg.AckWait = 200 * time.Millisecond }); err != nil {
		t.Fatal(err)
	}
	stop, _ := follow(t, p, "S1", r)
	rival, err := d.js.Consumer(t.Context(), events.Stream, "acme=S1")
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		take := rapid.IntRange(1, 40).Draw(rt, "taken")
		list := s.take(rapid.IntRange(1, 60).Draw(rt, "published"))
		taken, err := rival.Fetch(take, jetstream.FetchMaxWait(30*time.Millisecond))
		if err != nil {
			rt.Fatal(err)
		}
		want = append(want, list...)
		publish(t, d, list...)
		for msg := range taken.Messages() {
			if rapid.Bool().Draw(rt, "returned") {
				_ = msg.Nak()
			}
		}
	})
	r.wait(t, "S1", len(want))
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	r.check(t, "S1", want)
}
