package partners_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

var (
	waitingStudies = flag.Int("waiting-studies", 12, "studies at whose consumers requests wait on the embedded server; with 48 they are 1,568")
	waitingAll     = flag.Bool("waiting-all", false, "each request for answers to each subject")
)

// mostWaiting is how many requests may wait at a consumer, and a few more.
const mostWaiting = 32 + 8

// waitingTest is an installation whose partners leave as many requests waiting as they may: "mallory"
// with studies, and "pauper" with none, whose only consumer is that of its access.
// "honest" reads on.
type waitingTest struct {
	*installation
	clock   *clock
	servers int
	system  *nats.Conn
	reading jetstream.Consumer
	stays   chan nats.Status
	studies []string // of mallory
}

// newWaitingTest is a waitingTest on the embedded server with many studies, or on a cluster,
// which takes long to make a consumer, with few.
func newWaitingTest(t *testing.T, onCluster bool) *waitingTest {
	q := &waitingTest{clock: &clock{now: time.Now()}, servers: 1}
	n := *waitingStudies
	if onCluster {
		n = 3
	}
	for i := range n {
		q.studies = append(q.studies, fmt.Sprint("M", i))
	}
	cfg := config{Limits: tenancy.DefaultLimits(), Interval: time.Hour, Measure: 10 * time.Millisecond, AckWait: time.Hour, Clock: q.clock.Now}
	known := []access.Partner{partner("mallory", q.studies...), partner("pauper"), partner("honest", "C")}
	if onCluster {
		var built *cluster
		q.installation, built = newClusterInstallation(t, cfg, known...)
		q.servers = len(built.urls)
	} else {
		q.installation = newInstallationIn(t, t.TempDir(), cfg, known...)
	}
	q.system = q.connect(natsd.System)
	var honest *nats.Conn
	until(t, "the honest partner is let in", func() bool {
		var err error
		honest, err = q.login("honest")
		return err == nil
	})
	t.Cleanup(honest.Close)
	q.stays = honest.StatusChanged(nats.CLOSED)
	q.reading = consumer(t, honest, "honest=C")
	return q
}

// consumersOf are the consumers of a partner, each with its own subjects.
func (q *waitingTest) consumersOf(id string) []string {
	all := []string{events.PartnerAccess(id)}
	if id == "mallory" {
		for _, study := range q.studies {
			all = append(all, events.PartnerConsumer(id, events.StudyKey(study)))
		}
	}
	return all
}

// load is what the servers did so far that nobody of the service asked for: requests to
// JetStream, and messages of consumers that leave the service's account.
type load struct{ requests, answers uint64 }

func (q *waitingTest) load(t *testing.T) (sum load) {
	t.Helper()
	q.ask(t, "$SYS.REQ.SERVER.PING.JSZ", func(data json.RawMessage) error {
		var jsz struct {
			API struct {
				Total uint64 `json:"total"`
			} `json:"api"`
		}
		err := json.Unmarshal(data, &jsz)
		sum.requests += jsz.API.Total
		return err
	})
	q.ask(t, "$SYS.REQ.SERVER.PING.SUBSZ", func(data json.RawMessage) error {
		var subsz struct {
			Subscriptions []struct {
				Subject string `json:"subject"`
				Msgs    uint64 `json:"msgs"`
			} `json:"subscriptions_list"`
		}
		err := json.Unmarshal(data, &subsz)
		for _, s := range subsz.Subscriptions {
			if strings.HasPrefix(s.Subject, "_R_.") {
				sum.answers += s.Msgs
			}
		}
		return err
	})
	return sum
}

// ask reads the answers of all servers.
func (q *waitingTest) ask(t *testing.T, subject string, read func(json.RawMessage) error) {
	t.Helper()
	question := fmt.Sprintf(`{"subscriptions":true,"limit":65536,"account":%q}`, q.keys.App)
	askServers(t, q.system, q.servers, subject, question, func(body []byte) error {
		var answer struct{ Data json.RawMessage }
		return errors.Join(json.Unmarshal(body, &answer), read(answer.Data))
	})
}

