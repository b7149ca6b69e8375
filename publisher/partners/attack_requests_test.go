package partners_test

import (
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
)

// acknowledgements are all that the server takes as one, and some more.
var acknowledgements = []string{
	"", "+ACK", "+OK", "-NAK", "-NAK 1ns", `-NAK {"delay":1}`, `-NAK {"delay":-1}`, "+WPI", "+TERM", "+TERM because", "+NXT", "+NXT 10",
	`+NXT {"batch":10,"no_wait":true}`, `+NXT {"batch":1000000,"expires":9000000000000000000}`, "+FOO",
}

// toAcknowledge are acknowledgements of what is another's, or none.
func toAcknowledge() (all []attack) {
	refused := []string{
		"SIGNOFF.globex=B.1.4.1.1.1", "SIGNOFF.globex=A.1.1.1.1.1", "SIGNOFF.globex.1.7.1.1.1", "SIGNOFF.*.1.4.1.1.1", "SIGNOFF.>", "SIGNOFF.mallory=B.1.4.1.1.1", "OTHER.mallory=A.1.1.1.1.1",
		"_._.SIGNOFF.globex=B.1.4.1.1.1", "_.*.SIGNOFF.globex=B.1.4.1.1.1", "_._.SIGNOFF.*.1.4.1.1.1", "_._.OTHER.mallory=A.1.1.1.1.1",
		// In each form with another's consumer where the other form has it.
		"SIGNOFF.globex=B.SIGNOFF.mallory=A.1.1.1", "SIGNOFF.globex=B.SIGNOFF.mallory.4.1.1", "SIGNOFF.globex.SIGNOFF.mallory=A.1.1.1",
		"SIGNOFF.mallory=A.SIGNOFF.globex=B.1.4.1.1.1", "SIGNOFF.mallory.SIGNOFF.globex=B.1.4.1.1.1.x",
		"SIGNOFF.mallory=A", "SIGNOFF.mallory=A.1.1.1.1", "SIGNOFF.mallory=A.1.1.1.1.1.1", "_._.SIGNOFF.mallory=A.1.1.1.1",
	}
	for _, path := range refused {
		all = append(all, attack{"acknowledge " + path, true, func(s *attackTest) error { return s.acknowledge("$JS.ACK." + path) }})
	}
	for _, path := range []string{
		"SIGNOFF.mallory=A.0.0.0.0.0", "SIGNOFF.mallory=A.1.4.1.1.1", "SIGNOFF.mallory=A.1.18446744073709551615.1.1.1", "SIGNOFF.mallory=A.-1.-1.-1.-1.-1",
		"SIGNOFF.mallory=A.99999999999999999999.x.99999999999999999999.x.x", "SIGNOFF.mallory=A.globex=B.globex=B.globex=B.globex=B.globex=B",
		"SIGNOFF.globex=B.SIGNOFF.mallory=A.1.4.1.1.1", "_._.SIGNOFF.mallory=A.1.4.1.1.SIGNOFF.globex=B.1.4.1.1.1", "SIGNOFF.mallory.1.7.1.1.1",
	} {
		all = append(all, attack{"acknowledge as its own " + path, false, func(s *attackTest) error { return s.acknowledge("$JS.ACK." + path) }})
	}
	return all
}

func (s *attackTest) acknowledge(subject string) error {
	var errs []error
	for _, body := range acknowledgements {
		errs = append(errs, s.nc.PublishRequest(subject, "_INBOX.answer", []byte(body)), s.nc.Publish(subject, []byte(body)))
	}
	return errors.Join(errs...)
}

const ownNext = "js.signoff.CONSUMER.MSG.NEXT.SIGNOFF.mallory=A"

// toPull are requests for its own events that ask for too much.
func toPull() (all []attack) {
	for _, body := range []string{
		`{"batch":1000000000}`, `{"batch":-1}`, `{"batch":0}`, `{"batch":1e30}`, "1000000000", "-1", "nonsense", `{"batch":1,"expires":9000000000000000000}`, `{"batch":1,"expires":-1}`,
		`{"batch":1000000,"no_wait":true}`, `{"batch":10,"max_bytes":1}`, `{"batch":10,"max_bytes":-1}`, `{"batch":10,"max_bytes":9000000000000000000,"no_wait":true}`,
		`{"batch":1,"expires":1000000000,"idle_heartbeat":1}`, `{"batch":1,"idle_heartbeat":1000000}`, `{"batch":1,"expires":200000000,"idle_heartbeat":100000000}`,
		`{"batch":1,"group":"globex"}`, `{"batch":1,"group":"x","min_pending":1,"min_ack_pending":1}`, `{"batch":1,"priority":9,"group":"x"}`, `{"batch":1,"id":"globex","group":"x"}`,
		`{"batch":1,"filter_subject":"crit.v1.B.>","stream":"SIGNOFF","consumer":"globex=B"}`, `{"batch":{"batch":1}}`, "[]", "null", `{"batch":1,`,
	} {
		all = append(all, attack{"pull " + body, false, func(s *attackTest) error { return s.nc.PublishRequest(ownNext, "_INBOX.answer", []byte(body)) }})
	}
	return append(all, attack{"pull without a place for the answer", false, func(s *attackTest) error { return s.nc.Publish(ownNext, []byte(`{"batch":10}`)) }})
}

