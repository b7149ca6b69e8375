package partners_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// A check takes longer than most attacks.
var attacksPerCheck = flag.Int("attacks", 12, "attacks before it is checked that nothing came of them")

// attack is something that a partner might try.
type attack struct {
	name   string
	denied bool // the server has to refuse it with a word; else it may
	do     func(s *attackTest) error
}

// attackLimits are those of each partner in an attack test.
var attackLimits = tenancy.Limits{Connections: 12, Subscriptions: 64, Payload: 8 << 10}

// attackPartners are the partners of a attackTest. "mallory", granted study A, attacks.
// Nothing of it may reach "globex", granted A and B, nor "initech", granted C,
// whose events go on all the while. "hooli" was removed.
func attackPartners() []access.Partner {
	gone := partner("hooli")
	gone.Enabled = false
	return []access.Partner{partner("mallory", "A"), partner("globex", "A", "B"), partner("initech", "C"), gone}
}

// attackTest is an installation with an attacker. The bodies of A start with "public", those
// of the others with "private".
type attackTest struct {
	*installation
	urls  []string // of all servers: the partners are connected to one each
	clock *clock

	nc      *nats.Conn // of the attacker, who listens to all that it may
	victim  *nats.Conn
	honest  *nats.Conn
	reading jetstream.Consumer   // of the honest partner
	live    []*nats.Subscription // the same
	own     []*nats.Subscription // listeners in the service's account
	logins  *nats.Subscription   // receives what the callout is asked

	received []*nats.Subscription // of the attacker
	notices  []*nats.Subscription // of the victim
	denied   chan error           // what the server said to the attacker

	system *nats.Conn // asks the servers what they count

	before state
	counts serverCounts // after the last attack
	last   uint64       // sequence of the stream
}

func attackConfig(c *clock) config {
	// Nothing is delivered again or repaired, and nobody suspended, while the attackTest lasts.
	return config{Limits: attackLimits, AckWait: time.Hour, Interval: time.Hour, Rate: 1 << 20, Burst: 1 << 20, Clock: c.Now}
}

// newAttackTest posts the partners at an installation.
func newAttackTest(t *testing.T, h *installation, c *clock, urls ...string) *attackTest {
	t.Helper()
	s := &attackTest{installation: h, urls: urls, clock: c, denied: make(chan error, 1<<16)}
	s.publish("A", "public 1", "public 2", "public 3")
	s.publish("B", "private 1", "private 2", "private 3")
	if _, err := s.writer.Publish(t.Context(), "in."+events.PartnerAccessSubject("globex"), []byte("private access")); err != nil {
		t.Fatal(err)
	}
	for _, p := range attackPartners() {
		if p.Enabled {
			s.admit(p.ID, p.Studies...)
		}
	}
	noted := nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { s.denied <- err })
	s.nc, s.victim, s.honest = s.post("mallory", 0, noted), s.post("globex", 1), s.post("initech", 2)
	s.received = s.listen(s.nc, "_INBOX.>", "crit.v1.A.>", "crit.partner.mallory.access")
	s.notices = s.listen(s.victim, "_INBOX.>", "crit.v1.A.>", "crit.v1.B.>", "crit.partner.globex.access")
	s.live = s.listen(s.honest, "crit.v1.C.>")
	s.system = s.connect(natsd.System)
	reader, service, answering := s.connect(natsd.Reader), s.connect(natsd.Partners), s.connect(natsd.Callout)
	s.own = append(s.listen(reader, "crit.>"), s.listen(service, "_INBOX.witness.>", tenancy.SuspensionSubject)...)
	s.logins = s.listen(answering, "$SYS.REQ.USER.AUTH")[0]
	s.reading = consumer(t, s.honest, "initech=C")
	// An event of each study that neither the victim nor the attacker has acknowledged.
	for name, nc := range map[string]*nats.Conn{"globex": s.victim, "globex=A": s.victim, "globex=B": s.victim, "mallory=A": s.nc} {
		if _, err := consumer(t, nc, name).Next(jetstream.FetchMaxWait(timeout)); err != nil {
			t.Fatal(err)
		}
	}
	for _, nc := range []*nats.Conn{s.nc, s.victim, s.honest, reader, service, answering} {
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	// Connections are not checked again and again for the partners that were admitted. (To
	// list them while clients without a JWT log in is a data race in nats-server 2.15.3.)
	s.clock.advance(time.Minute)
	s.begin()
	return s
}

