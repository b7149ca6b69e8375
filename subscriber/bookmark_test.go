package subscriber_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/subscriber"
)

// contradiction is a log that is not the one in which the bookmark was reached.
type contradiction struct {
	name   string
	log    func(t *testing.T, d *partnerServer) // what the broker has
	stored events.Event
	place  uint64 // of the stored event in the stream; 0 if not known
	code   events.Code
	says   []string       // of the log, in the error
	left   []events.Event // what must not be acknowledged
}

// contradictions are of ten events of S1 that were the whole stream, and of a
// fork: a log that was restored with four of them and went on otherwise.
func contradictions() []contradiction {
	s := &study{key: "S1"}
	whole := s.take(4)
	other := &study{key: "S1", head: s.head}
	whole = append(whole, s.take(6)...)
	fork := append(whole[:4:4], resealed(other.next(), whole[3].ChainHead()))
	other.head = fork[4].ChainHead()
	fork = append(fork, other.take(5)...)

	has := func(list []events.Event) func(*testing.T, *partnerServer) {
		return func(t *testing.T, d *partnerServer) { publish(t, d, list...) }
	}
	acknowledged := func(list []events.Event, n int) func(*testing.T, *partnerServer) {
		return func(t *testing.T, d *partnerServer) {
			publish(t, d, list...)
			acknowledge(t, d, n)
		}
	}
	return []contradiction{
		{"which ends one event before", has(whole[:9]), whole[9], 10, events.Ahead,
			[]string{"the log ends with event 9 with hash " + whole[8].Hash}, whole[:9]},
		{"which ends one event before, its place unknown", has(whole[:9]), whole[9], 0, events.Ahead,
			[]string{"the log ends with event 9 with hash " + whole[8].Hash}, whole[:9]},
		{"which ends many events before", has(whole[:2]), whole[9], 10, events.Ahead,
			[]string{"the log ends with event 2 with hash " + whole[1].Hash}, whole[:2]},
		{"which has no event of the study", has(nil), whole[9], 10, events.Ahead, []string{"the log has at most 0 events"}, nil},
		{"which has no event of the study, but many of others", func(t *testing.T, d *partnerServer) {
			publish(t, d, (&study{key: "S2"}).take(20)...)
		}, whole[9], 10, events.Ahead, []string{"the log has at most 0 events"}, nil},
		{"of which all was acknowledged", acknowledged(whole[:4], 4), whole[9], 10, events.Ahead,
			[]string{"the log has at most 4 events"}, nil},
		{"of which all was acknowledged by an earlier consumer", func(t *testing.T, d *partnerServer) {
			publish(t, d, whole[:4]...)
			startBehind(t, d, 4)
		}, whole[9], 10, events.Ahead, []string{"behind message 4", "message 10"}, nil},
		{"which has fewer events than may be on their way", func(t *testing.T, d *partnerServer) {
			limit(t, d, 3)
			publish(t, d, whole[:8]...)
		}, whole[9], 10, events.Ahead, []string{"the log ends with event 8"}, whole[:8]},
		{"which went on otherwise, not as far", has(fork[:6]), whole[9], 10, events.Ahead,
			[]string{"the log ends with event 6 with hash " + fork[5].Hash}, fork[:6]},
		{"which went on otherwise, not as far, behind acknowledged events", acknowledged(fork[:6], 4), whole[9], 10, events.Ahead,
			[]string{"the log ends with event 6 with hash " + fork[5].Hash}, fork[4:6]},
		{"which went on otherwise, to the same number", has(fork[:8]), whole[7], 8, events.Altered,
			[]string{"on the log event 8 has hash " + fork[7].Hash}, fork[:8]},
		{"which went on otherwise, further", has(fork), whole[7], 8, events.Altered,
			[]string{"on the log event 8 has hash " + fork[7].Hash}, fork},
		{"which went on otherwise, and was acknowledged up to there", acknowledged(fork, 8), whole[7], 8, events.Altered,
			[]string{"on the log the previous hash of event 9 is " + fork[7].Hash}, fork[8:]},
		{"which went on otherwise behind many events of others", func(t *testing.T, d *partnerServer) {
			publish(t, d, whole[:4]...)
			publish(t, d, (&study{key: "S2"}).take(20)...)
			publish(t, d, fork[4:6]...)
		}, whole[9], 10, events.Reorder, []string{"event 5 with hash " + fork[4].Hash + " is message 25"}, fork[:6]},
		{"of another study", has(whole), (&study{key: "S2"}).take(8)[7], 8, events.Altered,
			[]string{"on the log event 8 has hash " + whole[7].Hash}, whole},
		{"of another, longer study", has(whole), (&study{key: "S2"}).take(50)[49], 8, events.Reorder,
			[]string{"event 8 with hash " + whole[7].Hash + " is message 8"}, whole},
	}
}

