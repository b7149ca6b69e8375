package operator_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher/operator"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// hostileReplies are reply subjects with which an answer would reach a partner, the
// service or the server itself.
var hostileReplies = []string{
	"crit.v1.A.DiagnosticReport.signed", "crit.v1.A.x", "crit.partner.acme.access", "crit.internal.access",
	"in.crit.v1.A.DiagnosticReport.signed", "in.crit.internal.access",
	"_INBOX.acme", "_INBOX.service", "_R_.abcdef.ghijkl", "_GR_.abcdef.ghijkl.crit.v1.A.x",
	"$JS.API.STREAM.DELETE.SIGNOFF", "$JS.API.STREAM.PURGE.SIGNOFF", "$JS.API.STREAM.MSG.DELETE.SIGNOFF", "$JS.API.STREAM.CREATE.OTHER",
	"$JS.API.CONSUMER.CREATE.SIGNOFF", "$JS.API.CONSUMER.DURABLE.CREATE.SIGNOFF.evil", "$JS.API.CONSUMER.DELETE.SIGNOFF.acme=A",
	"$JS.API.CONSUMER.MSG.NEXT.SIGNOFF.acme=A", "$JS.API.DIRECT.GET.SIGNOFF", "$JS.ACK.SIGNOFF.acme=A.1.1.1.1.1", "$JS.ACK.a.b.SIGNOFF.acme=A.1.1.1.1.1.x",
	"js.signoff.CONSUMER.MSG.NEXT.SIGNOFF.acme=A", "$JS.signoff.CONSUMER.MSG.NEXT.SIGNOFF.acme=A",
	tenancy.SuspensionSubject, "$SYS.REQ.USER.AUTH", "$SYS.REQ.CLAIMS.DELETE", "$SYS.REQ.SERVER.PING.STATZ",
}

// readRequests are requests that operator and reader may make, with bodies whose answers
// are events of other studies, and access events.
var readRequests = []struct{ subject, body string }{
	{"$JS.API.DIRECT.GET.SIGNOFF", `{"seq":1,"batch":10}`},
	{"$JS.API.DIRECT.GET.SIGNOFF", `{"seq":2}`},
	{"$JS.API.DIRECT.GET.SIGNOFF", `{"last_by_subj":"crit.v1.B.DiagnosticReport.signed"}`},
	{"$JS.API.DIRECT.GET.SIGNOFF", `{"next_by_subj":"crit.v1.B.>","batch":5}`},
	{"$JS.API.DIRECT.GET.SIGNOFF", `{"multi_last":["crit.v1.B.>","crit.internal.access"]}`},
	{"$JS.API.DIRECT.GET.SIGNOFF.crit.v1.B.DiagnosticReport.signed", ``},
	{"$JS.API.STREAM.MSG.GET.SIGNOFF", `{"seq":2}`},
	{"$JS.API.STREAM.INFO.SIGNOFF", ``},
	{"$JS.API.STREAM.NAMES", ``},
	{"$JS.API.STREAM.LIST", ``},
	{"$JS.API.CONSUMER.NAMES.SIGNOFF", ``},
	{"$JS.API.CONSUMER.LIST.SIGNOFF", ``},
	{"$JS.API.CONSUMER.INFO.SIGNOFF.acme=A", ``},
	{"$JS.API.INFO", ``},
}

func TestAnswersOfReadersReachNobodyElse(t *testing.T) {
	eachSize(t, func(t *testing.T, in *installation) {
		in.answerLogins()
		in.makeStream("acme", "A")
		in.publish("A", "a1")
		in.publish("B", "b1", "b2")
		js := in.jetstream(operator.Publisher)
		in.store(js, &nats.Msg{Subject: "in." + events.AccessSubject, Data: []byte("access")})
		if err := in.accounts().SetAccount(t.Context(), accountOf("acme", "A")); err != nil {
			t.Fatal(err)
		}
		var live, inboxes, service []*nats.Subscription
		listen := func(to *[]*nats.Subscription, nc *nats.Conn, subjects ...string) {
			t.Helper()
			for _, subject := range subjects {
				sub, err := nc.SubscribeSync(subject)
				if err != nil {
					t.Fatal(err)
				}
				*to = append(*to, sub)
			}
			if err := nc.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		for _, n := range in.nodes {
			nc := in.mustLogin(n, "acme")
			listen(&live, nc, "crit.>")
			listen(&inboxes, nc, "_INBOX.acme", "js.signoff.>")
		}
		listen(&service, in.mustConnect(operator.Partners), append(tenancy.RequestSubjects(), "_INBOX.service", tenancy.SuspensionSubject)...)
		listen(&service, in.mustConnect(operator.Publisher), "_INBOX.service")

		// A role in the stream's account reaches the partner in this way. So the test would notice.
		in.until("an answer reaches the partner", func() error {
			if err := js.Conn().PublishRequest("$JS.API.DIRECT.GET.SIGNOFF", "crit.v1.A.DiagnosticReport.signed", []byte(`{"seq":2}`)); err != nil {
				return err
			}
			_, err := live[0].NextMsg(time.Second)
			return err
		})
		in.settle(live)
		for _, sub := range live {
			in.bodies(sub)
		}
		before := in.state(js)

		for _, role := range []operator.Role{operator.Reader, operator.Operator} {
			for _, n := range in.nodes {
				nc := in.connectTo(n, role)
				for _, r := range readRequests {
					for _, reply := range hostileReplies {
						if err := nc.PublishRequest(r.subject, reply, []byte(r.body)); err != nil {
							t.Fatal(err)
						}
					}
				}
				in.readAll(nc, 4)
			}
		}
		published := in.settle(live)
		for _, sub := range live {
			for _, body := range in.bodies(sub) {
				if body != "settled" {
					t.Errorf("the partner received %q", body)
				}
			}
		}
		for _, sub := range append(inboxes, service...) {
			if got := in.bodies(sub); len(got) > 0 {
				t.Errorf("%q arrived on %s", got, sub.Subject)
			}
		}
		after := in.state(js)
		after.Messages -= published
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("the stream has changed:\n%s", diff)
		}
	})
}

