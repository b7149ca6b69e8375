package subscriber_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/subscriber"
)

func publish(t testing.TB, d *partnerServer, list ...events.Event) {
	t.Helper()
	if err := d.publish(list...); err != nil {
		t.Fatal(err)
	}
}

func TestFollow(t *testing.T) {
	t.Run("delivers present and later events, and nothing of another study", func(t *testing.T) {
		d := newServer(t, "S1", "S2")
		one, two := &study{key: "S1"}, &study{key: "S2"}
		want := one.take(1500)
		for i, e := range want {
			publish(t, d, e)
			if i%10 == 0 {
				publish(t, d, two.next())
			}
		}
		p, r := d.dial(t, subscriber.PartnerConfig{}), newMemoryFollower()
		stop, _ := follow(t, p, "S1", r)
		r.wait(t, "S1", len(want))
		more := one.take(3)
		for i, e := range more {
			publish(t, d, e, two.next())
			r.wait(t, "S1", len(want)+i+1)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		r.check(t, "S1", append(want, more...))
	})

	t.Run("continues behind the bookmark, at once even if it was stopped amid a backlog", func(t *testing.T) {
		d := newServer(t, "S1")
		s := &study{key: "S1"}
		want := s.take(600)
		publish(t, d, want...)
		p, r := d.dial(t, subscriber.PartnerConfig{}), newMemoryFollower()
		for n := 100; n <= 600; n += 100 {
			stop, _ := follow(t, p, "S1", r)
			r.wait(t, "S1", n)
			if err := stop(); err != nil {
				t.Fatal(err)
			}
		}
		r.check(t, "S1", want)
	})

	t.Run("ends with the handler's error and hands the event over again later", func(t *testing.T) {
		d := newServer(t, "S1")
		want := (&study{key: "S1"}).take(30)
		publish(t, d, want...)
		p, r := d.dial(t, subscriber.PartnerConfig{}), newMemoryFollower()
		full := errors.New("disk full")
		r.refuse = func(d subscriber.Delivery) error {
			if d.Bookmark.Number == 12 {
				return full
			}
			return nil
		}
		_, result := follow(t, p, "S1", r)
		if err := ended(t, result); !errors.Is(err, full) {
			t.Fatalf("Follow ended with %v", err)
		}
		r.refuse = nil
		stop, _ := follow(t, p, "S1", r)
		r.wait(t, "S1", 30)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		r.check(t, "S1", want)
	})

	t.Run("acknowledges only what was handled", func(t *testing.T) {
		d := newServer(t, "S1")
		publish(t, d, (&study{key: "S1"}).take(5)...)
		p, r := d.dial(t, subscriber.PartnerConfig{}), newMemoryFollower()
		r.refuse = func(d subscriber.Delivery) error {
			if d.Bookmark.Number == 4 {
				return errors.New("no")
			}
			return nil
		}
		_, result := follow(t, p, "S1", r)
		if err := ended(t, result); err == nil {
			t.Fatal("Follow returned nil")
		}
		for limit := time.Now().Add(enough); ; { // acknowledgements are not answered
			c, err := d.js.Consumer(t.Context(), events.Stream, "acme=S1")
			if err != nil {
				t.Fatal(err)
			}
			acked := c.CachedInfo().AckFloor.Stream
			if acked == 3 {
				break
			}
			if acked > 3 || time.Now().After(limit) {
				t.Fatalf("acknowledged up to %d, handled 3", acked)
			}
		}
		tail, err := p.Tail(t.Context(), "S1")
		if err != nil || tail.Quiet() {
			t.Errorf("Tail = %+v, %v; two events are outstanding", tail, err)
		}
	})

	t.Run("asks for the bookmark again when another process has moved it", func(t *testing.T) {
		d := newServer(t, "S1")
		want := (&study{key: "S1"}).take(20)
		publish(t, d, want...)
		p, r := d.dial(t, subscriber.PartnerConfig{}), newMemoryFollower()
		r.refuse = func(d subscriber.Delivery) error {
			if d.Bookmark.Number != 5 {
				return nil
			}
			r.refuse = nil
			r.marks["S1"] = subscriber.Bookmark{Number: 10, Hash: want[9].Hash, StreamSequence: 10}
			r.got["S1"] = append(r.got["S1"], want[4:10]...)
			return subscriber.ErrMoved
		}
		stop, _ := follow(t, p, "S1", r)
		r.wait(t, "S1", 20)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		r.check(t, "S1", want)
	})

	t.Run("follows several studies on one connection, each once at a time", func(t *testing.T) {
		d := newServer(t, "S1", "S2")
		one, two := (&study{key: "S1"}).take(50), (&study{key: "S2"}).take(70)
		p, r := d.dial(t, subscriber.PartnerConfig{}), newMemoryFollower()
		stopOne, _ := follow(t, p, "S1", r)
		stopTwo, _ := follow(t, p, "S2", r)
		publish(t, d, one...)
		publish(t, d, two...)
		r.wait(t, "S1", 50)
		r.wait(t, "S2", 70)
		if err := p.Follow(t.Context(), "S1", r); !errors.Is(err, events.Conflict) {
			t.Errorf("a second Follow of S1 returned %v", err)
		}
		if err := errors.Join(stopOne(), stopTwo()); err != nil {
			t.Fatal(err)
		}
		r.check(t, "S1", one)
		r.check(t, "S2", two)
	})

	t.Run("ends with ErrClosed when the partner is closed", func(t *testing.T) {
		d := newServer(t, "S1")
		publish(t, d, (&study{key: "S1"}).next())
		p, r := d.dial(t, subscriber.PartnerConfig{}), newMemoryFollower()
		_, result := follow(t, p, "S1", r)
		r.wait(t, "S1", 1)
		p.Close()
		if err := ended(t, result); !errors.Is(err, subscriber.ErrClosed) || errors.Is(err, subscriber.ErrAccessEnded) {
			t.Errorf("Follow ended with %v", err)
		}
		if err := p.Follow(t.Context(), "S1", r); !errors.Is(err, subscriber.ErrClosed) {
			t.Errorf("Follow after Close returned %v", err)
		}
	})

	t.Run("refuses a bookmark without a hash and an invalid study", func(t *testing.T) {
		d := newServer(t, "S1")
		p, r := d.dial(t, subscriber.PartnerConfig{}), newMemoryFollower()
		r.marks["S1"] = subscriber.Bookmark{Number: 3}
		if err := p.Follow(t.Context(), "S1", r); !errors.Is(err, events.Invalid) {
			t.Errorf("Follow returned %v", err)
		}
		if err := p.Follow(t.Context(), "_access", r); !errors.Is(err, events.Invalid) {
			t.Errorf("Follow of an internal study returned %v", err)
		}
	})
}

func TestFollowAccess(t *testing.T) {
	d := newServer(t, "S1")
	own := &study{key: events.PartnerStudy(acme)}
	granted, revoked := own.announce(events.AccessGranted, "Ünï 1"), own.announce(events.AccessRevoked, "Ünï 1")
	publish(t, d, granted, revoked)
	p, r := d.dial(t, subscriber.PartnerConfig{}), newMemoryFollower()
	var grants []events.Grant
	r.refuse = func(d subscriber.Delivery) error {
		g, err := d.Grant()
		grants = append(grants, g)
		return err
	}
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- p.FollowAccess(ctx, r) }()
	r.wait(t, events.PartnerStudy(acme), 2)
	cancel()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	r.check(t, events.PartnerStudy(acme), []events.Event{granted, revoked})
	if len(grants) != 2 || grants[0] != (events.Grant{Partner: acme, Study: "Ünï 1", StudyKey: events.StudyKey("Ünï 1")}) {
		t.Errorf("grants %+v", grants)
	}
}