// acknowledge does so with the first n events, as another reader.
func acknowledge(t *testing.T, d *partnerServer, n int) {
	t.Helper()
	for _, m := range fetch(t, d, n) {
		if err := m.DoubleAck(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// startBehind recreates the consumer behind a message, as the publisher does
// after the broker has lost it.
func startBehind(t *testing.T, d *partnerServer, acknowledged uint64) {
	t.Helper()
	d.deleteConsumer(t, "S1")
	if err := d.consumer("S1", func(cfg *jetstream.ConsumerConfig) {
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, acknowledged+1
	}); err != nil {
		t.Fatal(err)
	}
}

// limit has the consumer send so many events before it sees one acknowledged.
func limit(t *testing.T, d *partnerServer, n int) {
	t.Helper()
	if err := d.consumer("S1", func(cfg *jetstream.ConsumerConfig) { cfg.MaxAckPending = n }); err != nil {
		t.Fatal(err)
	}
}

func TestFollowRefusesABookmarkOfAnotherLog(t *testing.T) {
	for _, c := range contradictions() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := newServer(t, "S1")
			c.log(t, d)
			p, r := d.dial(t, subscriber.PartnerConfig{Patience: impatient}), newMemoryFollower()
			r.marks["S1"] = subscriber.Bookmark{Number: c.stored.Number, Hash: c.stored.Hash, StreamSequence: c.place}
			says := c.says
			for range 2 { // it is the same after a restart, but what comes again may come in another order
				_, followed := follow(t, p, "S1", r)
				c.wanted(t, ended(t, followed), says...)
				says = nil
				c.wanted(t, p.CatchUp(t.Context(), "S1", r))
			}
			if n := r.count("S1"); n != 0 {
				t.Errorf("%d events were handled", n)
			}
			wantLeft(t, d, c.left)
		})
	}
}

// restorations are of a log that lacks five of nine events.
var restorations = map[string]restoration{
	"and nothing was signed since":              {0, []events.Code{events.Ahead}},
	"and less was signed since":                 {2, []events.Code{events.Ahead, events.Altered}},
	"and more was signed since than is missing": {9, []events.Code{events.Altered}},
}

type restoration struct {
	by    int // events signed since
	codes []events.Code
}

func (r restoration) is(code events.Code) bool { return slices.Contains(r.codes, code) }

// restoreBeneath has five more events read, and then the log restored as it is
// now, of which all was acknowledged. It returns what was signed after that.
func restoreBeneath(t *testing.T, d *partnerServer, s *study, read func(), by int) []events.Event {
	t.Helper()
	waitUntil(t, d, func(i *jetstream.ConsumerInfo) bool {
		return i.NumPending == 0 && i.NumAckPending == 0 && i.Delivered.Stream == 4
	})
	restored := &study{key: s.key, head: s.head, body: []byte(`{"signed":"after the restoration"}`)}
	backup := t.TempDir()
	d.stop()
	restore(t, backup, d.dir)
	start(t, d)
	publish(t, d, s.take(5)...)
	read()
	d.stop()
	restore(t, d.dir, backup)
	port := d.port
	d.port = server.RANDOM_PORT // the partner finds the server when all is signed
	start(t, d)
	signed := restored.take(by)
	publish(t, d, signed...)
	d.stop()
	d.port = port
	start(t, d)
	return signed
}