// askServers sends a request in the role System and reads the answers of that many servers.
func askServers(t testing.TB, system *nats.Conn, servers int, subject, question string, read func([]byte) error) {
	t.Helper()
	inbox, err := system.SubscribeSync(system.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = inbox.Unsubscribe() }()
	if err := system.PublishRequest(subject, inbox.Subject, []byte(question)); err != nil {
		t.Fatal(err)
	}
	for range servers {
		m, err := inbox.NextMsg(timeout)
		if err != nil {
			t.Fatal(err)
		}
		if err := read(m.Data); err != nil {
			t.Fatalf("%s: %v", m.Data, err)
		}
	}
}

// serversIdle reports whether the servers do nothing but have an event come to the honest
// partner, some times. A single request for heartbeats would be seen.
func (q *waitingTest) serversIdle(t *testing.T) bool {
	t.Helper()
	const published = 20
	before := q.load(t)
	for i := range published {
		body := fmt.Sprint(t.Name(), i)
		if _, err := q.writer.Publish(t.Context(), "in.crit.v1.C.DiagnosticReport.signed", []byte(body)); err != nil {
			t.Fatal(err)
		}
		same(t, "the event of the honest partner", take(t, q.reading, 1), body)
	}
	after := q.load(t)
	return after.requests-before.requests < published && after.answers-before.answers < 4*published // an event and its acknowledgement are two
}

// idle waits until nobody's requests wait at the partner's consumers any more.
func (q *waitingTest) idle(t *testing.T, id string) {
	t.Helper()
	for _, name := range q.consumersOf(id) {
		until(t, "no request waits at "+name, func() bool {
			c, err := q.writer.Consumer(t.Context(), events.Stream, name)
			return err == nil && c.CachedInfo().NumWaiting == 0
		})
	}
}

// replyTarget is where the answers to a request shall go.
type replyTarget struct {
	name  string
	reply func(consumer string) string
	ask   func(nc *nats.Conn, reply string, send func())
}

// replyTargets are the partner's own service subjects, by the names that it uses and by those
// of its account's imports, and inboxes.
func replyTargets() (all []replyTarget) {
	just := func(_ *nats.Conn, _ string, send func()) { send() }
	for _, form := range []string{
		"js.signoff.CONSUMER.MSG.NEXT.SIGNOFF.%s", "js.signoff.CONSUMER.INFO.SIGNOFF.%s",
		"$JS.signoff.CONSUMER.MSG.NEXT.SIGNOFF.%s", "$JS.signoff.CONSUMER.INFO.SIGNOFF.%s",
		"$JS.API.CONSUMER.MSG.NEXT.SIGNOFF.%s", "$JS.API.CONSUMER.INFO.SIGNOFF.%s",
		"$JS.ACK.SIGNOFF.%s.1.1.1.1.1", "$JS.ACK._._.SIGNOFF.%s.1.1.1.1.1",
	} {
		all = append(all, replyTarget{fmt.Sprintf(form, "itself"), func(consumer string) string { return fmt.Sprintf(form, consumer) }, just})
	}
	inbox := func(string) string { return "_INBOX.mallory" }
	return append(all,
		replyTarget{"an inbox that is heard", inbox, func(nc *nats.Conn, reply string, send func()) {
			_, _ = nc.Subscribe(reply, func(*nats.Msg) {}) // the connection may be closed already
			send()
		}},
		replyTarget{"an inbox that nobody hears", inbox, just},
		// The server forgets the way back, the consumer does not forget the request.
		replyTarget{"an inbox that is heard for a moment each", inbox, func(nc *nats.Conn, reply string, send func()) {
			if s, err := nc.Subscribe(reply, func(*nats.Msg) {}); err == nil {
				send()
				_ = s.Unsubscribe()
			}
		}},
		replyTarget{"an inbox that is heard again at once", inbox, func(nc *nats.Conn, reply string, send func()) {
			s, err := nc.Subscribe(reply, func(*nats.Msg) {})
			send()
			if err == nil {
				_ = s.Unsubscribe()
			}
			_, _ = nc.Subscribe(reply, func(*nats.Msg) {})
		}},
	)
}