func TestTail(t *testing.T) {
	d := newServer(t, "S1")
	p, r := d.dial(t, subscriber.PartnerConfig{}), newMemoryFollower()
	tail := func() subscriber.Tail {
		t.Helper()
		tail, err := p.Tail(t.Context(), "S1")
		if err != nil {
			t.Fatal(err)
		}
		return tail
	}
	if got := tail(); !got.Quiet() {
		t.Errorf("of nothing is outstanding %+v", got)
	}
	publish(t, d, (&study{key: "S1"}).take(7)...)
	// The broker counts for its consumers a moment after it has acknowledged.
	for limit := time.Now().Add(enough); ; {
		got := tail()
		if got.Undelivered == 7 && !got.Quiet() {
			break
		}
		if got.Undelivered > 7 || time.Now().After(limit) {
			t.Fatalf("of 7 is outstanding %+v", got)
		}
	}
	stop, _ := follow(t, p, "S1", r)
	r.wait(t, "S1", 7)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for limit := time.Now().Add(enough); !tail().Quiet(); {
		if time.Now().After(limit) {
			t.Fatalf("after all were handled is outstanding %+v", tail())
		}
	}
	if _, err := p.Tail(t.Context(), "S2"); !errors.Is(err, events.Forbidden) {
		t.Errorf("Tail of a study that is not granted returned %v", err)
	}
}