// toHaveAnswered are allowed requests with a place for the answer that is
// another's.
func toHaveAnswered() (all []attack) {
	inbox := func(s *attackTest) string { return s.victim.NewInbox() } // of which the attacker has heard
	at := func(subject string) func(*attackTest) string { return func(*attackTest) string { return subject } }
	places := map[string]func(*attackTest) string{"the victim's inbox": inbox}
	for _, subject := range []string{
		"$JS.API.STREAM.DELETE.SIGNOFF", "$JS.API.STREAM.PURGE.SIGNOFF", "$JS.API.STREAM.CREATE.MINE", "$JS.API.CONSUMER.DELETE.SIGNOFF.globex=A", "$JS.API.CONSUMER.RESET.SIGNOFF.globex=A",
		"$JS.API.CONSUMER.CREATE.SIGNOFF.mine", "$JS.API.CONSUMER.MSG.NEXT.SIGNOFF.globex=B", "js.signoff.CONSUMER.MSG.NEXT.SIGNOFF.globex=B",
		"js.signoff.CONSUMER.INFO.SIGNOFF.mallory=A", "in.crit.v1.A.DiagnosticReport.signed", "in.crit.internal.access", "crit.v1.A.DiagnosticReport.signed", "crit.v1.B.DiagnosticReport.signed",
		"crit.partner.globex.access", "crit.internal.access", "signoff.doors.out", "$SYS.REQ.USER.AUTH", "$SYS.REQ.SERVER.PING", "$SYS.REQ.ACCOUNT.PING.CONNZ", "$SYS._INBOX.x.y",
		"_INBOX.witness.1", "_INBOX.>", ">", "*", "_INBOX.x@in.crit.v1.A.DiagnosticReport.signed", "_INBOX.x.1.2.0.$FI",
	} {
		places[subject] = at(subject)
	}
	for name, place := range places {
		all = append(all, attack{"have answers sent to " + name, false, func(s *attackTest) error { return s.request(place(s)) }})
	}
	for _, subject := range []string{
		"$JS.ACK.SIGNOFF.globex=A.1.1.1.1.1", "$JS.ACK.SIGNOFF.globex=B.1.4.1.1.1", "$JS.ACK._._.SIGNOFF.globex=B.1.4.1.1.1", "$JS.ACK.SIGNOFF.mallory=A.1.1.1.1.1",
		"$JS.signoff.CONSUMER.MSG.NEXT.SIGNOFF.mallory=A", "$JS.signoff.CONSUMER.INFO.SIGNOFF.mallory=A", "$JS.signoff.CONSUMER.MSG.NEXT.SIGNOFF.globex=B",
		"$JS.ACK.SIGNOFF.mallory=A.1.1.1.1.1@in.crit.v1.A.DiagnosticReport.signed", "$JS.ACK.SIGNOFF.globex=B.1.4.1.1.1@crit.v1.B.x",
		"_R_.x", "_R_.abcdefgh.abcdef", "_GR_.abcdefgh.abcdef.in.crit.v1.A.x",
	} {
		all = append(all, attack{"have answers sent to " + subject, true, func(s *attackTest) error { return s.request(subject) }})
	}
	return all
}

// requests are those that every partner may make, with answers of all kinds:
// events, states without a body, and empty ones.
var requests = [][2]string{
	{"js.signoff.CONSUMER.INFO.SIGNOFF.mallory=A", ""},
	{ownNext, `{"batch":2,"no_wait":true}`}, {ownNext, `{"batch":-1,"expires":"`}, {ownNext, `{"batch":1,"expires":1000000}`},
	{"js.signoff.CONSUMER.MSG.NEXT.SIGNOFF.mallory", `{"batch":1,"expires":1000000}`}, {"js.signoff.CONSUMER.MSG.NEXT.SIGNOFF.mallory", `{"batch":1,"no_wait":true}`},
	{"$JS.ACK.SIGNOFF.mallory=A.1.1.1.1.1", "-NAK"}, {"$JS.ACK.SIGNOFF.mallory=A.1.1.1.1.1", "+WPI"}, {"$JS.ACK.SIGNOFF.mallory=A.1.1.1.1.1", `+NXT {"batch":2,"no_wait":true}`},
	{"$JS.ACK.SIGNOFF.mallory.1.1.1.1.1", "+ACK"}, {"$JS.ACK._._.SIGNOFF.mallory=A.1.1.1.1.1", "-NAK"},
}