func TestFollowNoticesThatAnOlderLogWasRestoredBeneathIt(t *testing.T) {
	for name, goesOn := range restorations {
		t.Run(name, func(t *testing.T) {
			d, s := newServer(t, "S1"), &study{key: "S1"}
			p, r := d.dial(t, subscriber.PartnerConfig{Patience: impatient}), newMemoryFollower()
			_, followed := follow(t, p, "S1", r)
			publish(t, d, s.take(4)...)
			r.wait(t, "S1", 4)
			signed := restoreBeneath(t, d, s, func() { r.wait(t, "S1", 9) }, goesOn.by)
			if err := ended(t, followed); !goesOn.is(events.CodeOf(err)) {
				t.Errorf("Follow ended with %v", err)
			}
			if n := r.count("S1"); n != 9 {
				t.Errorf("%d events were handled", n)
			}
			wantLeft(t, d, signed)
		})
	}
}

func restore(t *testing.T, to, from string) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(to), os.CopyFS(to, os.DirFS(from))); err != nil {
		t.Fatal(err)
	}
}

func start(t *testing.T, d *partnerServer) {
	t.Helper()
	if err := d.start(); err != nil {
		t.Fatal(err)
	}
}

func (c contradiction) wanted(t *testing.T, err error, texts ...string) {
	t.Helper()
	if !errors.Is(err, c.code) {
		t.Fatalf("ended with %v, want the code %s", err, c.code)
	}
	for _, part := range append(texts, c.stored.Hash+" was read", "ask the publisher") {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error %q does not say %q", err, part)
		}
	}
}

// wantLeft fails unless another reader receives these events: none of them was
// acknowledged.
func wantLeft(t *testing.T, d *partnerServer, want []events.Event) {
	t.Helper()
	left := make(map[string]bool)
	for range want {
		m := fetch(t, d, 1)[0]
		left[m.Headers().Get("ce-hash")] = true
		if err := m.DoubleAck(t.Context()); err != nil { // so that the next is sent
			t.Fatal(err)
		}
	}
	for _, e := range want {
		if !left[e.Hash] {
			t.Errorf("event %d was acknowledged", e.Number)
		}
	}
}

