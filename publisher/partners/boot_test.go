package partners_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

func TestAfterARestartPartnersGoOnWhereTheyWere(t *testing.T) {
	h := newInstallation(t, config{})
	h.publish("A", "a1", "a2", "a3")
	h.admit("acme", "A")
	same(t, "before", take(t, consumer(t, h.mustLogin("acme"), "acme=A"), 1), "a1")
	h.restart()
	same(t, "after", take(t, consumer(t, h.mustLogin("acme"), "acme=A"), 2), "a2", "a3")
}

func TestWhatWasWithdrawnWhileTheServiceWasAwayIsGoneBeforeLoginsAreAnswered(t *testing.T) {
	h := newInstallation(t, config{})
	h.publish("A", "a1")
	h.publish("B", "b1", "b2")
	h.admit("acme", "A", "B")
	h.admit("gone", "A")
	take(t, consumer(t, h.mustLogin("acme"), "acme=B"), 1)
	h.stop()
	h.set("acme", "B")
	h.setPartner(access.Partner{ID: "gone", Studies: []string{}, Secrets: []access.Secret{}})
	h.restart()
	same(t, "consumers", h.consumers(), "acme", "acme=B")
	nc := h.mustLogin("acme")
	same(t, "what stays", take(t, consumer(t, nc, "acme=B"), 1), "b2")
	if _, err := h.login("gone"); err == nil {
		t.Error("a removed partner got in")
	}
}

func TestLoginsAreAnsweredOnceTheDirectoryReflectsTheWholeStream(t *testing.T) {
	t.Parallel()
	h := newInstallation(t, config{})
	h.admit("acme", "A")
	h.stop()
	h.directory.lag(true)
	h.startService()
	_ = h.wantUnanswered(t, "a login", bySecret("acme"))
	if s := h.reconciler.Status(); s.Ready {
		t.Errorf("status %+v", s)
	}
	h.directory.lag(false)
	h.ready()
	h.mustLogin("acme")
}

// A first round that fails before it has tried a partner admits nobody.
func TestLoginsStayUnansweredUntilARoundHasTriedAllPartners(t *testing.T) {
	t.Parallel()
	h := newInstallation(t, config{})
	h.admit("acme", "A")
	h.stop()
	h.receipts.asked = func() { // the last step before the first round
		if err := h.writer.DeleteStream(context.Background(), events.Stream); err != nil {
			t.Error(err)
		}
		h.receipts.asked = nil
	}
	h.startService()
	until(t, "a round has failed", func() bool { return strings.Contains(h.reconciler.Status().Reason, "look up the stream") })
	err := h.wantUnanswered(t, "before the first round", bySecret("acme"), nats.Timeout(time.Second)) // less than the server waits for an answer
	if errors.Is(err, nats.ErrAuthorization) {
		t.Error("a login was refused before a round has tried to admit the partner")
	}
	h.makeStream(1)
	h.ready()
	h.mustLogin("acme")
}

func TestConsumersWithAnotherConfigurationAreCreatedAgain(t *testing.T) {
	for what, cfg := range map[string]jetstream.ConsumerConfig{
		"without a filter":      {},
		"with another filter":   {FilterSubject: "crit.v1.B.>"},
		"with a wider filter":   {FilterSubject: "crit.v1.>"},
		"with a second filter":  {FilterSubjects: []string{"crit.v1.A.>", "crit.v1.B.>"}},
		"that pushes elsewhere": {FilterSubject: "crit.v1.A.>", DeliverSubject: "_INBOX.x"},
		"that acknowledges all": {FilterSubject: "crit.v1.A.>", AckPolicy: jetstream.AckAllPolicy},
		"with few tries":        {FilterSubject: "crit.v1.A.>", MaxDeliver: 3},
	} {
		t.Run(what, func(t *testing.T) {
			h := newInstallation(t, config{})
			h.publish("A", "a1")
			h.publish("B", "b1")
			cfg.Durable = "acme=A"
			create := h.writer.CreateConsumer
			if cfg.DeliverSubject != "" {
				create = nil
			}
			if create != nil {
				if _, err := create(t.Context(), events.Stream, cfg); err != nil {
					t.Fatal(err)
				}
			} else if _, err := h.writer.CreatePushConsumer(t.Context(), events.Stream, cfg); err != nil {
				t.Fatal(err)
			}
			h.admit("acme", "A")
			c := consumer(t, h.mustLogin("acme"), "acme=A")
			same(t, "pulled", take(t, c, 1), "a1")
			none(t, c)
		})
	}
	t.Run("also while a partner is connected", func(t *testing.T) {
		h := newInstallation(t, config{})
		h.publish("A", "a1", "a2")
		h.publish("B", "b1")
		h.admit("acme", "A")
		take(t, consumer(t, h.mustLogin("acme"), "acme=A"), 1)
		until(t, "the receipt is kept", func() bool { return h.receipts.of("acme", "A").Acknowledged == 1 })
		if err := h.writer.DeleteConsumer(t.Context(), events.Stream, "acme=A"); err != nil {
			t.Fatal(err)
		}
		until(t, "it is there again", func() bool {
			_, err := h.writer.Consumer(t.Context(), events.Stream, "acme=A")
			return err == nil
		})
		c := consumer(t, h.mustLogin("acme"), "acme=A")
		same(t, "the rest", take(t, c, 1), "a2")
		none(t, c)
	})
}

