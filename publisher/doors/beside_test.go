package doors_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/publisher/doors"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
)

// beside starts doors that only answer logins, by a directory of their own.
func (h *house) beside(b *book) (*doors.Doors, func()) {
	h.t.Helper()
	d, err := doors.New(h.connect(natsd.Doors), nil, b, nil, h.seed, h.cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Answer(ctx) }()
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			h.t.Error(err)
		}
	}
	h.t.Cleanup(stop)
	return d, stop
}

// copyOf is a book that reads the same, and knows nothing of later changes.
func (b *book) copyOf() *book { return &book{d: b.Directory(), changed: make(chan struct{}, 1)} }

func TestWhoIsPutOutIsNotLetInBesideEither(t *testing.T) {
	c := &clock{now: time.Now()}
	h := newHouseIn(t, t.TempDir(), doors.Config{Rate: 100, Burst: 1000, Watch: 5 * time.Millisecond, Clock: c.Now},
		partner("acme", "A"), partner("other", "A"))
	for range 2 {
		d, _ := h.beside(h.book)
		until(t, "the doors beside are ready", func() bool { return d.Status().Ready })
	}
	nc, idle := h.mustLogin("acme"), h.mustLogin("acme")
	gone := idle.StatusChanged(nats.CLOSED)
	floods(nc, "$JS.ACK.SIGNOFF.acme=A.1.1.1.1.1")
	ends(t, "its other connection", gone)
	until(t, "all know", func() bool {
		for range 20 { // each is answered by one of the three
			if nc, err := h.login("acme"); err == nil {
				nc.Close()
				return false
			}
		}
		return true
	})
	h.mustLogin("other")
}

func TestLoginsAreAnsweredBesideOtherDoors(t *testing.T) {
	h := newHouse(t, doors.Config{})
	h.admit("acme", "A", "B")
	h.publish("A", "one")
	b := h.book.copyOf()
	b.behind = true
	d, stop := h.beside(b)

	t.Run("not by a directory that may be old", func(t *testing.T) {
		h.stop() // nobody else answers
		nc, err := h.login("acme")
		wantUnanswered(t, "a login", nc, err)
		if d.Status().Ready {
			t.Error("ready")
		}
	})
	t.Run("with all that is granted, once it is the latest", func(t *testing.T) {
		b.mu.Lock()
		b.behind = false
		b.mu.Unlock()
		until(t, "the doors are ready", func() bool { return d.Status().Ready })
		nc := h.mustLogin("acme")
		same(t, "events", take(t, consumer(t, nc, "acme=A"), 1), "one")
		nc, err := h.dial(nats.UserInfo("acme", "wrong"))
		wantRefused(t, "a wrong secret", nc, err)
		nc, err = h.login("nobody")
		wantRefused(t, "nobody", nc, err)
	})
	t.Run("without making or deleting consumers, or closing connections", func(t *testing.T) {
		nc := h.mustLogin("acme")
		b.change(func(d access.Directory) access.Directory {
			p, _ := d.Partner("acme")
			p.Studies = []string{"B", "C"}
			return d.WithPartner(p)
		})
		again := h.mustLogin("acme")
		if _, err := info(again, "acme=C"); err == nil {
			t.Error("a consumer was made")
		}
		if _, err := info(nc, "acme=A"); err != nil {
			t.Errorf("consumer A from a connection of before: %v", err)
		}
		if _, err := again.Request("js.signoff.CONSUMER.INFO.SIGNOFF.acme=A", nil, timeout/300); err == nil {
			t.Error("a login opens what is granted no more")
		}
	})
	t.Run("until it is stopped", func(t *testing.T) {
		stop()
		if d.Status().Ready {
			t.Error("ready")
		}
		nc, err := h.login("acme")
		wantUnanswered(t, "a login", nc, err)
	})
	t.Run("and doors that run close what was opened with more than is granted", func(t *testing.T) {
		_, stop := h.beside(b) // it knows of C
		defer stop()
		until(t, "a login", func() bool {
			nc, err := h.login("acme")
			if err != nil {
				return false
			}
			h.t.Cleanup(nc.Close)
			return true
		})
		right := func(c events.Connection) bool { return strings.HasSuffix(c.User, grants([]string{"A", "B"})) }
		list, err := h.server.Connections(t.Context(), "partner-acme")
		if err != nil || !slices.ContainsFunc(list, right) || !slices.ContainsFunc(list, func(c events.Connection) bool { return !right(c) }) {
			t.Fatalf("connections %v, %v; want some of both kinds", list, err)
		}
		stop()
		h.startDoors()
		h.ready()
		until(t, "they are closed", func() bool {
			list, err := h.server.Connections(t.Context(), "partner-acme")
			return err == nil && len(list) > 0 && !slices.ContainsFunc(list, func(c events.Connection) bool { return !right(c) })
		})
	})
}
