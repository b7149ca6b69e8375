package stream_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/subscriber/stream"
)

func TestStreamReplaced(t *testing.T) {
	// Each changes the stream of which 50 events were read.
	cases := map[string]func(b *broker, first []events.Event){
		"by a shorter one": func(b *broker, _ []events.Event) {
			b.deleteStream()
			b.createStream()
			b.publish((&study{key: "S1"}).take(20)...)
		},
		"by a longer one with other events": func(b *broker, _ []events.Event) {
			b.deleteStream()
			b.createStream()
			b.publish((&study{key: "S1"}).take(130)...)
		},
		"by one with the same events": func(b *broker, first []events.Event) {
			b.deleteStream()
			b.createStream()
			b.publish(first...)
		},
		"by an empty one": func(b *broker, _ []events.Event) {
			b.deleteStream()
			b.createStream()
		},
		"when what was read is purged": func(b *broker, _ []events.Event) {
			stored, err := b.writer.Stream(context.Background(), events.Stream)
			if err == nil {
				err = stored.Purge(context.Background())
			}
			if err != nil {
				b.t.Fatal(err)
			}
		},
		"when the message at the position is deleted": func(b *broker, first []events.Event) {
			stored, err := b.writer.Stream(context.Background(), events.Stream)
			if err == nil {
				err = stored.DeleteMsg(context.Background(), uint64(len(first)))
			}
			if err != nil {
				b.t.Fatal(err)
			}
		},
	}
	for name, replace := range cases {
		t.Run("is found at the start, "+name, func(t *testing.T) {
			t.Parallel()
			b := newBroker(t)
			first := (&study{key: "S1"}).take(50)
			b.publish(first...)
			h, js := newMemoryHandler(), b.connectReader()
			stop, _ := run(t, js, h, stream.Config{})
			h.wait(t, 50)
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			replace(b, first)
			_, result := run(t, js, h, stream.Config{})
			if err := ended(t, result); !errors.Is(err, stream.ErrReplaced) {
				t.Errorf("Run ended with %v", err)
			}
			if len(h.events) != 50 {
				t.Errorf("%d events were applied", len(h.events))
			}
		})
		t.Run("is found while reading, "+name, func(t *testing.T) {
			t.Parallel()
			b := newBroker(t)
			first := (&study{key: "S1"}).take(50)
			b.publish(first...)
			h := newMemoryHandler()
			_, result := run(t, b.connectReader(), h, stream.Config{Interval: 50 * time.Millisecond})
			h.wait(t, 50)
			replace(b, first)
			if err := ended(t, result); !errors.Is(err, stream.ErrReplaced) {
				t.Errorf("Run ended with %v", err)
			}
			if len(h.events) != 50 {
				t.Errorf("%d events were applied", len(h.events))
			}
		})
	}
}

// An answer begins with the message at the position, so that it shows whether the stream
// was replaced before it was sent.
func TestAStreamReplacedBetweenTwoRequestsIsFound(t *testing.T) {
	b := newBroker(t)
	b.publish((&study{key: "S1"}).take(50)...)
	h := newMemoryHandler()
	_, result := run(t, b.connectReader(), h, stream.Config{Interval: time.Hour})
	h.wait(t, 50)
	b.deleteStream()
	b.createStream()
	b.publish((&study{key: "S2"}).take(60)...) // of a study of which nothing was read
	if err := ended(t, result); !errors.Is(err, stream.ErrReplaced) {
		t.Errorf("Run ended with %v", err)
	}
	if len(h.events) != 50 {
		t.Errorf("%d events were applied", len(h.events))
	}
}

func TestWhatDoesNotFollow(t *testing.T) {
	good := func() (before []events.Event, s *study) {
		s = &study{key: "S1"}
		return s.take(5), s
	}
	cases := []struct {
		name string
		code events.Code
		bad  func(s *study, before []events.Event) events.Event
	}{
		{"a gap", events.Gap, func(s *study, _ []events.Event) events.Event { s.next(); return s.next() }},
		{"a repeat", events.Repeat, func(_ *study, before []events.Event) events.Event { return before[4] }},
		{"an older event", events.Reorder, func(_ *study, before []events.Event) events.Event { return before[2] }},
		{"an altered body", events.Altered, func(s *study, _ []events.Event) events.Event {
			e := s.next()
			e.Data = []byte(`{"n":7}`)
			return e
		}},
		{"another predecessor", events.Altered, func(s *study, before []events.Event) events.Event {
			s.head = events.ChainHead{Number: 5, Hash: before[0].Hash}
			return s.next()
		}},
		{"no event of ours", events.Invalid, func(s *study, _ []events.Event) events.Event {
			e := s.next()
			e.Type = "org.example.other.thing" // without a version
			return e
		}},
	}
	for _, c := range cases {
		t.Run(c.name+" ends Run behind what is good", func(t *testing.T) {
			t.Parallel()
			b := newBroker(t)
			before, s := good()
			b.publish(before...)
			bad := c.bad(s, before)
			b.publish(bad)
			h := newMemoryHandler()
			_, result := run(t, b.connectReader(), h, stream.Config{})
			if err := ended(t, result); !errors.Is(err, c.code) {
				t.Errorf("Run ended with %v, code %q instead of %q", err, events.CodeOf(err), c.code)
			}
			if diff := cmp.Diff(before, h.events); diff != "" {
				t.Error(diff)
			}
		})
	}

	t.Run("a message missing from the stream is a gap", func(t *testing.T) {
		b := newBroker(t)
		list := (&study{key: "S1"}).take(10)
		b.publish(list...)
		stored, err := b.writer.Stream(context.Background(), events.Stream)
		if err == nil {
			err = stored.DeleteMsg(context.Background(), 6)
		}
		if err != nil {
			t.Fatal(err)
		}
		h := newMemoryHandler()
		_, result := run(t, b.connectReader(), h, stream.Config{})
		if err := ended(t, result); !errors.Is(err, events.Gap) {
			t.Errorf("Run ended with %v", err)
		}
		if len(h.events) != 5 {
			t.Errorf("%d events were applied", len(h.events))
		}
	})
}
