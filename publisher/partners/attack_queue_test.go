package partners_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// Members of a queue group share what they hear, whatever accounts they are in:
// so a partner's groups bear its name, and no other partner can join.
func TestAPartnerSharesLiveEventsWithItselfOnly(t *testing.T) {
	h := newInstallation(t, config{})
	h.admit("acme", "A")
	h.admit("globex", "A")
	refused := make(chan error, 10)
	acme := []*nats.Conn{h.mustLogin("acme"), h.mustLogin("acme")}
	globex := h.mustLogin("globex", nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
	for _, group := range []string{"acme", "acme.workers"} {
		var members []*nats.Subscription
		for _, nc := range acme {
			sub, err := nc.QueueSubscribeSync("crit.v1.A.>", group)
			if err != nil {
				t.Fatal(err)
			}
			members = append(members, sub)
		}
		if _, err := globex.QueueSubscribeSync("crit.v1.A.>", group); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(acme[0].Flush(), acme[1].Flush(), globex.Flush()); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-refused:
			if !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("another partner in the group %s: %v", group, err)
			}
		case <-time.After(timeout):
			t.Errorf("another partner is in the group %s", group)
		}
		const published = 20
		for range published {
			h.publish("A", "a")
		}
		received := func() (n int) {
			for _, sub := range members {
				pending, _, err := sub.Pending()
				if err != nil {
					t.Fatal(err)
				}
				n += pending
			}
			return n
		}
		until(t, "all events have come to one member each", func() bool { return received() >= published })
		if n := received(); n != published {
			t.Errorf("group %s: %d events came as %d", group, published, n)
		}
	}
}
