package partners_test

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
)

// apply folds an access event of a kind into the directory.
func (b *directory) apply(t testing.TB, kind events.Kind) {
	t.Helper()
	b.change(func(d access.Directory) access.Directory {
		d, err := d.Apply(events.Event{Type: events.DefaultNamespace.Type(kind), Study: events.AccessStudy})
		if err != nil {
			t.Error(err)
		}
		return d
	})
}

func TestNobodyComesInWhileOnlyANewerVersionKnowsWhoMay(t *testing.T) {
	h := newInstallation(t, config{})
	h.admit("acme", "A")
	h.publish("A", "one", "two")
	nc := h.mustLogin("acme")
	same(t, "events", take(t, consumer(t, nc, "acme=A"), 1), "one")
	before := h.directory.Directory()

	h.directory.apply(t, "access.contact.optional.v1")
	h.mustLogin("acme")
	gone := nc.StatusChanged(nats.CLOSED)
	h.directory.apply(t, "access.role.v1")
	ends(t, "a connection of before", gone)
	until(t, "the service reports why", func() bool {
		s := h.reconciler.Status()
		return !s.Ready && strings.Contains(s.Reason, "access.role.v1")
	})
	if n := h.metric("signoff_partners_closed_connections_total", "not known"); n == 0 {
		t.Error("no closed connection is counted")
	}
	h.callout.Admit("nobody", nil) // waits until logins that are being answered are counted
	answered := h.metric("signoff_partners_logins_total", "refused") + h.metric("signoff_partners_logins_total", "opened")
	for what, credential := range map[string]nats.Option{
		"by secret": nats.UserInfo("acme", secretOf("acme")), "by token": nats.Token(h.token("acme")), "with a wrong secret": nats.UserInfo("acme", "wrong"),
	} {
		_ = h.wantUnanswered(t, "a login "+what, credential)
	}
	if n := h.metric("signoff_partners_logins_total", "refused") + h.metric("signoff_partners_logins_total", "opened"); n != answered {
		t.Errorf("%v logins were answered", n-answered)
	}

	h.set("acme", "B") // withdraws A, as far as this version knows
	if _, err := h.writer.Consumer(t.Context(), events.Stream, "acme=A"); err != nil {
		t.Errorf("the consumer of A: %v", err)
	}

	t.Run("a callout of a newer version answers", func(t *testing.T) {
		_, stop := h.startStandalone(&directory{d: before, changed: make(chan struct{}, 1)})
		defer stop()
		until(t, "a login", func() bool {
			nc, err := h.login("acme")
			if err == nil {
				nc.Close()
			}
			return err == nil
		})
	})
	t.Run("once it is known they go on where they were", func(t *testing.T) {
		h.directory.change(func(access.Directory) access.Directory { return before })
		h.ready()
		same(t, "events", take(t, consumer(t, h.mustLogin("acme"), "acme=A"), 1), "two")
	})
}

func TestAStandaloneCalloutLeavesLoginsThatOnlyANewerVersionCanAnswerToOthers(t *testing.T) {
	h := newInstallation(t, config{})
	h.admit("acme", "A")
	old := h.directory.copyOf()
	d, _ := h.startStandalone(old)
	until(t, "the standalone callout is ready", func() bool { return d.Status().Ready })
	old.apply(t, "access.contact.optional.v1")
	h.stop()
	h.mustLogin("acme") // answered by the old one

	old.apply(t, "access.partner.v2")
	until(t, "the standalone callout reports why", func() bool {
		s := d.Status()
		return !s.Ready && strings.Contains(s.Reason, "access.partner.v2")
	})
	_ = h.wantUnanswered(t, "a login", bySecret("acme"))
	h.startService()
	h.ready()
	for range 20 { // each would be answered by either of them
		h.mustLogin("acme").Close()
	}
}
