package partners_test

import (
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go"
)

// toReceive are attempts to receive what is not the attacker's.
func toReceive() (all []attack) {
	for _, subject := range []string{
		">", "*", "*.>", "crit.>", "crit.v1.>", "crit.v1.*.>", "crit.*.A.>", "*.v1.A.>", "crit.v1.B.>", "crit.v1.C.>", "crit.v1.B.DiagnosticReport.signed",
		"signoff.>", "signoff.doors.out", "crit.internal.access", "crit.internal.>", "crit.partner.globex.access", "crit.partner.*.access", "crit.partner.>",
		"in.>", "in.crit.>", "$JS.>", "$JS.API.>", "$JS.API.CONSUMER.MSG.NEXT.SIGNOFF.>", "$JS.EVENT.>", "$JS.EVENT.ADVISORY.>", "$JS.EVENT.ADVISORY.CONSUMER.*.SIGNOFF.*",
		"$JS.EVENT.ADVISORY.API", "$JS.EVENT.METRIC.>", "$JS.ACK.>", "$JS.ACK.SIGNOFF.mallory=A.>", "$JS.FC.>", "$JS.SNAPSHOT.>", "$JSC.>",
		"$SYS.>", "$SYS.ACCOUNT.>", "$SYS.ACCOUNT.*.CONNECT", "$SYS.SERVER.>", "$SYS.REQ.>", "$SYS.REQ.USER.AUTH", "$SYS._INBOX.>", "$SYS.LATENCY.>",
		"_R_.>", "_GR_.>", "$GNR.>", "js.signoff.>", "js.signoff.CONSUMER.MSG.NEXT.SIGNOFF.mallory=A", "_INBOX", "*.INBOX.>", "$KV.>", "$O.>", "$NRG.>", "$RAFT.>", "$G.>", "$LDS.>", "$MQTT.>", "$SRV.>",
	} {
		all = append(all, attack{"hear " + subject, true, func(s *attackTest) error { return s.subscribe(subject, "", "signoff-doors", "mallory") }})
	}
	// What the attacker may hear, in a way in which it would take it from others.
	for _, group := range []string{"workers", "globex", "globex.1", "signoff-doors", "*", ">", "mallory*"} {
		for _, subject := range []string{"crit.v1.A.>", "crit.v1.A.DiagnosticReport.signed", "crit.partner.mallory.access"} {
			all = append(all, attack{fmt.Sprintf("hear %s in the group %s", subject, group), true, func(s *attackTest) error { return s.subscribe(subject, group) }})
		}
	}
	return append(all,
		attack{"hear all that comes to inboxes", false, func(s *attackTest) error { return s.subscribe("_INBOX.>", "", "workers") }},
		attack{"hear the victim's inbox", false, func(s *attackTest) error { return s.subscribe(s.victim.NewInbox()[:25]+".>", "") }},
		attack{"take the victim's live events in its group", true, stealLive},
	)
}

// subscribe listens, also in queue groups, while there is something to be heard.
func (s *attackTest) subscribe(subject string, groups ...string) error {
	var subs []*nats.Subscription
	for _, group := range groups {
		sub, err := s.nc.QueueSubscribeSync(subject, group)
		if err != nil {
			return err
		}
		defer func() { _ = sub.Unsubscribe() }()
		subs = append(subs, sub)
	}
	if err := errors.Join(s.nc.Flush(), s.traffic()); err != nil {
		return err
	}
	for _, sub := range subs {
		if n, _, err := sub.Pending(); err == nil && n > 0 {
			return fmt.Errorf("received %d messages on %s %s", n, sub.Subject, sub.Queue)
		}
	}
	return nil
}

// traffic is what a listener would hear: a login, and requests of the victim's.
func (s *attackTest) traffic() error {
	nc, err := s.dialAt(0, nats.UserInfo("globex", secretOf("globex")))
	if err != nil {
		return err
	}
	defer nc.Close()
	return errors.Join(
		nc.Publish("js.signoff.CONSUMER.INFO.SIGNOFF.globex=A", nil),
		nc.Publish("$JS.ACK.SIGNOFF.globex=A.1.999.999.1.0", nil),
		nc.Flush(), s.nc.Flush())
}

// stealLive shares a queue group with the victim, who has every event all the
// same.
func stealLive(s *attackTest) error {
	sub, err := s.victim.QueueSubscribeSync("crit.v1.B.>", "globex.workers")
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }()
	for range 20 {
		stolen, err := s.nc.QueueSubscribeSync("crit.v1.A.>", "globex.workers")
		if err != nil {
			return err
		}
		defer func() { _ = stolen.Unsubscribe() }()
	}
	return errors.Join(s.victim.Flush(), s.nc.Flush(), s.victim.LastError())
}

// body is a request that asks for something in each of the API's ways.
const body = `{"stream_name":"SIGNOFF","action":"create","config":{"name":"SIGNOFF","durable_name":"mine","deliver_subject":"_INBOX.x","deliver_policy":"all","ack_policy":"none"},` +
	`"seq":1,"name":"SIGNOFF","subjects":["in.>"],"storage":"memory","keep":0,"pause_until":"2999-01-01T00:00:00Z","group":"x","batch":10,"deliver_subject":"_INBOX.x"}`

