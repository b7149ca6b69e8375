package partners_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/events"
)

// floods sends messages that nobody asked for until the connection is closed.
func floods(t *testing.T, nc *nats.Conn, subject string) {
	t.Helper()
	for end := time.Now().Add(2 * timeout); nc.Publish(subject, []byte("-NAK")) == nil; {
		if time.Now().After(end) {
			t.Fatal("who sends too much is not disconnected")
		}
	}
}

// ends waits until a connection is closed.
func ends(t *testing.T, what string, status chan nats.Status) {
	t.Helper()
	select {
	case <-status:
	case <-time.After(timeout):
		t.Errorf("%s is still connected", what)
	}
}

// asksForHeartbeats sends a few requests that are answered a thousand times a
// second each.
func asksForHeartbeats(_ *testing.T, nc *nats.Conn) {
	_, _ = nc.Subscribe("_INBOX.>", func(*nats.Msg) {}) // without it nothing is sent
	for range 50 {
		_ = nc.PublishRequest("js.signoff.CONSUMER.MSG.NEXT.SIGNOFF.acme", "_INBOX.life", []byte(`{"batch":1,"expires":60000000000,"idle_heartbeat":1}`))
	}
}

func TestAPartnerThatSendsTooMuchIsSuspendedForSomeTime(t *testing.T) {
	c := &clock{now: time.Now()}
	h := newInstallationIn(t, t.TempDir(), config{Rate: 100, Burst: 1000, Measure: 5 * time.Millisecond, Clock: c.Now},
		partner("acme", "A"), partner("other", "A"))
	h.publish("A", "a1", "a2")
	stranger := h.mustLogin("other")
	stays := stranger.StatusChanged(nats.CLOSED)
	closed := func() float64 { // for another cause
		const name = "signoff_partners_closed_connections_total"
		return h.metric(name, "") - h.metric(name, "sends too much")
	}
	before := closed()

	letIn := func(t *testing.T) (nc *nats.Conn) {
		t.Helper()
		until(t, "it is let in", func() bool {
			c.advance(10 * time.Second)
			var err error
			nc, err = h.login("acme")
			return err == nil
		})
		t.Cleanup(nc.Close)
		c.advance(10 * time.Second) // a login costs something too
		return nc
	}
	sends := func(subject string) func(*testing.T, *nats.Conn) {
		return func(t *testing.T, nc *nats.Conn) { t.Helper(); floods(t, nc, subject) }
	}
	for what, flood := range map[string]func(*testing.T, *nats.Conn){
		"acknowledgements":        sends("$JS.ACK.SIGNOFF.acme=A.1.1.1.1.1"),
		"requests":                sends("js.signoff.CONSUMER.INFO.SIGNOFF.acme=A"),
		"what is refused":         sends("$JS.API.STREAM.DELETE.SIGNOFF"),
		"signs of life asked for": asksForHeartbeats,
	} {
		t.Run(what, func(t *testing.T) {
			idle := letIn(t)
			gone := idle.StatusChanged(nats.CLOSED)
			until(t, "a login is refused", func() bool {
				nc, err := h.login("acme")
				if err != nil {
					return errors.Is(err, nats.ErrAuthorization)
				}
				defer nc.Close()
				closed := nc.StatusChanged(nats.CLOSED)
				flood(t, nc)
				select {
				case <-closed:
				case <-time.After(time.Second):
				}
				return false
			})
			ends(t, "its other connection", gone)
			letIn(t)
		})
	}
	t.Run("over many short connections", func(t *testing.T) {
		letIn(t)
		until(t, "a login is refused", func() bool {
			nc, err := h.login("acme")
			if err != nil {
				return errors.Is(err, nats.ErrAuthorization)
			}
			defer nc.Close()
			for range 50 {
				_ = nc.Publish("$JS.ACK.SIGNOFF.acme=A.1.1.1.1.1", []byte("-NAK"))
			}
			return nc.Flush() != nil
		})
	})

	same(t, "another partner", take(t, consumer(t, stranger, "other=A"), 2), "a1", "a2")
	select {
	case <-stays:
		t.Error("another partner was suspended")
	default:
	}
	if n := closed() - before; n != 0 {
		t.Errorf("%v connections were closed that a login would open", n)
	}
}

func TestAPartnerWithinItsQuotaIsNotSuspended(t *testing.T) {
	c := &clock{now: time.Now()}
	h := newInstallationIn(t, t.TempDir(), config{Rate: 100, Burst: 1000, Measure: time.Millisecond, Clock: c.Now}, partner("acme", "A"))
	nc := h.mustLogin("acme")
	closed := nc.StatusChanged(nats.CLOSED)
	charged := func() uint64 { return h.callout.Usage()["acme"] }
	send := func(n int) {
		t.Helper()
		for range n {
			if err := nc.Publish("$JS.ACK.SIGNOFF.acme=A.1.1.1.1.1", []byte("-NAK")); err != nil {
				t.Fatal(err)
			}
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	login := charged()
	until(t, "its messages are measured", func() bool { // not those before the first measurement
		send(1)
		c.advance(time.Second)
		return charged() > login
	})
	for range 20 {
		before := charged()
		send(100)
		until(t, "all are charged", func() bool { return charged() >= before+100 })
		c.advance(time.Second)
	}
	select {
	case <-closed:
		t.Error("it was suspended")
	default:
	}
}

// The consumer of whoever is suspended for heartbeats is created again.
func TestAPartnerSuspendedForHeartbeatsLosesNothing(t *testing.T) {
	c := &clock{now: time.Now()}
	h := newInstallationIn(t, t.TempDir(), config{Interval: time.Hour, Measure: 5 * time.Millisecond, Clock: c.Now}, partner("acme", "A"))
	h.publish("A", "a1", "a2", "a3", "a4")
	nc := h.mustLogin("acme")
	reading := consumer(t, nc, "acme=A")
	same(t, "before", take(t, reading, 2), "a1", "a2")
	if _, err := reading.Next(); err != nil { // and is not acknowledged
		t.Fatal(err)
	}
	made := reading.CachedInfo().Created
	closed := nc.StatusChanged(nats.CLOSED)
	if _, err := nc.Subscribe("_INBOX.life", func(*nats.Msg) {}); err != nil { // without it nothing is sent
		t.Fatal(err)
	}
	// One is enough, and the only one: what is sent after it may find the connection closed.
	if err := nc.PublishRequest("js.signoff.CONSUMER.MSG.NEXT.SIGNOFF.acme=A", "_INBOX.life", []byte(fastest)); err != nil {
		t.Fatal(err)
	}
	ends(t, "who asks for them", closed)
	until(t, "its consumer is created again", func() bool {
		now, err := h.writer.Consumer(t.Context(), events.Stream, "acme=A")
		return err == nil && now.CachedInfo().Created.After(made)
	})
	c.advance(2 * time.Minute)
	rest := consumer(t, h.mustLogin("acme"), "acme=A")
	had := make(map[string]bool)
	for !had["a3"] || !had["a4"] {
		had[take(t, rest, 1)[0]] = true
	}
	none(t, rest)
}
