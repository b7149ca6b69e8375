package doors_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher/doors"
)

// siege is a house with a partner "mallory", granted study A, who attacks, and
// a partner "globex", granted A and B, whom nothing of it may reach. The bodies
// of A start with "public", those of B and of globex with "private".
type siege struct {
	*house
	nc     *nats.Conn // of the attacker, who listens to all that it may
	victim *nats.Conn

	hears   []*nats.Subscription // of the attacker
	notices []*nats.Subscription // of the victim, but for live events
	denied  chan error           // what the server said to the attacker
}

func newSiege(t *testing.T) *siege {
	s := &siege{house: newHouse(t, doors.Config{AckWait: time.Minute}), denied: make(chan error, 1000)}
	s.publish("A", "public 1", "public 2", "public 3")
	s.publish("B", "private 1", "private 2")
	_, err := s.writer.Publish(t.Context(), "in."+events.PartnerAccessSubject("globex"), []byte("private access"))
	if err != nil {
		t.Fatal(err)
	}
	s.admit("mallory", "A")
	s.admit("globex", "A", "B")
	s.victim = s.mustLogin("globex")
	s.nc = s.mustLogin("mallory", nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { s.denied <- err }))
	s.hears = s.listen(s.nc, "_INBOX.>", "crit.v1.A.>", "crit.partner.mallory.access")
	s.notices = s.listen(s.victim, "_INBOX.>")
	// An event of each study that the victim has not acknowledged.
	for _, name := range []string{"globex=A", "globex=B"} {
		if _, err := consumer(t, s.victim, name).Next(jetstream.FetchMaxWait(timeout)); err != nil {
			t.Fatal(err)
		}
	}
	s.forget()
	return s
}

