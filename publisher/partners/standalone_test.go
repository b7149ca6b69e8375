package partners_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/publisher/callout"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// startStandalone starts what only answers logins, by a directory of its own.
func (h *installation) startStandalone(b *directory) (*callout.Standalone, func()) {
	h.t.Helper()
	d, err := callout.NewStandalone(h.connect(natsd.Callout), h.connect(natsd.Partners), b, h.keys.Answers(), h.cfg.callout())
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
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

// copyOf is a directory that reads the same, and knows nothing of later changes.
func (b *directory) copyOf() *directory {
	return &directory{d: b.Directory(), changed: make(chan struct{}, 1)}
}

func TestASuspendedPartnerIsRefusedByAStandaloneCalloutToo(t *testing.T) {
	c := &clock{now: time.Now()}
	h := newInstallationIn(t, t.TempDir(), config{Rate: 100, Burst: 1000, Measure: 5 * time.Millisecond, Clock: c.Now},
		partner("acme", "A"), partner("other", "A"))
	for range 2 {
		d, _ := h.startStandalone(h.directory)
		until(t, "the standalone callout is ready", func() bool { return d.Status().Ready })
	}
	nc, idle := h.mustLogin("acme"), h.mustLogin("acme")
	gone := idle.StatusChanged(nats.CLOSED)
	floods(t, nc, "$JS.ACK.SIGNOFF.acme=A.1.1.1.1.1")
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

func TestAStandaloneCalloutAnswersLogins(t *testing.T) {
	h := newInstallation(t, config{})
	h.admit("acme", "A", "B")
	h.publish("A", "one")
	b := h.directory.copyOf()
	b.behind = true
	d, stop := h.startStandalone(b)

	t.Run("not by a directory that may be old", func(t *testing.T) {
		h.stop() // nobody else answers
		_ = h.wantUnanswered(t, "a login", bySecret("acme"))
		if d.Status().Ready {
			t.Error("ready")
		}
	})
	t.Run("with all that is granted, once it is the latest", func(t *testing.T) {
		b.mu.Lock()
		b.behind = false
		b.mu.Unlock()
		until(t, "the service is ready", func() bool { return d.Status().Ready })
		nc := h.mustLogin("acme")
		same(t, "events", take(t, consumer(t, nc, "acme=A"), 1), "one")
		nc, err := h.dial(nats.UserInfo("acme", "wrong"))
		wantRefused(t, "a wrong secret", nc, err)
		nc, err = h.login("nobody")
		wantRefused(t, "nobody", nc, err)
	})
	t.Run("not while they are withheld, with a right secret or a wrong one", func(t *testing.T) {
		b.withhold(errors.New("the stream was not heard"))
		_ = h.wantUnanswered(t, "a login", bySecret("acme"))
		_ = h.wantUnanswered(t, "a wrong secret", nats.UserInfo("acme", "wrong"))
		b.withhold(nil)
		until(t, "the service is ready", func() bool { return d.Status().Ready })
		h.mustLogin("acme")
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
		_ = h.wantUnanswered(t, "a login", bySecret("acme"))
	})
	t.Run("and the service closes what was opened with more than is granted", func(t *testing.T) {
		_, stop := h.startStandalone(b) // it knows of C
		defer stop()
		until(t, "a login", func() bool {
			nc, err := h.login("acme")
			if err != nil {
				return false
			}
			h.t.Cleanup(nc.Close)
			return true
		})
		right := func(c tenancy.Connection) bool { return strings.HasSuffix(c.User, grants([]string{"A", "B"})) }
		list, err := h.connections("acme")
		if err != nil || !slices.ContainsFunc(list, right) || !slices.ContainsFunc(list, func(c tenancy.Connection) bool { return !right(c) }) {
			t.Fatalf("connections %v, %v; want some of both kinds", list, err)
		}
		stop()
		h.startService()
		h.ready()
		until(t, "they are closed", func() bool {
			list, err := h.connections("acme")
			return err == nil && len(list) > 0 && !slices.ContainsFunc(list, func(c tenancy.Connection) bool { return !right(c) })
		})
	})
}