// begin notes how everything stands before the first attack. Once an event has
// come to all who hear it, their interest is known to all servers.
func (s *attackTest) begin() {
	s.t.Helper()
	published := 0
	until(s.t, "all receive", func() bool {
		s.publish("C", "private")
		published++
		none := slices.ContainsFunc(append(slices.Clone(s.live), s.own[0]), func(sub *nats.Subscription) bool {
			n, _, err := sub.Pending()
			return err != nil || n == 0
		})
		return !none
	})
	s.publish("C", "private last")
	take(s.t, s.reading, published+1)
	var live, own bool
	until(s.t, "all have received the last", func() bool {
		received := func(subs []*nats.Subscription) bool {
			return slices.ContainsFunc(s.drain(subs), func(m *nats.Msg) bool { return string(m.Data) == "private last" })
		}
		live, own = live || received(s.live), own || received(s.own[:1])
		return live && own
	})
	stream, err := s.writer.Stream(s.t.Context(), events.Stream)
	if err != nil {
		s.t.Fatal(err)
	}
	s.last = stream.CachedInfo().State.LastSeq
	s.drain(s.received)
	s.drain(s.notices)
	s.before, s.counts = s.state(), s.count()
}

// serverCounts are what all servers together have counted since they started.
type serverCounts struct {
	received, sent uint64 // messages from and to clients
	requests       uint64 // to the API of JetStream
}

func (s *attackTest) count() (sum serverCounts) {
	s.t.Helper()
	askServers(s.t, s.system, len(s.urls), "$SYS.REQ.SERVER.PING.STATSZ", "", func(body []byte) error {
		type messages struct {
			Msgs uint64 `json:"msgs"`
		}
		var answer struct {
			Statistics struct {
				Received  messages `json:"received_from_clients"`
				Sent      messages `json:"sent_to_clients"`
				JetStream struct {
					Stats struct {
						API struct {
							Total uint64 `json:"total"`
						} `json:"api"`
					} `json:"stats"`
				} `json:"jetstream"`
			} `json:"statsz"`
		}
		err := json.Unmarshal(body, &answer)
		sum.received += answer.Statistics.Received.Msgs
		sum.sent += answer.Statistics.Sent.Msgs
		sum.requests += answer.Statistics.JetStream.Stats.API.Total
		return err
	})
	return sum
}

// wantNoLoad makes sure that the servers did no more since they were last asked than what
// clients sent explains, also by logins that send nothing: each message is at most one request
// to JetStream, and goes to a few. The service and the honest partner add some.
func (s *attackTest) wantNoLoad(t *testing.T) {
	t.Helper()
	now := s.count()
	received, sent, requests := now.received-s.counts.received, now.sent-s.counts.sent, now.requests-s.counts.requests
	s.counts = now
	if requests > received+20 || sent > 4*received+500 {
		t.Errorf("for %d messages of clients the servers had %d requests to JetStream and sent %d messages", received, requests, sent)
	}
}