func TestConsumersGoOnBehindWhatWasAcknowledgedAfterTheStreamWasLost(t *testing.T) {
	h := newInstallation(t, config{})
	h.publish("A", "a1", "a2", "a3")
	h.publish("B", "b1")
	h.admit("acme", "A", "B")
	take(t, consumer(t, h.mustLogin("acme"), "acme=A"), 2)
	until(t, "the receipt is kept", func() bool { return h.receipts.of("acme", "A").Acknowledged == 2 })
	h.stop()

	if err := h.writer.DeleteStream(t.Context(), events.Stream); err != nil {
		t.Fatal(err)
	}
	until(t, "the stream is created again", func() bool {
		_, err := publisher.EnsureStream(t.Context(), h.writer, publisher.StreamConfig{})
		return err == nil
	})
	h.publish("A", "a1")
	h.startService()
	until(t, "the rest is there", func() bool {
		return strings.Contains(h.reconciler.Status().Reason, "acknowledged up to 2") && len(h.consumers()) == 2
	})
	// The partner may ask for the study, which is granted; it is told that there is no consumer yet.
	answer, err := info(h.mustLogin("acme"), "acme=A")
	if err != nil || !strings.Contains(string(answer.Data), "consumer not found") {
		t.Errorf("asked for the consumer that is not there yet, it got %v, %v", answer, err)
	}
	h.publish("A", "a2", "a3")
	h.publish("B", "b1")
	h.ready()
	nc := h.mustLogin("acme")
	same(t, "of A", take(t, consumer(t, nc, "acme=A"), 1), "a3")
	same(t, "of B", take(t, consumer(t, nc, "acme=B"), 1), "b1")
}

func TestAccessIsAnnouncedToItsPartnerOnly(t *testing.T) {
	h := newInstallation(t, config{})
	h.admit("acme", "A")
	h.admit("other", "A")
	nc := h.mustLogin("acme")
	live, err := nc.SubscribeSync(events.PartnerAccessSubject("acme"))
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"other", "acme"} {
		if _, err := h.writer.Publish(t.Context(), "in."+events.PartnerAccessSubject(id), []byte("to "+id)); err != nil {
			t.Fatal(err)
		}
	}
	if msg, err := live.NextMsg(timeout); err != nil || string(msg.Data) != "to acme" {
		t.Errorf("live: %v, %v", msg, err)
	}
	c := consumer(t, nc, "acme")
	same(t, "by consumer", take(t, c, 1), "to acme")
	none(t, c)
	until(t, "the receipt is kept", func() bool {
		r := h.receipts.of("acme", events.PartnerStudy("acme"))
		return r.Acknowledged == 2 && r.Delivered == 2
	})
}

func TestAConnectionLearnsOfAGrantByComingBack(t *testing.T) {
	h := newInstallation(t, config{AckWait: time.Second})
	h.publish("B", "b1")
	h.admit("acme", "A")
	nc, err := connect(h.server.ClientURL(), bySecret("acme"), reconnecting, nats.ReconnectWait(time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	h.set("acme", "A", "B")
	until(t, "it reads the new study", func() bool {
		msg, err := nc.Request("js.signoff.CONSUMER.MSG.NEXT.SIGNOFF.acme=B", []byte(`{"batch":1,"no_wait":true}`), time.Second)
		return err == nil && string(msg.Data) == "b1"
	})
}

// reconnecting undoes nats.NoReconnect.
func reconnecting(o *nats.Options) error {
	o.AllowReconnect = true
	return nil
}

// counted counts the connections that a client opens.
type counted struct{ n atomic.Int32 }

func (c *counted) Dial(network, address string) (net.Conn, error) {
	c.n.Add(1)
	return net.Dial(network, address)
}

// A client as it comes from the library closes for good when it is refused twice.
func TestAClientIsNotRefusedWhileNobodyAnswersLogins(t *testing.T) {
	t.Parallel()
	h := newInstallation(t, config{})
	h.admit("acme", "A")
	var dials counted
	nc, err := connect(h.servers.ClientURL(), bySecret("acme"), nats.SetCustomDialer(&dials),
		reconnecting, nats.Timeout(nats.DefaultTimeout), nats.ReconnectWait(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	first := dials.n.Load()
	h.stop()
	var list []tenancy.Connection
	until(t, "it is the only connection", func() bool {
		list, err = h.connections("acme")
		return err == nil && len(list) == 1
	})
	if err := h.accounts.Disconnect(t.Context(), list[0]); err != nil {
		t.Fatal(err)
	}
	until(t, "it has failed twice", func() bool { return dials.n.Load() >= first+3 })
	h.startService()
	until(t, "it is back", func() bool {
		if nc.IsClosed() {
			t.Fatal(nc.LastError())
		}
		return nc.IsConnected()
	})
}
