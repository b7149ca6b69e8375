package stream_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/publisher/operator"
	"github.com/seed-e88a4ece/signoff/subscriber/stream"
)

// The embedded server lets no role publish to live subjects. What roles have delivered or
// answered there is not taken for a live message. Package operator tests the same with
// partners, and with outside servers.
func TestNoRoleOfTheEmbeddedServerCanForgeALiveMessage(t *testing.T) {
	b := newBroker(t)
	s := &study{key: "S1"}
	want := s.take(10)
	h := newMemoryHandler()
	stop, _ := run(t, b.connectReader(), h, stream.Config{Poll: time.Hour, Interval: time.Hour})
	b.publish(want[:4]...)
	h.wait(t, 4)
	subject := want[4].NATSSubject()
	forged := (&study{key: "S1", head: want[3].ChainHead(), body: []byte(`{"forged":true}`)}).next()
	header := nats.Header(forged.Header())
	for name, value := range map[string]string{"Stream": "SIGNOFF", "Subject": subject, "Sequence": "5", "Time-Stamp": "2026-01-01T00:00:00Z", "Last-Sequence": "4"} {
		header.Set("Nats-"+name, value)
	}
	consumer := fmt.Sprintf(`{"stream_name":"SIGNOFF","config":{"name":"forged","deliver_subject":%q,"deliver_policy":"all","ack_policy":"none"}}`, subject)
	for _, role := range operator.Roles {
		nc, err := b.Server().Connect(role, nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range []struct{ subject, reply, body string }{
			{subject, "", string(forged.Data)},
			{"$JS.API.DIRECT.GET.SIGNOFF", subject, `{"seq":4}`},
			{"$JS.API.DIRECT.GET.SIGNOFF", subject, `{"seq":1,"batch":10}`},
			{"$JS.API.STREAM.MSG.GET.SIGNOFF", subject, `{"seq":4}`},
			{"$JS.API.CONSUMER.CREATE.SIGNOFF.forged", subject, consumer},
		} {
			if err := nc.PublishMsg(&nats.Msg{Subject: r.subject, Reply: r.reply, Header: header, Data: []byte(r.body)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		nc.Close()
	}
	b.publish(want[4:]...)
	h.wait(t, len(want))
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, h.events); diff != "" {
		t.Error(diff)
	}
}