const fastest = `{"batch":1,"expires":60000000000,"idle_heartbeat":1}`

// Requests with heartbeats wait as long as they may; the others as short as they can be
// waited for.
var waitingBodies = map[string]string{
	"with the fastest heartbeats":             fastest,
	"with heartbeats each 50 ms":              `{"batch":1,"expires":60000000000,"idle_heartbeat":50000000}`,
	"with fast heartbeats and no_wait":        `{"batch":1,"expires":60000000000,"idle_heartbeat":1,"no_wait":true}`,
	"with fast heartbeats for bytes":          `{"batch":100,"max_bytes":1000000,"expires":60000000000,"idle_heartbeat":1}`,
	"with fast heartbeats by other spellings": `{"BATCH":1,"Expires":1,"Expires":60000000000,"IDLE_HEARTBEAT":100000}`,
	"with slow heartbeats":                    `{"batch":1,"expires":100000000,"idle_heartbeat":50000000}`,
	"without heartbeats":                      `{"batch":1,"expires":100000000}`,
	"with no_wait only":                       `{"batch":1000000,"no_wait":true}`,
}

// wait leaves requests waiting at all consumers of the partner.
func (q *waitingTest) wait(t *testing.T, id, body string, p replyTarget, acknowledging bool) {
	t.Helper()
	var nc *nats.Conn
	until(t, id+" is let in", func() (ok bool) {
		q.clock.advance(2 * time.Minute) // more than is ever owed
		var err error
		nc, err = q.login(id)
		return err == nil
	})
	defer nc.Close()
	request := "js.signoff.CONSUMER.MSG.NEXT.SIGNOFF.%s"
	if acknowledging {
		request, body = "$JS.ACK.SIGNOFF.%s.1.1.1.1.1", "+NXT "+body
	}
	for _, consumer := range q.consumersOf(id) {
		for range mostWaiting {
			reply := p.reply(consumer)
			p.ask(nc, reply, func() { _ = nc.PublishRequest(fmt.Sprintf(request, consumer), reply, []byte(body)) })
		}
	}
	_ = nc.Flush() // the connection may be closed already
	until(t, "the servers are idle", func() bool { return q.serversIdle(t) })
	q.ready() // at once, or after a consumer that a slow cluster did not create in time
}

// Whatever a partner asks for and wherever it has that sent, the service goes on, and
// the load ends at once: what does not end by itself is ended by the enforcer. The worst request
// is made for answers to each subject; the others for one that is the API's and for inboxes, on
// a cluster, where it takes long to create a consumer again, for one only.
func TestNoRequestThatWaitsLoadsTheServer(t *testing.T) {
	for where, onCluster := range map[string]bool{"the embedded server": false, "a cluster": true} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			q := newWaitingTest(t, onCluster)
			for i, p := range replyTargets() {
				each := *waitingAll || i == 0 || !onCluster && strings.HasPrefix(p.name, "an inbox")
				attack := func(id, how, body string, acknowledging bool) {
					t.Run(fmt.Sprintf("%s %s, for answers to %s", id, how, p.name), func(t *testing.T) {
						q.wait(t, id, body, p, acknowledging)
						q.idle(t, id)
					})
				}
				for with, body := range waitingBodies {
					if each || body == fastest {
						attack("mallory", "asks "+with, body, false)
					}
				}
				if !each {
					continue
				}
				attack("mallory", "asks while it acknowledges", fastest, true)
				attack("pauper", "asks", fastest, false)
				attack("pauper", "asks while it acknowledges", fastest, true)
			}
			select {
			case <-q.stays:
				t.Error("the honest partner was suspended")
			default:
			}
		})
	}
}
