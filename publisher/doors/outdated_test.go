package doors_test

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/publisher/doors"
)

// apply folds an access event of a kind into the directory.
func (b *book) apply(t testing.TB, kind events.Kind) {
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
	h := newHouse(t, doors.Config{})
	h.admit("acme", "A")
	h.publish("A", "one", "two")
	nc := h.mustLogin("acme")
	same(t, "events", take(t, consumer(t, nc, "acme=A"), 1), "one")
	before := h.book.Directory()

	h.book.apply(t, "access.contact.optional.v1")
	h.mustLogin("acme")
	gone := nc.StatusChanged(nats.CLOSED)
	h.book.apply(t, "access.role.v1")
	ends(t, "a connection of before", gone)
	until(t, "the doors say why", func() bool {
		s := h.doors.Status()
		return !s.Ready && strings.Contains(s.Reason, "access.role.v1")
	})
	if n := h.metric("signoff_doors_closed_connections_total", "not known"); n == 0 {
		t.Error("no closed connection is counted")
	}
	answered := h.metric("signoff_doors_logins_total", "refused") + h.metric("signoff_doors_logins_total", "opened")
	for what, credential := range map[string]nats.Option{
		"by secret": nats.UserInfo("acme", secretOf("acme")), "by token": nats.Token(h.token("acme")), "with a wrong secret": nats.UserInfo("acme", "wrong"),
	} {
		nc, err := h.dial(credential)
		wantUnanswered(t, "a login "+what, nc, err)
	}
	if n := h.metric("signoff_doors_logins_total", "refused") + h.metric("signoff_doors_logins_total", "opened"); n != answered {
		t.Errorf("%v logins were answered", n-answered)
	}

	h.set("acme", "B") // withdraws A, as far as this version knows
	if _, err := h.writer.Consumer(t.Context(), events.Stream, "acme=A"); err != nil {
		t.Errorf("the consumer of A: %v", err)
	}

	t.Run("doors of a newer version beside answer", func(t *testing.T) {
		_, stop := h.beside(&book{d: before, changed: make(chan struct{}, 1)})
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
		h.book.change(func(access.Directory) access.Directory { return before })
		h.ready()
		same(t, "events", take(t, consumer(t, h.mustLogin("acme"), "acme=A"), 1), "two")
	})
}

func TestDoorsBesideLeaveLoginsThatOnlyANewerVersionCanAnswerToOthers(t *testing.T) {
	h := newHouse(t, doors.Config{})
	h.admit("acme", "A")
	old := h.book.copyOf()
	d, _ := h.beside(old)
	until(t, "the doors beside are ready", func() bool { return d.Status().Ready })
	old.apply(t, "access.contact.optional.v1")
	h.stop()
	h.mustLogin("acme") // answered by the old one

	old.apply(t, "access.partner.v2")
	until(t, "the doors beside say why", func() bool {
		s := d.Status()
		return !s.Ready && strings.Contains(s.Reason, "access.partner.v2")
	})
	nc, err := h.login("acme")
	wantUnanswered(t, "a login", nc, err)
	h.startDoors()
	h.ready()
	for range 20 { // each would be answered by either of them
		h.mustLogin("acme").Close()
	}
}