// post connects a partner to one of the servers until the test ends.
func (s *attackTest) post(id string, server int, opts ...nats.Option) *nats.Conn {
	s.t.Helper()
	nc, err := s.dialAt(server, append([]nats.Option{nats.UserInfo(id, secretOf(id))}, opts...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(nc.Close)
	return nc
}

func (s *attackTest) dialAt(server int, opts ...nats.Option) (*nats.Conn, error) {
	return connect(s.urls[server%len(s.urls)], opts...)
}

func (s *attackTest) listen(nc *nats.Conn, subjects ...string) (all []*nats.Subscription) {
	s.t.Helper()
	for _, subject := range subjects {
		sub, err := nc.SubscribeSync(subject)
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, sub)
	}
	return all
}

// drain returns all messages that have arrived.
func (s *attackTest) drain(subs []*nats.Subscription) (all []*nats.Msg) {
	s.t.Helper()
	for _, sub := range subs {
		for {
			n, _, err := sub.Pending()
			if err != nil {
				s.t.Fatal(err)
			}
			if n == 0 {
				break
			}
			msg, err := sub.NextMsg(timeout)
			switch {
			case err == nil:
				all = append(all, msg)
			case !errors.Is(err, nats.ErrNoResponders): // this is the server's answer to a request of its own
				s.t.Fatal(err)
			}
		}
	}
	return all
}

// state is all that an attack must not change. Messages are counted apart.
type state struct {
	Config    jetstream.StreamConfig
	First     uint64
	Deleted   int
	Consumers map[string]consumerState
}

type consumerState struct {
	Config                        jetstream.ConsumerConfig
	Created                       time.Time
	Delivered, AckFloor           jetstream.SequenceInfo
	AckPending, Redelivered, Wait int
	Pending                       uint64
}

func (s *attackTest) state() state {
	s.t.Helper()
	stream, err := s.writer.Stream(s.t.Context(), events.Stream)
	if err != nil {
		s.t.Fatal(err)
	}
	info := stream.CachedInfo()
	got := state{info.Config, info.State.FirstSeq, info.State.NumDeleted, make(map[string]consumerState)}
	all := stream.ListConsumers(s.t.Context())
	for c := range all.Info() {
		if strings.HasPrefix(c.Name, "globex") {
			c.Delivered.Last, c.AckFloor.Last = nil, nil
			got.Consumers[c.Name] = consumerState{c.Config, c.Created, c.Delivered, c.AckFloor, c.NumAckPending, c.NumRedelivered, c.NumWaiting, c.NumPending}
			continue
		}
		got.Consumers[c.Name] = consumerState{Config: c.Config, Created: c.Created} // their owners use them up
	}
	if err := all.Err(); err != nil {
		s.t.Fatal(err)
	}
	return got
}

// run makes the attack. A check must follow.
func (s *attackTest) run(t *testing.T, a attack) {
	t.Helper()
	for len(s.denied) > 0 {
		<-s.denied
	}
	if err := a.do(s); err != nil {
		t.Error(err)
	}
	if err := s.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if a.denied {
		select {
		case <-s.denied:
		case <-time.After(timeout): // the server says so before it answers the flush
			t.Error("it was not refused")
		}
	}
}

// check makes sure that nothing came of the attacks since the last check.
func (s *attackTest) check(t *testing.T) {
	t.Helper()
	s.deliverToHonest(t)
	now := s.state()
	s.wantNoLoad(t)
	if diff := cmp.Diff(s.before, now); diff != "" {
		t.Errorf("it changed something:\n%s", diff)
		s.before = now
	}
	for _, m := range s.drain(s.notices) {
		t.Errorf("the victim noticed %s: %q", m.Subject, m.Data)
	}
	for _, m := range s.drain(s.own[1:]) {
		t.Errorf("somebody of the service noticed %s: %q", m.Subject, m.Data)
	}
	for _, m := range s.drain([]*nats.Subscription{s.logins}) {
		if c, err := jwt.DecodeAuthorizationRequestClaims(string(m.Data)); err != nil || c.Server.ID != c.Issuer {
			t.Errorf("the callout was asked %q", m.Data)
		}
	}
	for _, m := range s.drain(s.received) {
		for _, word := range []string{"private", "globex", "initech"} {
			if bytes.Contains(m.Data, []byte(word)) {
				t.Errorf("the attacker received %s: %q", m.Subject, m.Data)
			}
		}
	}
}

// deliverToHonest has the honest partner receive an event. It is the only one that is
// stored, and the only one that anybody hears.
func (s *attackTest) deliverToHonest(t *testing.T) {
	t.Helper()
	body := "private " + t.Name()
	ack, err := s.writer.Publish(t.Context(), "in.crit.v1.C.DiagnosticReport.signed", []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	if s.last++; ack.Sequence != s.last {
		t.Errorf("the stream has grown by %d", ack.Sequence-s.last)
		s.last = ack.Sequence
	}
	same(t, "events of the honest partner", take(t, s.reading, 1), body)
	for who, sub := range map[string]*nats.Subscription{"the honest partner": s.live[0], "the service": s.own[0]} {
		msg, err := sub.NextMsg(timeout)
		if err != nil || string(msg.Data) != body {
			t.Fatalf("%s received %v, %v", who, msg, err)
		}
	}
}

// end makes sure that whoever may read can, and reads all. What the attacker
// pulls goes to those of its requests that still wait, so it is only listened to.
func (s *attackTest) end(t *testing.T) {
	t.Helper()
	same(t, "the rest of A", take(t, consumer(t, s.victim, "globex=A"), 2), "public 2", "public 3")
	same(t, "the rest of B", take(t, consumer(t, s.victim, "globex=B"), 2), "private 2", "private 3")
	none(t, s.reading)
	s.publish("A", "public last")
	until(t, "the attacker receives it too", func() bool {
		return slices.ContainsFunc(s.drain(s.received), func(m *nats.Msg) bool { return string(m.Data) == "public last" })
	})
	s.wantNoLoad(t) // of what attacks have left behind
}

// attacks are all.
func attacks() []attack {
	return slices.Concat(
		toReceive(), toPublish(), toAcknowledge(), toPull(), toHaveAnswered(), toAskByHeader(), toBreakTheProtocol(), toFlood(), toEnter(),
	)
}

func TestNoAttackReachesOutOfThePartnersAccount(t *testing.T) {
	all := attacks()
	names := make(map[string]bool)
	for _, a := range all {
		if names[a.name] {
			t.Errorf("attack %q is there twice", a.name)
		}
		names[a.name] = true
	}
	for where, build := range map[string]func(*testing.T) *attackTest{"the embedded server": embeddedAttackTest, "a cluster": clusterAttackTest} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			s := build(t)
			for some := range slices.Chunk(all, *attacksPerCheck) {
				for _, a := range some {
					t.Run(a.name, func(t *testing.T) { s.run(t, a) })
				}
				t.Run("nothing came of "+some[0].name, func(t *testing.T) {
					s.check(t)
					for _, a := range some {
						if t.Failed() {
							t.Logf("after the attack: %s (-attacks=1 checks after each)", a.name)
						}
					}
				})
			}
			s.end(t)
		})
	}
}

func embeddedAttackTest(t *testing.T) *attackTest {
	c := &clock{now: time.Now()}
	h := newInstallationIn(t, t.TempDir(), attackConfig(c), attackPartners()...)
	return newAttackTest(t, h, c, h.server.ClientURL())
}
