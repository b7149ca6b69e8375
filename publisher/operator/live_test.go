package operator_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher/operator"
	"github.com/seed-e88a4ece/signoff/subscriber/stream"
)

// liveSubjects are subjects that readers listen to.
var liveSubjects = []string{
	"crit.v1.A.DiagnosticReport.signed", "crit.v1.A.x", "crit.internal.access", "crit.partner.acme.access",
}

// forgeries are requests with which an answer or a delivery could reach a reader. Each is
// sent with a live subject for %s and as the reply subject.
var forgeries = []struct{ subject, body string }{
	{"$JS.API.CONSUMER.CREATE.SIGNOFF", `{"stream_name":"SIGNOFF","config":{"deliver_subject":"%s","deliver_policy":"all","ack_policy":"none"}}`},
	{"$JS.API.CONSUMER.CREATE.SIGNOFF.forged", `{"stream_name":"SIGNOFF","config":{"name":"forged","deliver_subject":"%s","deliver_policy":"all","ack_policy":"none"}}`},
	{"$JS.API.CONSUMER.DURABLE.CREATE.SIGNOFF.durable", `{"stream_name":"SIGNOFF","config":{"durable_name":"durable","deliver_subject":"%s","deliver_policy":"all","ack_policy":"none"}}`},
	{"$JS.API.CONSUMER.MSG.NEXT.SIGNOFF.acme=A", `{"batch":10,"expires":1000000000}`},
	{"js.signoff.CONSUMER.MSG.NEXT.SIGNOFF.acme=A", `{"batch":10,"expires":1000000000}`},
	{"$JS.ACK.SIGNOFF.acme=A.1.1.1.1.1", `+NXT 10`},
}

// Readers apply live messages, so nobody but the server may publish to live subjects.
// Answers and deliveries that somebody directs there are from the stream, but not in its
// order.
func TestReadersApplyOnlyWhatTheStreamHasRepublished(t *testing.T) {
	eachSize(t, func(t *testing.T, in *installation) {
		in.answerLogins()
		in.makeStream("acme", "A")
		if err := in.accounts().SetAccount(t.Context(), accountOf("acme", "A")); err != nil {
			t.Fatal(err)
		}
		all := reports("A", 12)
		writer := in.jetstream(operator.Publisher)
		publish := func(list ...events.Event) {
			t.Helper()
			for _, e := range list {
				in.store(writer, &nats.Msg{Subject: events.IngestPrefix + e.NATSSubject(), Header: e.Header(), Data: e.Data})
			}
		}
		publish(all[:3]...)
		var readers []*reading
		for _, n := range in.nodes {
			// Both intervals are so long that only live messages are applied.
			readers = append(readers, read(t, in.connectTo(n, operator.Reader)))
		}
		published := 3
		var attackers []*nats.Conn
		for _, n := range in.nodes {
			for _, role := range operator.Roles {
				attackers = append(attackers, in.connectTo(n, role))
			}
			attackers = append(attackers, in.mustLogin(n, "acme"))
		}
		for _, r := range readers {
			r.wait(t, published)
		}
		for _, nc := range attackers {
			for _, subject := range liveSubjects {
				msg := forged(subject, all[published], uint64(published+1))
				if err := nc.PublishMsg(msg); err != nil {
					t.Fatal(err)
				}
				for _, r := range append(readRequests, forgeries...) {
					body := r.body
					if strings.Contains(body, "%s") {
						body = fmt.Sprintf(body, subject)
					}
					if err := nc.PublishMsg(&nats.Msg{Subject: r.subject, Reply: subject, Header: msg.Header, Data: []byte(body)}); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := nc.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		for _, e := range all[published:] {
			publish(e)
		}
		for _, r := range readers {
			r.wait(t, len(all))
			if diff := cmp.Diff(all, r.events(t)); diff != "" {
				t.Errorf("the reader applied something else:\n%s", diff)
			}
		}
	})
}

// Without accounts and permissions a message as the test above forges it is applied. So
// that test would notice it.
func TestAForgedLiveMessageWouldBeApplied(t *testing.T) {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(timeout) {
		t.Fatal("the server is not ready")
	}
	nc, err := nats.Connect(s.ClientURL(), nats.Timeout(timeout))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(timeout))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: events.Stream, Subjects: []string{events.IngestWildcard}, AllowDirect: true,
	}); err != nil {
		t.Fatal(err)
	}
	r := read(t, nc)
	e := reports("A", 1)[0]
	if err := nc.PublishMsg(forged(e.NATSSubject(), e, 1)); err != nil {
		t.Fatal(err)
	}
	r.wait(t, 1)
	if got := r.events(t)[0]; string(got.Data) != `{"forged":true}` {
		t.Errorf("%q was applied", got.Data)
	}
}

