package subscriber_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/subscriber"
)

const impatient = 200 * time.Millisecond

func TestAccessEnds(t *testing.T) {
	t.Run("for a study that is revoked, while the others continue", func(t *testing.T) {
		d := newServer(t, "S1", "S2")
		one, two := &study{key: "S1"}, &study{key: "S2"}
		want := two.take(40)
		publish(t, d, one.take(10)...)
		publish(t, d, want[:20]...)
		p, r := d.dial(t, subscriber.PartnerConfig{}), newMemoryFollower()
		_, revoked := follow(t, p, "S1", r)
		stop, _ := follow(t, p, "S2", r)
		r.wait(t, "S1", 10)
		r.wait(t, "S2", 20)
		d.revoke(t, "S1")
		publish(t, d, one.next())
		publish(t, d, want[20:]...)
		err := ended(t, revoked)
		if !errors.Is(err, subscriber.ErrAccessEnded) || !errors.Is(err, events.Forbidden) {
			t.Errorf("Follow ended with %v", err)
		}
		r.wait(t, "S2", 40)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if n := r.count("S1"); n != 10 {
			t.Errorf("%d events of the revoked study arrived, 10 before", n)
		}
		r.check(t, "S2", want)
	})

	t.Run("for a consumer that is deleted and does not come back", func(t *testing.T) {
		d := newServer(t, "S1")
		publish(t, d, (&study{key: "S1"}).next())
		p, r := d.dial(t, subscriber.PartnerConfig{Patience: impatient}), newMemoryFollower()
		_, result := follow(t, p, "S1", r)
		r.wait(t, "S1", 1)
		d.deleteConsumer(t, "S1")
		if err := ended(t, result); !errors.Is(err, subscriber.ErrAccessEnded) || !errors.Is(err, events.Forbidden) {
			t.Errorf("Follow ended with %v", err)
		}
	})

	t.Run("for a study that was never granted, at once and without a word of outages", func(t *testing.T) {
		d := newServer(t, "S1")
		p := d.dial(t, subscriber.PartnerConfig{Outage: func(err error) { t.Errorf("an outage was reported: %v", err) }})
		for _, read := range []func(context.Context, string, subscriber.Follower) error{p.Follow, p.CatchUp} {
			err := read(t.Context(), "S2", newMemoryFollower())
			if !errors.Is(err, subscriber.ErrAccessEnded) || !errors.Is(err, events.Forbidden) ||
				!strings.Contains(err.Error(), "study S2 is not granted to acme") {
				t.Errorf("it ended with %v", err)
			}
		}
	})

	t.Run("but not for a study that is granted this moment", func(t *testing.T) {
		d := newServer(t, "S1")
		want := (&study{key: "S2"}).take(3)
		publish(t, d, want...)
		now := newClock() // this moment lasts
		p, r := d.dial(t, subscriber.PartnerConfig{Clock: now.time}), newMemoryFollower()
		stop, _ := follow(t, p, "S2", r)
		d.admitted(t, 3) // asked with new logins, twice
		d.change(func() { d.granted = append(d.granted, "S2") })
		if err := d.consumer("S2", nil); err != nil {
			t.Fatal(err)
		}
		r.wait(t, "S2", 3)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		r.check(t, "S2", want)
	})

	t.Run("but not while nobody answers for the consumer", func(t *testing.T) {
		d := newServer(t, "S1")
		s := &study{key: "S1"}
		want := s.take(2)
		publish(t, d, want[0])
		reported := make(chan error, 1000)
		p, r := d.dial(t, subscriber.PartnerConfig{Patience: time.Nanosecond, Outage: func(err error) { reported <- err }}), newMemoryFollower()
		stop, _ := follow(t, p, "S1", r)
		r.wait(t, "S1", 1)
		d.stop()
		d.apart = "S1"
		start(t, d)
		for n := 0; n < 3; {
			if err := <-reported; errors.Is(err, nats.ErrNoResponders) {
				n++
			}
		}
		d.stop()
		d.apart = ""
		start(t, d)
		publish(t, d, want[1])
		r.wait(t, "S1", 2)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		r.check(t, "S1", want)
	})

	t.Run("for a partner that is removed", func(t *testing.T) {
		d := newServer(t, "S1", "S2")
		publish(t, d, (&study{key: "S1"}).next())
		p, r := d.dial(t, subscriber.PartnerConfig{}), newMemoryFollower()
		_, one := follow(t, p, "S1", r)
		_, two := follow(t, p, "S2", r)
		r.wait(t, "S1", 1)
		d.change(func() { d.secret = "another"; clear(d.tokens) })
		d.disconnect()
		for _, result := range []<-chan error{one, two} {
			if err := ended(t, result); !errors.Is(err, subscriber.ErrAccessEnded) || !errors.Is(err, events.Unauthenticated) {
				t.Errorf("Follow ended with %v", err)
			}
		}
		if _, err := p.Tail(t.Context(), "S1"); !errors.Is(err, subscriber.ErrAccessEnded) {
			t.Errorf("Tail returned %v", err)
		}
	})

	t.Run("but not for a secret that was rotated and is at hand", func(t *testing.T) {
		d := newServer(t, "S1")
		s := &study{key: "S1"}
		want := s.take(2)
		publish(t, d, want[0])
		var current atomic.Value
		current.Store(secret)
		c := d.credentials()
		c.Secret = func() (string, error) { return current.Load().(string), nil }
		p, err := subscriber.Dial(t.Context(), c, d.url(), subscriber.PartnerConfig{Outage: func(error) {}})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		r := newMemoryFollower()
		stop, _ := follow(t, p, "S1", r)
		r.wait(t, "S1", 1)
		d.change(func() { d.secret = "another"; clear(d.tokens) })
		current.Store("another")
		d.disconnect()
		publish(t, d, want[1])
		r.wait(t, "S1", 2)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("with a wrong secret, at once", func(t *testing.T) {
		d := newServer(t, "S1")
		c := d.credentials()
		c.Secret = subscriber.Secret("wrong-horse")
		_, err := subscriber.Dial(t.Context(), c, d.url(), subscriber.PartnerConfig{})
		if !errors.Is(err, subscriber.ErrAccessEnded) || !errors.Is(err, events.Unauthenticated) {
			t.Errorf("Dial returned %v", err)
		}
		if strings.Contains(err.Error(), "wrong-horse") {
			t.Error("the error tells the secret")
		}
	})
}

func TestTokensAreRenewed(t *testing.T) {
	t.Run("when they have expired", func(t *testing.T) {
		d := newServer(t, "S1")
		s := &study{key: "S1"}
		want := s.take(30)
		now := newClock()
		p, r := d.dial(t, subscriber.PartnerConfig{Clock: now.time}), newMemoryFollower()
		stop, _ := follow(t, p, "S1", r)
		for n := 10; n <= 30; n += 10 {
			publish(t, d, want[n-10:n]...)
			r.wait(t, "S1", n)
			now.pass(time.Hour - time.Minute)
			d.change(func() { clear(d.tokens) })
			d.disconnect() // as the server does at the token's expiry
		}
		publish(t, d, s.next())
		r.wait(t, "S1", 31)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		d.change(func() {
			if d.issued != 4 {
				t.Errorf("%d access tokens were fetched in 3 hours, want 4", d.issued)
			}
		})
	})

	t.Run("and not before a minute before", func(t *testing.T) {
		d := newServer(t, "S1")
		now := newClock()
		reported := make(chan error, 1000)
		d.dial(t, subscriber.PartnerConfig{Clock: now.time, Outage: func(err error) { reported <- err }})
		now.pass(time.Hour - time.Minute - time.Second)
		d.disconnect()
		d.admitted(t, 2)
		now.pass(time.Second)
		d.disconnect()
		d.admitted(t, 3)
		d.change(func() {
			if d.issued != 2 {
				t.Errorf("%d access tokens were fetched, want 2", d.issued)
			}
		})
	})

	t.Run("when the server no longer accepts them", func(t *testing.T) {
		d := newServer(t, "S1")
		d.dial(t, subscriber.PartnerConfig{})
		d.change(func() { clear(d.tokens) }) // its key was withdrawn, say
		d.disconnect()
		d.admitted(t, 2)
	})

	t.Run("but still used while the token endpoint is unreachable", func(t *testing.T) {
		d := newServer(t, "S1")
		s := &study{key: "S1"}
		want := s.take(2)
		publish(t, d, want[0])
		reported := make(chan error, 1000)
		p, r := d.dial(t, subscriber.PartnerConfig{Outage: func(err error) { reported <- err }}), newMemoryFollower()
		stop, _ := follow(t, p, "S1", r)
		r.wait(t, "S1", 1)
		// Nobody answers the server's question who that is, for some time.
		var tokens map[string]bool
		d.change(func() { tokens, d.tokens, d.answer = d.tokens, nil, failing })
		d.disconnect()
		for range 2 {
			for !errors.Is(<-reported, events.Unavailable) {
			}
		}
		d.change(func() { d.tokens = tokens })
		publish(t, d, want[1])
		r.wait(t, "S1", 2)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		r.check(t, "S1", want)
	})

	t.Run("and the end of a call while it waits for the token endpoint is no outage of that", func(t *testing.T) {
		d := newServer(t, "S1")
		now := newClock()
		reported := make(chan error, 1000)
		p := d.dial(t, subscriber.PartnerConfig{Clock: now.time, Outage: func(err error) { reported <- err }})
		d.deleteConsumer(t, "S1") // so that the call logs in again, to find out why
		asked := make(chan struct{}, 1000)
		d.change(func() {
			d.answer = func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body) // after which the end of the connection is noticed
				asked <- struct{}{}
				<-r.Context().Done()
			}
		})
		now.pass(time.Hour - time.Minute) // another access token is due, and this one is still valid
		stop, _ := follow(t, p, "S1", newMemoryFollower())
		select {
		case <-asked:
		case <-time.After(enough):
			t.Fatal("the token endpoint was not asked")
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		for len(reported) > 0 {
			if err := <-reported; errors.Is(err, context.Canceled) {
				t.Errorf("reported as an outage: %v", err)
			}
		}
	})

	t.Run("as soon as the token endpoint is there again", func(t *testing.T) {
		d := newServer(t, "S1")
		s := &study{key: "S1"}
		publish(t, d, s.next())
		reported := make(chan error, 1000)
		p, r := d.dial(t, subscriber.PartnerConfig{Outage: func(err error) { reported <- err }}), newMemoryFollower()
		stop, _ := follow(t, p, "S1", r)
		r.wait(t, "S1", 1)
		d.change(func() { clear(d.tokens); d.answer = failing })
		d.disconnect()
		for !errors.Is(<-reported, events.Unavailable) {
		}
		d.change(func() { d.answer = nil })
		publish(t, d, s.next())
		r.wait(t, "S1", 2)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})
}