func TestFollowThroughOutages(t *testing.T) {
	t.Run("a server that restarts", func(t *testing.T) {
		d := newServer(t, "S1")
		s := &study{key: "S1"}
		want := s.take(60)
		publish(t, d, want[:20]...)
		reported := make(chan error, 1000)
		p, r := d.dial(t, subscriber.PartnerConfig{Outage: func(err error) { reported <- err }}), newMemoryFollower()
		stop, _ := follow(t, p, "S1", r)
		r.wait(t, "S1", 20)
		for n := 40; n <= 60; n += 20 {
			d.stop()
			if err := <-reported; err == nil {
				t.Error("the end of an outage was reported that was not reported before")
			}
			if err := d.start(); err != nil {
				t.Fatal(err)
			}
			publish(t, d, want[n-20:n]...)
			r.wait(t, "S1", n)
			for err := range reported {
				if err == nil {
					break
				}
			}
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		r.check(t, "S1", want)
	})

	t.Run("a partner that is disconnected again and again amid a backlog", func(t *testing.T) {
		d := newServer(t, "S1")
		holdOn(t, d)
		want := (&study{key: "S1"}).take(3000)
		publish(t, d, want...)
		p, r := d.dial(t, subscriber.PartnerConfig{}), newMemoryFollower()
		stop, _ := follow(t, p, "S1", r)
		for n := 300; n < 3000; n += 300 {
			r.wait(t, "S1", n)
			d.disconnect()
		}
		r.wait(t, "S1", 3000)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		r.check(t, "S1", want)
	})

	t.Run("events that went elsewhere, far apart in the stream", func(t *testing.T) {
		d := newServer(t, "S1", "S2")
		holdOn(t, d)
		other, s := &study{key: "S2"}, &study{key: "S1"}
		var want []events.Event
		for range 3 {
			publish(t, d, other.take(400)...)
			want = append(want, s.next())
			publish(t, d, want[len(want)-1])
		}
		fetch(t, d, 3) // and says nothing of them
		p, r := d.dial(t, subscriber.PartnerConfig{}), newMemoryFollower()
		stop, _ := follow(t, p, "S1", r)
		r.wait(t, "S1", 3)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		r.check(t, "S1", want)
	})

	t.Run("a consumer that is unavailable while the broker recovers", func(t *testing.T) {
		d := newServer(t, "S1")
		want := (&study{key: "S1"}).take(20)
		publish(t, d, want[:10]...)
		reported := make(chan error, 1000)
		p, r := d.dial(t, subscriber.PartnerConfig{Outage: func(err error) { reported <- err }}), newMemoryFollower()
		stop, _ := follow(t, p, "S1", r)
		r.wait(t, "S1", 10)
		d.deleteConsumer(t, "S1")
		for err := range reported {
			if errors.Is(err, jetstream.ErrConsumerNotFound) {
				break
			}
		}
		publish(t, d, want[10:]...)
		// It starts earlier than what the partner has: from what was noted last.
		if err := d.consumer("S1", func(cfg *jetstream.ConsumerConfig) {
			cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, 4
		}); err != nil {
			t.Fatal(err)
		}
		r.wait(t, "S1", 20)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		r.check(t, "S1", want)
	})

	t.Run("a broker that is not there yet", func(t *testing.T) {
		d := newServer(t, "S1")
		want := (&study{key: "S1"}).take(3)
		publish(t, d, want...)
		d.stop()
		ctx, cancel := context.WithCancel(t.Context())
		reported := make(chan error, 1000)
		cfg := subscriber.PartnerConfig{Outage: func(err error) { reported <- err; cancel() }}
		if _, err := subscriber.Dial(ctx, d.credentials(), d.url(), cfg); !errors.Is(err, context.Canceled) {
			t.Errorf("Dial returned %v", err)
		}
		cfg.Outage = func(err error) { reported <- err }
		type dialled struct {
			p   *subscriber.Partner
			err error
		}
		result := make(chan dialled, 1)
		go func() {
			p, err := subscriber.Dial(t.Context(), d.credentials(), d.url(), cfg)
			result <- dialled{p, err}
		}()
		for range 3 {
			if err := <-reported; err == nil || errors.Is(err, subscriber.ErrAccessEnded) {
				t.Errorf("reported %v", err)
			}
		}
		if err := d.start(); err != nil {
			t.Fatal(err)
		}
		got := <-result
		if got.err != nil {
			t.Fatal(got.err)
		}
		defer got.p.Close()
		r := newMemoryFollower()
		stop, _ := follow(t, got.p, "S1", r)
		r.wait(t, "S1", 3)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		r.check(t, "S1", want)
	})
}

// A paused consumer has events and delivers none.
func TestABrokerThatDeliversNothingIsReportedAsAnOutage(t *testing.T) {
	for name, read := range map[string]func(*subscriber.Partner, context.Context, string, subscriber.Follower) error{
		"Follow": (*subscriber.Partner).Follow, "CatchUp": (*subscriber.Partner).CatchUp,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newServer(t, "S1")
			publish(t, d, (&study{key: "S1"}).take(3)...)
			if _, err := d.js.PauseConsumer(t.Context(), events.Stream, consumerName("S1"), time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
			reported := make(chan error, 1) // the first
			outage := func(err error) {
				select {
				case reported <- err:
				default:
				}
			}
			p, r := d.dial(t, subscriber.PartnerConfig{Interval: 50 * time.Millisecond, Outage: outage}), newMemoryFollower()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan error, 1)
			go func() { ended <- read(p, ctx, "S1", r) }()
			select {
			case err := <-reported:
				if err == nil || !strings.Contains(err.Error(), "none arrives") {
					t.Errorf("reported is %v", err)
				}
			case <-time.After(enough):
				t.Fatal("nothing was reported")
			}
			if _, err := d.js.ResumeConsumer(t.Context(), events.Stream, consumerName("S1")); err != nil {
				t.Fatal(err)
			}
			r.wait(t, "S1", 3)
			if name == "Follow" {
				cancel()
			}
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}