func (s *siege) listen(nc *nats.Conn, subjects ...string) (all []*nats.Subscription) {
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

// drain gives all messages that have arrived.
func (s *siege) drain(subs []*nats.Subscription) (all []*nats.Msg) {
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

func (s *siege) forget() {
	s.settle()
	s.drain(s.hears)
	s.drain(s.notices)
	for len(s.denied) > 0 {
		<-s.denied
	}
}

// settle waits until the server has done all that was asked of it: the broker
// handles the requests of one connection in order, and its JetStream requests
// are behind those by the time that the publisher's is answered.
func (s *siege) settle() {
	s.t.Helper()
	for range 3 {
		if err := errors.Join(s.nc.Flush(), s.victim.Flush()); err != nil {
			s.t.Fatal(err)
		}
		if _, err := s.writer.AccountInfo(s.t.Context()); err != nil {
			s.t.Fatal(err)
		}
	}
}

// state is all that an attack must not change.
type state struct {
	Config    jetstream.StreamConfig
	State     jetstream.StreamState
	Consumers map[string]consumerState
}

type consumerState struct {
	Config                        jetstream.ConsumerConfig
	Delivered, AckFloor           jetstream.SequenceInfo
	AckPending, Redelivered, Wait int
	Pending                       uint64
}

func (s *siege) state() state {
	s.t.Helper()
	stream, err := s.writer.Stream(s.t.Context(), events.Stream)
	if err != nil {
		s.t.Fatal(err)
	}
	got := state{Config: stream.CachedInfo().Config, State: stream.CachedInfo().State, Consumers: make(map[string]consumerState)}
	for c := range stream.ListConsumers(s.t.Context()).Info() {
		if strings.HasPrefix(c.Name, "mallory") {
			got.Consumers[c.Name] = consumerState{Config: c.Config} // its own it may use up
			continue
		}
		c.Delivered.Last, c.AckFloor.Last = nil, nil
		got.Consumers[c.Name] = consumerState{c.Config, c.Delivered, c.AckFloor, c.NumAckPending, c.NumRedelivered, c.NumWaiting, c.NumPending}
	}
	return got
}

// attack runs one and makes sure that nothing came of it. Denied says that the
// server has to refuse it with a word; else it may.
func (s *siege) attack(t *testing.T, denied bool, do func(nc *nats.Conn) error) {
	t.Helper()
	before := s.state()
	s.forget()
	if err := do(s.nc); err != nil {
		t.Fatal(err)
	}
	s.settle()
	if diff := cmp.Diff(before, s.state()); diff != "" {
		t.Errorf("it changed something:\n%s", diff)
	}
	for _, m := range s.drain(s.notices) {
		t.Errorf("the victim noticed %s: %q", m.Subject, m.Data)
	}
	for _, m := range s.drain(s.hears) {
		if bytes.Contains(m.Data, []byte("private")) || bytes.Contains(m.Data, []byte("globex")) {
			t.Errorf("the attacker heard %s: %q", m.Subject, m.Data)
		}
	}
	if denied {
		select {
		case <-s.denied:
		case <-time.After(timeout):
			t.Error("it was not refused")
		}
	}
}

// honest makes sure that whoever may read can.
func (s *siege) honest(t *testing.T) {
	t.Helper()
	s.publish("A", "public last")
	s.publish("B", "private last")
	for nc, names := range map[*nats.Conn][]string{s.nc: {"mallory=A"}, s.victim: {"globex=A", "globex=B"}} {
		for _, name := range names {
			c := consumer(t, nc, name)
			for body := ""; !strings.HasSuffix(body, "last"); {
				body = take(t, c, 1)[0]
			}
			none(t, c)
		}
	}
}

func TestSubjectsThatNoPartnerMayHear(t *testing.T) {
	s := newSiege(t)
	for _, subject := range []string{
		">", "*", "*.>", "crit.>", "crit.v1.>", "crit.v1.*.>", "crit.*.A.>", "crit.v1.B.>", "crit.v1.B.DiagnosticReport.signed",
		"crit.internal.access", "crit.internal.>", "crit.partner.globex.access", "crit.partner.*.access", "crit.partner.>",
		"in.>", "in.crit.>", "$JS.>", "$JS.API.>", "$JS.EVENT.>", "$JS.EVENT.ADVISORY.>", "$JS.ACK.>", "$SYS.>", "$SYS.ACCOUNT.>", "$SYS.REQ.USER.AUTH",
		"_R_.>", "js.signoff.>", "_INBOX", "*.INBOX.>", "$KV.>", "$O.>", "$NRG.>", "$G.>",
	} {
		for _, queue := range []string{"", "signoff-doors"} {
			t.Run(subject+" "+queue, func(t *testing.T) {
				s.attack(t, true, func(nc *nats.Conn) error {
					sub, err := nc.QueueSubscribeSync(subject, queue)
					if err != nil {
						return err
					}
					defer func() { _ = sub.Unsubscribe() }()
					if err := errors.Join(nc.Flush(), s.traffic()); err != nil {
						return err
					}
					if n, _, err := sub.Pending(); err == nil && n > 0 {
						return fmt.Errorf("heard %d messages", n)
					}
					return nil
				})
			})
		}
	}
	s.honest(t)
}

// traffic is what a listener would hear: a login, and requests of the victim's.
func (s *siege) traffic() error {
	nc, err := s.login("globex")
	if err != nil {
		return err
	}
	defer nc.Close()
	return errors.Join(
		nc.Publish("js.signoff.CONSUMER.INFO.SIGNOFF.globex=A", nil),
		nc.Publish("$JS.ACK.SIGNOFF.globex=A.1.999.999.1.0", nil),
		nc.Flush(), s.nc.Flush())
}

func TestSubjectsThatNoPartnerMayPublishTo(t *testing.T) {
	s := newSiege(t)
	for _, subject := range []string{
		"in.crit.v1.A.DiagnosticReport.signed", "in.crit.internal.access", "in.crit.partner.globex.access", "in.>",
		"crit.v1.A.DiagnosticReport.signed", "crit.v1.B.DiagnosticReport.signed", "crit.partner.globex.access",
		"$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST", "$JS.API.STREAM.INFO.SIGNOFF", "$JS.API.STREAM.DELETE.SIGNOFF",
		"$JS.API.STREAM.PURGE.SIGNOFF", "$JS.API.STREAM.UPDATE.SIGNOFF", "$JS.API.STREAM.CREATE.MINE", "$JS.API.STREAM.MSG.GET.SIGNOFF",
		"$JS.API.STREAM.MSG.DELETE.SIGNOFF", "$JS.API.STREAM.SNAPSHOT.SIGNOFF", "$JS.API.DIRECT.GET.SIGNOFF", "$JS.API.DIRECT.GET.SIGNOFF.crit.v1.B.>",
		"$JS.API.CONSUMER.CREATE.SIGNOFF", "$JS.API.CONSUMER.CREATE.SIGNOFF.mine", "$JS.API.CONSUMER.DURABLE.CREATE.SIGNOFF.mallory=A",
		"$JS.API.CONSUMER.DELETE.SIGNOFF.globex=A", "$JS.API.CONSUMER.NAMES.SIGNOFF", "$JS.API.CONSUMER.LIST.SIGNOFF",
		"$JS.API.CONSUMER.INFO.SIGNOFF.mallory=A", "$JS.API.CONSUMER.MSG.NEXT.SIGNOFF.globex=A", "$JS.API.CONSUMER.MSG.NEXT.SIGNOFF.mallory=A",
		"$JS.API.CONSUMER.PAUSE.SIGNOFF.globex=A", "$JS.API.CONSUMER.RESET.SIGNOFF.mallory=A", "$JS.API.CONSUMER.LEADER.STEPDOWN.SIGNOFF.globex=A",
		"js.signoff.INFO", "js.signoff.STREAM.INFO.SIGNOFF", "js.signoff.STREAM.DELETE.SIGNOFF", "js.signoff.CONSUMER.CREATE.SIGNOFF.mine",
		"js.signoff.CONSUMER.DELETE.SIGNOFF.mallory=A", "js.signoff.CONSUMER.INFO.SIGNOFF.globex=A", "js.signoff.CONSUMER.MSG.NEXT.SIGNOFF.globex=A",
		"js.signoff.CONSUMER.MSG.NEXT.SIGNOFF.globex", "js.signoff.CONSUMER.MSG.NEXT.SIGNOFF.mallory=B", "js.signoff.CONSUMER.MSG.NEXT.SIGNOFF.*",
		"js.signoff.CONSUMER.MSG.NEXT.SIGNOFF.>", "js.signoff.CONSUMER.MSG.NEXT.OTHER.mallory=A",
		"$JS.ACK.SIGNOFF.globex=A.1.1.1.1.1", "$JS.ACK.SIGNOFF.*.1.1.1.1.1", "$JS.ACK._._.SIGNOFF.globex=A.1.1.1.1.1", "$JS.ACK.OTHER.mallory=A.1.1.1.1.1",
		"$JS.FC.SIGNOFF.globex=A.x", "_INBOX.somebody", "_R_.somebody", "_R_.abcdefgh.abcdef",
		"$SYS.REQ.USER.AUTH", "$SYS.REQ.USER.INFO", "$SYS.REQ.ACCOUNT.PING.CONNZ", "$SYS.REQ.ACCOUNT.PING.STATZ", "$SYS.REQ.SERVER.PING.CONNZ",
		"$SYS.REQ.SERVER.PING", "$SYS.REQ.CLAIMS.UPDATE", "$SYS._INBOX.12345678.abcdef", "$SYS._INBOX_.12345678", "$SYS.REQ.SERVER.PING.KICK",
	} {
		for _, body := range []string{"", `{"stream_name":"SIGNOFF","config":{"durable_name":"mine","deliver_subject":"_INBOX.x","ack_policy":"none"},"seq":1,"name":"SIGNOFF"}`} {
			t.Run(subject, func(t *testing.T) {
				s.attack(t, true, func(nc *nats.Conn) error { return nc.PublishRequest(subject, "_INBOX.answer", []byte(body)) })
			})
		}
	}
	s.honest(t)
}

func TestWherePartnersMayHaveAnswersSentTo(t *testing.T) {
	s := newSiege(t)
	inbox := s.victim.NewInbox() // of which the attacker has heard
	for _, reply := range []string{
		"$JS.API.STREAM.DELETE.SIGNOFF", "$JS.API.STREAM.PURGE.SIGNOFF", "$JS.API.STREAM.CREATE.MINE", "$JS.API.CONSUMER.DELETE.SIGNOFF.globex=A",
		"$JS.API.CONSUMER.CREATE.SIGNOFF.mine", "$JS.API.CONSUMER.MSG.NEXT.SIGNOFF.globex=B", "js.signoff.CONSUMER.MSG.NEXT.SIGNOFF.globex=B",
		"js.signoff.CONSUMER.INFO.SIGNOFF.mallory=A", "in.crit.v1.A.DiagnosticReport.signed", "in.crit.internal.access", "crit.v1.A.DiagnosticReport.signed",
		"crit.partner.globex.access", "crit.internal.access", "$JS.ACK.SIGNOFF.globex=A.1.1.1.1.1", "$JS.ACK.SIGNOFF.globex=B.1.4.1.1.1",
		"$SYS.REQ.USER.AUTH", "$SYS.REQ.SERVER.PING", "$SYS.REQ.ACCOUNT.PING.CONNZ", "$SYS._INBOX.x.y", "_R_.x", inbox, "_INBOX.>", ">", "*",
	} {
		for what, request := range map[string]struct{ subject, body string }{
			"look":        {"js.signoff.CONSUMER.INFO.SIGNOFF.mallory=A", ""},
			"pull":        {"js.signoff.CONSUMER.MSG.NEXT.SIGNOFF.mallory=A", `{"batch":2,"no_wait":true}`},
			"wait":        {"js.signoff.CONSUMER.MSG.NEXT.SIGNOFF.mallory", `{"batch":1,"expires":1000000000}`},
			"nonsense":    {"js.signoff.CONSUMER.MSG.NEXT.SIGNOFF.mallory=A", `{"batch":-1,"expires":"`},
			"acknowledge": {"$JS.ACK.SIGNOFF.mallory=A.1.1.1.1.1", "+ACK"},
			"and next":    {"$JS.ACK.SIGNOFF.mallory=A.1.1.1.1.1", `+NXT {"batch":2,"no_wait":true}`},
			"other form":  {"$JS.ACK._._.SIGNOFF.mallory=A.1.1.1.1.1", "-NAK"},
		} {
			t.Run(what+" to "+reply, func(t *testing.T) {
				s.attack(t, false, func(nc *nats.Conn) error { return nc.PublishRequest(request.subject, reply, []byte(request.body)) })
			})
		}
	}
	s.honest(t)
}

func TestHeadersThatAskTheBrokerForMore(t *testing.T) {
	s := newSiege(t)
	for name, header := range map[string]nats.Header{
		"a trace into the stream":   {"Nats-Trace-Dest": {"in.crit.v1.A.DiagnosticReport.signed"}},
		"a trace to live subjects":  {"Nats-Trace-Dest": {"crit.v1.A.DiagnosticReport.signed"}},
		"a trace to the victim":     {"Nats-Trace-Dest": {s.victim.NewInbox()}},
		"a trace to the broker":     {"Nats-Trace-Dest": {"$JS.API.STREAM.DELETE.SIGNOFF"}},
		"a trace and nothing else":  {"Nats-Trace-Dest": {"_INBOX.trace"}, "Nats-Trace-Only": {"true"}},
		"a trace by traceparent":    {"traceparent": {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}},
		"a batch":                   {"Nats-Batch-Id": {"x"}, "Nats-Batch-Sequence": {"1"}},
		"an API level":              {"Nats-Required-Api-Level": {"99"}},
		"a pin of another":          {"Nats-Pin-Id": {"x"}},
		"a schedule":                {"Nats-Schedule": {"@at 2009-11-10T23:00:00Z"}, "Nats-Schedule-Target": {"in.crit.v1.A.x"}},
		"somebody else's client":    {"Nats-Request-Info": {`{"acc":"APP","svc":"$JS.API"}`}},
		"a rollup of the stream":    {"Nats-Rollup": {"all"}, "Nats-Msg-Id": {"x"}},
		"the leader to step aside":  {"Nats-Expected-Last-Sequence": {"0"}},
		"an answer that it is over": {"Status": {"503"}, "Description": {"No Responders"}},
	} {
		for _, subject := range []string{"js.signoff.CONSUMER.INFO.SIGNOFF.mallory=A", "js.signoff.CONSUMER.MSG.NEXT.SIGNOFF.mallory", "$JS.ACK.SIGNOFF.mallory=A.1.1.1.1.1"} {
			t.Run(name+" on "+subject, func(t *testing.T) {
				s.attack(t, false, func(nc *nats.Conn) error {
					return nc.PublishMsg(&nats.Msg{Subject: subject, Reply: "_INBOX.answer", Header: header})
				})
			})
		}
	}
	s.honest(t)
}