// agreements are logs of eight events, and how far they were read: nothing
// contradicts that the last one was handled.
var agreements = map[string]func(t *testing.T, d *partnerServer, whole []events.Event){
	"when all up to it was acknowledged": func(t *testing.T, d *partnerServer, whole []events.Event) {
		publish(t, d, whole...)
		acknowledge(t, d, 8)
	},
	"when the consumer starts at the first event again": func(t *testing.T, d *partnerServer, whole []events.Event) {
		publish(t, d, whole...)
	},
	"when the consumer starts before it": func(t *testing.T, d *partnerServer, whole []events.Event) {
		publish(t, d, whole...)
		startBehind(t, d, 5)
	},
	"when the consumer starts behind it": func(t *testing.T, d *partnerServer, whole []events.Event) {
		publish(t, d, whole...)
		startBehind(t, d, 8)
	},
	"when more is repeated than may be on its way": func(t *testing.T, d *partnerServer, whole []events.Event) {
		limit(t, d, 3)
		publish(t, d, whole...)
	},
	"when an acknowledgement was lost": func(t *testing.T, d *partnerServer, whole []events.Event) {
		publish(t, d, whole...)
		for i, m := range fetch(t, d, 8) {
			if i == 5 {
				_ = m.Nak()
			} else if err := m.DoubleAck(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	},
}

func TestFollowAcceptsABookmarkThatNothingContradicts(t *testing.T) {
	for name, log := range agreements {
		for _, place := range []uint64{8, 0} {
			if place == 0 {
				name += ", its place in the stream unknown"
			}
			t.Run(name, func(t *testing.T) {
				d, s := newServer(t, "S1"), &study{key: "S1"}
				whole := s.take(8)
				log(t, d, whole)
				p, r := d.dial(t, subscriber.PartnerConfig{Patience: impatient}), newMemoryFollower()
				r.marks["S1"] = subscriber.Bookmark{Number: 8, Hash: whole[7].Hash, StreamSequence: place}
				if err := p.CatchUp(t.Context(), "S1", r); err != nil || r.count("S1") != 0 {
					t.Fatalf("CatchUp handled %d events, %v", r.count("S1"), err)
				}
				stop, _ := follow(t, p, "S1", r)
				more := s.take(3)
				publish(t, d, more...)
				r.wait(t, "S1", 3)
				if err := stop(); err != nil {
					t.Fatal(err)
				}
				r.check(t, "S1", more)
				quiet(t, p)
			})
		}
	}

	t.Run("when the log reaches it a moment later", func(t *testing.T) {
		d, s := newServer(t, "S1"), &study{key: "S1"}
		whole := s.take(8)
		publish(t, d, whole[:4]...)
		p, r := d.dial(t, subscriber.PartnerConfig{Clock: newClock().time}), newMemoryFollower() // the moment lasts
		r.marks["S1"] = subscriber.Bookmark{Number: 8, Hash: whole[7].Hash, StreamSequence: 8}
		stop, _ := follow(t, p, "S1", r)
		waitUntil(t, d, func(info *jetstream.ConsumerInfo) bool { return info.Delivered.Stream == 4 })
		more := s.take(1)
		publish(t, d, append(whole[4:], more...)...)
		r.wait(t, "S1", 1)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		r.check(t, "S1", more)
		quiet(t, p)
	})

	t.Run("when two processes share the consumer", func(t *testing.T) {
		d, s := newServer(t, "S1"), &study{key: "S1"}
		if err := d.consumer("S1", func(cfg *jetstream.ConsumerConfig) { cfg.AckWait = 200 * time.Millisecond }); err != nil {
			t.Fatal(err)
		}
		whole := s.take(60)
		var stops []func() error
		var partners []*subscriber.Partner
		for range 2 {
			p, r := d.dial(t, subscriber.PartnerConfig{}), newMemoryFollower()
			r.marks["S1"] = subscriber.Bookmark{Number: 60, Hash: whole[59].Hash, StreamSequence: 60}
			stop, _ := follow(t, p, "S1", r)
			stops, partners = append(stops, stop), append(partners, p)
		}
		publish(t, d, whole...)
		quiet(t, partners[0])
		for _, stop := range stops {
			if err := stop(); err != nil {
				t.Error(err)
			}
		}
	})
}

// quiet returns when everything of S1 is acknowledged.
func quiet(t *testing.T, p *subscriber.Partner) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), enough)
	defer cancel()
	for {
		tail, err := p.Tail(ctx, "S1")
		if err != nil {
			t.Fatal(err)
		}
		if tail.Quiet() {
			return
		}
	}
}

// waitUntil returns when the condition is true for the consumer of S1.
func waitUntil(t *testing.T, d *partnerServer, holds func(*jetstream.ConsumerInfo) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), enough)
	defer cancel()
	for {
		c, err := d.js.Consumer(ctx, events.Stream, consumerName("S1"))
		if err != nil {
			t.Fatal(err)
		}
		if holds(c.CachedInfo()) {
			return
		}
	}
}

func TestFollowRefusesAMalformedBookmark(t *testing.T) {
	d := newServer(t, "S1")
	list := (&study{key: "S1"}).take(3)
	publish(t, d, list...)
	p, r := d.dial(t, subscriber.PartnerConfig{}), newMemoryFollower()
	hash := list[2].Hash
	for name, b := range map[string]subscriber.Bookmark{
		"a number without a hash":  {Number: 3},
		"a hash without a number":  {Hash: hash},
		"a place without a number": {StreamSequence: 3},
		"a hash that is cut":       {Number: 3, Hash: hash[:63], StreamSequence: 3},
		"a hash that is too long":  {Number: 3, Hash: hash + "00", StreamSequence: 3},
		"a hash in capitals":       {Number: 3, Hash: strings.Repeat("A", 64), StreamSequence: 3},
		"a hash of other letters":  {Number: 3, Hash: strings.Repeat("x", 64), StreamSequence: 3},
	} {
		t.Run(name, func(t *testing.T) {
			r.marks["S1"] = b
			if err := p.Follow(t.Context(), "S1", r); !errors.Is(err, events.Invalid) || !strings.Contains(err.Error(), "S1") {
				t.Errorf("Follow returned %v", err)
			}
		})
	}
	wantLeft(t, d, list)
}