// reports makes the first events of a study.
func reports(study string, n uint64) (all []events.Event) {
	var head events.ChainHead
	for i := uint64(1); i <= n; i++ {
		e := events.Event{
			ID: fmt.Sprintf("%s-%d", study, i), Source: events.DefaultNamespace.Source(study), Type: events.DefaultNamespace.Type(events.ReportSigned),
			Subject: events.ReportSubject(fmt.Sprint(i), i), Time: time.Date(2026, 1, 1, 0, 0, 0, int(i)*1000, time.UTC),
			DataContentType: events.MediaFHIR, Study: study, PartitionKey: study + "/1", Data: []byte("{}"),
		}
		e.Seal(head)
		head = e.ChainHead()
		all = append(all, e)
	}
	return all
}

// forged returns an event other than e that follows the same one, as the stream would
// republish it.
func forged(subject string, e events.Event, sequence uint64) *nats.Msg {
	e.Data = []byte(`{"forged":true}`)
	e.Seal(events.ChainHead{Number: e.Number - 1, Hash: e.PreviousHash})
	msg := &nats.Msg{Subject: subject, Header: e.Header(), Data: e.Data}
	for name, value := range map[string]string{
		"Nats-Stream": events.Stream, "Nats-Subject": subject, "Nats-Sequence": fmt.Sprint(sequence),
		"Nats-Time-Stamp": "2026-01-01T00:00:00Z", "Nats-Last-Sequence": fmt.Sprint(sequence - 1),
	} {
		msg.Header.Set(name, value)
	}
	return msg
}

// reading is a reader of the stream and what it has applied.
type reading struct {
	mu      sync.Mutex
	stored  stream.Progress
	applied []events.Event
	changed chan struct{}
	stop    func() error
}

// read starts a reader, which stops with the test.
func read(t *testing.T, nc *nats.Conn) *reading {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	r := &reading{changed: make(chan struct{}, 1)}
	begun := make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- stream.NewReader(js, r, stream.Config{Poll: time.Hour, Interval: time.Hour, Compared: func(uint64) {
			select {
			case begun <- struct{}{}:
			default:
			}
		}}).Run(ctx)
	}()
	r.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() { _ = r.stop() }) // events reports the error
	select {
	case <-begun:
	case <-time.After(timeout):
		t.Fatal("the reader does not begin")
	}
	return r
}

func (r *reading) Resume(context.Context) (stream.Progress, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stored, nil
}

func (r *reading) Apply(_ context.Context, b stream.Batch) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	heads := make(map[string]events.ChainHead)
	for _, m := range b.Messages {
		r.applied = append(r.applied, m.Event)
		heads[m.Event.Study] = m.Event.ChainHead()
	}
	r.stored = stream.Progress{Position: b.Position, ChainHeads: heads}
	select {
	case r.changed <- struct{}{}:
	default:
	}
	return nil
}

// wait waits until n events are applied.
func (r *reading) wait(t *testing.T, n int) {
	t.Helper()
	limit := time.After(timeout)
	for {
		r.mu.Lock()
		count := len(r.applied)
		r.mu.Unlock()
		if count >= n {
			return
		}
		select {
		case <-r.changed:
		case <-limit:
			t.Fatalf("%d of %d events were applied", count, n)
		}
	}
}

// events stops the reader and returns what it has applied.
func (r *reading) events(t *testing.T) []events.Event {
	t.Helper()
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	return r.applied
}