func (s *attackTest) request(reply string) error {
	var errs []error
	for _, r := range requests {
		errs = append(errs, s.nc.PublishRequest(r[0], reply, []byte(r[1])))
	}
	return errors.Join(errs...)
}

// toAskByHeader are allowed requests with headers that ask for more.
func toAskByHeader() (all []attack) {
	for name, header := range map[string]func(s *attackTest) nats.Header{
		"a trace into the stream":   plain("Nats-Trace-Dest", "in.crit.v1.A.DiagnosticReport.signed"),
		"a trace to live subjects":  plain("Nats-Trace-Dest", "crit.v1.A.DiagnosticReport.signed"),
		"a trace to the service":    plain("Nats-Trace-Dest", "_INBOX.witness.1"),
		"a trace to the victim":     func(s *attackTest) nats.Header { return nats.Header{"Nats-Trace-Dest": {s.victim.NewInbox()}} },
		"a trace to the server":     plain("Nats-Trace-Dest", "$JS.API.STREAM.DELETE.SIGNOFF"),
		"a trace acknowledging":     plain("Nats-Trace-Dest", "$JS.ACK.SIGNOFF.globex=B.1.4.1.1.1"),
		"a trace and nothing else":  plain("Nats-Trace-Dest", "_INBOX.trace", "Nats-Trace-Only", "true"),
		"a trace with hops":         plain("Nats-Trace-Dest", "_INBOX.trace", "Nats-Trace-Hop", "1", "Nats-Trace-Origin-Account", "APP", "Accept-Encoding", "snappy"),
		"a trace by traceparent":    plain("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
		"a batch":                   plain("Nats-Batch-Id", "x", "Nats-Batch-Sequence", "1", "Nats-Batch-Commit", "1"),
		"an API level":              plain("Nats-Required-Api-Level", "99"),
		"a pin of another":          plain("Nats-Pin-Id", "x"),
		"a schedule":                plain("Nats-Schedule", "@at 2009-11-10T23:00:00Z", "Nats-Schedule-Target", "in.crit.v1.A.x", "Nats-Schedule-TTL", "1s"),
		"an expiry":                 plain("Nats-TTL", "1s", "Nats-Marker-Reason", "Purge"),
		"somebody else's client":    plain("Nats-Request-Info", `{"acc":"APP","svc":"APP","user":"signoff.publisher","kind":"Client","reply":"in.crit.v1.A.x"}`),
		"a rollup of the stream":    plain("Nats-Rollup", "all", "Nats-Msg-Id", "x"),
		"a rollup of a subject":     plain("Nats-Rollup", "sub"),
		"a count":                   plain("Nats-Incr", "+1"),
		"a source":                  plain("Nats-Stream-Source", "SIGNOFF 1 > crit.v1.B.>"),
		"the stream's name":         plain("Nats-Stream", "SIGNOFF", "Nats-Subject", "crit.v1.B.x", "Nats-Sequence", "4", "Nats-Expected-Stream", "SIGNOFF"),
		"the end to be elsewhere":   plain("Nats-Expected-Last-Sequence", "0", "Nats-Expected-Last-Subject-Sequence", "0", "Nats-Expected-Last-Msg-Id", "x"),
		"an answer that it is over": plain("Status", "503", "Description", "No Responders"),
		"a heartbeat":               plain("Status", "100", "Nats-Last-Consumer", "1", "Nats-Consumer-Stalled", "$JS.ACK.SIGNOFF.globex=B.1.4.1.1.1"),
		"lines within a value":      plain("X", "y\r\nNats-Trace-Dest: in.crit.v1.A.x"),
		"very many headers": func(*attackTest) nats.Header {
			h := nats.Header{}
			for i := range 200 {
				h.Set(fmt.Sprint("x-", i), "y")
			}
			return h
		},
	} {
		all = append(all, attack{"ask by header for " + name, false, func(s *attackTest) error {
			var errs []error
			for _, r := range requests {
				errs = append(errs, s.nc.PublishMsg(&nats.Msg{Subject: r[0], Reply: "_INBOX.answer", Header: header(s), Data: []byte(r[1])}))
			}
			return errors.Join(errs...)
		}})
	}
	return all
}

func plain(pairs ...string) func(*attackTest) nats.Header {
	return func(*attackTest) nats.Header {
		h := nats.Header{}
		for i := 0; i < len(pairs); i += 2 {
			h[pairs[i]] = []string{pairs[i+1]}
		}
		return h
	}
}
