package partners_test

import (
	"slices"
	"testing"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

func grants(studies []string) string {
	var tokens []string
	for _, s := range studies {
		tokens = append(tokens, events.StudyKey(s))
	}
	slices.Sort(tokens)
	return tenancy.GrantsID(tokens, nil)
}

func TestAPartnerReadsItsStudyFromTheFirstEventOnAndLive(t *testing.T) {
	h := newInstallation(t, config{})
	h.publish("A", "a1", "a2")
	h.publish("B", "b1")
	h.admit("acme", "A")
	nc := h.mustLogin("acme")
	live, err := nc.SubscribeSync("crit.v1.A.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	c := consumer(t, nc, "acme=A")
	same(t, "from the first on", take(t, c, 2), "a1", "a2")
	h.publish("B", "b2")
	h.publish("A", "a3")
	same(t, "what is published next", take(t, c, 1), "a3")
	none(t, c)
	msg, err := live.NextMsg(timeout)
	if err != nil || string(msg.Data) != "a3" {
		t.Errorf("live: %v, %v", msg, err)
	}
}