// toPublish are attempts to publish what only others may: events, requests to
// the server under its own prefix and the partners', and answers to others.
func toPublish() (all []attack) {
	stream := []string{
		"INFO", "ACCOUNT.PURGE.APP", "ACCOUNT.STREAM.MOVE.APP.SIGNOFF", "META.LEADER.STEPDOWN", "SERVER.REMOVE", "TEMPLATE.CREATE.x",
		"STREAM.NAMES", "STREAM.LIST", "STREAM.INFO.SIGNOFF", "STREAM.DELETE.SIGNOFF", "STREAM.PURGE.SIGNOFF", "STREAM.UPDATE.SIGNOFF", "STREAM.CREATE.SIGNOFF", "STREAM.CREATE.MINE",
		"STREAM.MSG.GET.SIGNOFF", "STREAM.MSG.DELETE.SIGNOFF", "STREAM.SNAPSHOT.SIGNOFF", "STREAM.RESTORE.SIGNOFF", "STREAM.LEADER.STEPDOWN.SIGNOFF", "STREAM.PEER.REMOVE.SIGNOFF",
		"DIRECT.GET.SIGNOFF", "DIRECT.GET.SIGNOFF.crit.v1.B.DiagnosticReport.signed",
		"CONSUMER.NAMES.SIGNOFF", "CONSUMER.LIST.SIGNOFF", "CONSUMER.CREATE.SIGNOFF", "CONSUMER.CREATE.SIGNOFF.mine", "CONSUMER.CREATE.SIGNOFF.mine.crit.v1.B.>",
		"CONSUMER.CREATE.SIGNOFF.mallory=A", "CONSUMER.CREATE.SIGNOFF.mallory=A.crit.v1.B.>", "CONSUMER.DURABLE.CREATE.SIGNOFF.mallory=A",
	}
	for _, name := range []string{"globex=B", "globex", "mallory=A", "mallory=B"} {
		for _, verb := range []string{"DELETE", "PAUSE", "RESET", "UNPIN", "LEADER.STEPDOWN"} {
			stream = append(stream, "CONSUMER."+verb+".SIGNOFF."+name)
		}
	}
	for _, name := range []string{"globex=B", "globex=A", "globex", "initech=C", "mallory=B", "*", ">", "mallory=*", "mallory=A.globex=B"} {
		stream = append(stream, "CONSUMER.INFO.SIGNOFF."+name, "CONSUMER.MSG.NEXT.SIGNOFF."+name)
	}
	stream = append(stream, "CONSUMER.MSG.NEXT.*.mallory=A", "CONSUMER.MSG.NEXT.OTHER.mallory=A")
	var subjects []string
	for _, prefix := range []string{"$JS.API.", "js.signoff.", "$JS.signoff."} {
		for _, s := range stream {
			subjects = append(subjects, prefix+s)
		}
	}
	subjects = slices.Concat(subjects, []string{
		"in.crit.v1.A.DiagnosticReport.signed", "in.crit.v1.B.DiagnosticReport.signed", "in.crit.internal.access", "in.crit.partner.globex.access", "in.>",
		"crit.v1.A.DiagnosticReport.signed", "crit.v1.B.DiagnosticReport.signed", "crit.partner.globex.access", "crit.partner.mallory.access", "crit.internal.access", "signoff.doors.out",
		"$JS.API.CONSUMER.INFO.SIGNOFF.mallory=A", "$JS.API.CONSUMER.MSG.NEXT.SIGNOFF.mallory=A",
		"$JS.FC.SIGNOFF.globex=A.x", "$JS.SNAPSHOT.ACK.SIGNOFF.x", "$JS.EVENT.ADVISORY.STREAM.DELETED.SIGNOFF", "$JS.EVENT.ADVISORY.API",
		"_INBOX.somebody", "_INBOX.witness.1", "_R_.somebody", "_R_.abcdefgh.abcdef", "_GR_.abcdefgh.abcdef.in.crit.v1.A.x", "$GNR.abcdefgh.abcdef.x",
		"$SYS.REQ.USER.AUTH", "$SYS.REQ.USER.INFO", "$SYS.REQ.ACCOUNT.PING.CONNZ", "$SYS.REQ.ACCOUNT.PING.STATZ", "$SYS.REQ.ACCOUNT.APP.INFO", "$SYS.REQ.ACCOUNT.APP.CONNZ",
		"$SYS.REQ.SERVER.PING", "$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.SERVER.PING.JSZ", "$SYS.REQ.SERVER.PING.KICK", "$SYS.REQ.SERVER.RELOAD", "$SYS.REQ.CLAIMS.UPDATE", "$SYS.REQ.CLAIMS.DELETE", "$SYS.REQ.CLAIMS.LIST", "$SYS.REQ.CLAIMS.PACK", "$SYS.REQ.ACCOUNT.APP.CLAIMS.LOOKUP", "$SYS.REQ.ACCOUNT.APP.CLAIMS.UPDATE", "$SYS.ACCOUNT.APP.CLAIMS.UPDATE",
		"$SYS.ACCOUNT.partner-globex.CONNECT", "$SYS.ACCOUNT.partner-globex.SERVER.CONNS", "$SYS.SERVER.x.SHUTDOWN", "$SYS.DEBUG.SUBSCRIBERS",
		"$SYS._INBOX.12345678.abcdef", "$SYS._INBOX_.12345678", "$NRG.V.x", "$NRG.AE.x", "$NRG.P.x", "$JSC.CI.APP.SIGNOFF.globex=B", "$JSC.SI.APP.SIGNOFF", "$MQTT.msgs.x", "$SRV.PING",
	})
	for _, subject := range subjects {
		all = append(all, attack{"publish to " + subject, true, func(s *attackTest) error {
			return errors.Join(s.nc.PublishRequest(subject, "_INBOX.answer", nil), s.nc.PublishRequest(subject, "_INBOX.answer", []byte(body)))
		}})
	}
	return all
}