// connectTo connects to one server as a role.
func (in *installation) connectTo(n *node, role operator.Role) *nats.Conn {
	in.t.Helper()
	login, err := in.keys.Login(in.roles, role)
	if err != nil {
		in.t.Fatal(err)
	}
	nc, err := nats.Connect(n.url, login, nats.Timeout(timeout), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		in.t.Fatal(err)
	}
	in.t.Cleanup(nc.Close)
	return nc
}

// readAll reads the stream as a reader does. It is an error if not all n messages arrive.
// When it returns, all earlier requests of the connection have reached the server.
func (in *installation) readAll(nc *nats.Conn, n int) {
	in.t.Helper()
	in.until("the stream is read by direct gets", func() error {
		answers, err := nc.SubscribeSync(nc.NewInbox())
		if err != nil {
			return err
		}
		defer func() { _ = answers.Unsubscribe() }() // the connection may be closed
		if err := nc.PublishRequest("$JS.API.DIRECT.GET.SIGNOFF", answers.Subject, fmt.Appendf(nil, `{"seq":1,"batch":%d}`, n)); err != nil {
			return err
		}
		for i := range n + 1 { // and the end
			msg, err := answers.NextMsg(timeout)
			if err != nil {
				return err
			}
			if (i == n) != (len(msg.Data) == 0) {
				return fmt.Errorf("answer %d: %v %q", i, msg.Header, msg.Data)
			}
		}
		return nil
	})
}

// settle publishes events of study A until each of the subscriptions has received one. It
// returns how many these were, and leaves what was received.
func (in *installation) settle(live []*nats.Subscription) (published uint64) {
	in.t.Helper()
	waiting := func(sub *nats.Subscription) int {
		n, _, err := sub.Pending()
		if err != nil {
			in.t.Fatal(err)
		}
		return n
	}
	for _, sub := range live {
		before := waiting(sub)
		in.until("an event is received", func() error {
			if waiting(sub) > before {
				return nil
			}
			in.publish("A", "settled")
			published++
			return errors.New("none has arrived yet")
		})
	}
	return published
}

// bodies returns the bodies of the messages that a subscription has received.
func (in *installation) bodies(sub *nats.Subscription) (all []string) {
	in.t.Helper()
	for {
		msg, err := sub.NextMsg(50 * time.Millisecond)
		if err != nil {
			return all
		}
		all = append(all, string(msg.Data))
	}
}

// streamState is what no reader may change.
type streamState struct {
	Config    jetstream.StreamConfig
	Messages  uint64
	Deleted   int
	Streams   []string
	Consumers []string
	Delivered uint64
	Acked     uint64
}

func (in *installation) state(js jetstream.JetStream) (s streamState) {
	in.t.Helper()
	in.until("the state of the stream", func() error {
		s = streamState{}
		stream, err := js.Stream(in.t.Context(), events.Stream)
		if err != nil {
			return err
		}
		info := stream.CachedInfo()
		s.Config, s.Messages, s.Deleted = info.Config, info.State.Msgs, info.State.NumDeleted
		names := js.StreamNames(in.t.Context())
		for name := range names.Name() {
			s.Streams = append(s.Streams, name)
		}
		consumers := stream.ListConsumers(in.t.Context())
		for c := range consumers.Info() {
			s.Consumers = append(s.Consumers, c.Name)
			s.Delivered, s.Acked = s.Delivered+c.Delivered.Stream, s.Acked+c.AckFloor.Stream
		}
		slices.SortFunc(s.Consumers, strings.Compare)
		if err := names.Err(); err != nil {
			return err
		}
		return consumers.Err()
	})
	return s
}
