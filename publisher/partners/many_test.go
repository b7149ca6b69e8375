package partners_test

import (
	"flag"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/events/access"
)

var manyPartners = flag.Int("many-partners", 10, "partners of three servers in TestManyPartnersAreComparedWithinTheDefaultTimeout")

// A server that answers late is taken for one that does not answer: it is compared once
// more, and nobody waits for it.
func TestManyPartnersAreComparedWithinTheDefaultTimeout(t *testing.T) {
	var known []access.Partner
	for i := range *manyPartners {
		known = append(known, partner(fmt.Sprint("p", i), "A"))
	}
	h, c := prepareCluster(t, config{MaxConsumers: 2 * *manyPartners}, known...)
	c.reach(0) // the default
	h.reach(c.Accounts(c.keys, c.preload))
	h.startService()
	h.ready()
	h.publish("A", "a1")
	for _, id := range []string{"p0", known[len(known)-1].ID} {
		var nc *nats.Conn
		until(t, id+" is let in", func() bool {
			var err error
			nc, err = h.login(id)
			return err == nil
		})
		t.Cleanup(nc.Close)
		same(t, "pulled", take(t, consumer(t, nc, id+"=A"), 1), "a1")
	}
	until(t, "all servers have answered", func() bool { return len(h.reconciler.Status().Unanswered) == 0 })
	closed := nats.CLOSED
	gone := h.mustLogin("p1").StatusChanged(closed)
	h.set("p1")
	ends(t, "who had the study", gone)
}
