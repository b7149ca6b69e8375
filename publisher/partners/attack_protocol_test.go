package partners_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// toBreakTheProtocol are bytes that no client library sends, after a login of
// the attacker's; the server closes the connection, or answers a PING.
func toBreakTheProtocol() (all []attack) {
	for name, lines := range map[string]string{
		"interest like a route's":          "RS+ APP crit.v1.B.>\r\n",
		"interest like a leaf's":           "LS+ crit.v1.B.>\r\n",
		"interest like a gateway's":        "A+ APP\r\nRS+ APP crit.v1.B.>\r\n",
		"a message like a route's":         "RMSG APP in.crit.v1.A.DiagnosticReport.signed 1\r\nx\r\n",
		"a message like a leaf's":          "LMSG in.crit.v1.A.DiagnosticReport.signed 1\r\nx\r\n",
		"a message like the server's":      "MSG crit.v1.A.DiagnosticReport.signed 1 1\r\nx\r\n",
		"a greeting like a route's":        `INFO {"server_id":"x","cluster":"signoff","nonce":"x"}` + "\r\n",
		"a connect like a route's":         `CONNECT {"server_id":"x","cluster":"signoff","name":"n1","remote_account":"APP"}` + "\r\n",
		"a second connect without a name":  `CONNECT {"verbose":false}` + "\r\n",
		"a second connect into APP":        `CONNECT {"user":"mallory","pass":"x","account":"APP","new_account":false}` + "\r\nSUB crit.v1.B.> 9\r\n",
		"a second connect as the victim":   `CONNECT {"user":"globex","pass":""}` + "\r\nSUB crit.v1.B.> 9\r\n",
		"a message of a false size":        "PUB js.signoff.CONSUMER.INFO.SIGNOFF.mallory=A 99999999\r\nx\r\n",
		"a message of a negative size":     "PUB js.signoff.CONSUMER.INFO.SIGNOFF.mallory=A -1\r\nx\r\n",
		"a message over the limit":         "PUB js.signoff.CONSUMER.INFO.SIGNOFF.mallory=A 8193\r\n" + strings.Repeat("x", 8193) + "\r\n",
		"a header longer than its message": "HPUB js.signoff.CONSUMER.INFO.SIGNOFF.mallory=A 99 9\r\nNATS/1.0\r\n\r\n",
		"a header that is none":            "HPUB js.signoff.CONSUMER.INFO.SIGNOFF.mallory=A _INBOX.x 4 4\r\nxxxx\r\n",
		"a command within a subject":       "PUB js.signoff.CONSUMER.INFO.SIGNOFF.mallory=A\tin.crit.v1.A.x\t1\r\nx\r\nPUB in.crit.v1.A.x 1\r\nx\r\n",
		"a line without an end":            "SUB " + strings.Repeat("x", 8192),
		"a subject with empty parts":       "SUB crit.v1.A..> 9\r\nSUB .crit.v1.B 10\r\nPUB in..crit 0\r\n\r\n",
		"a subject with bytes of control":  "SUB crit.v1.B.\x00 9\r\nPUB in.crit.v1.A.\x01 1\r\nx\r\n",
		"somebody else's subscription":     "UNSUB 1\r\nUNSUB 9999 1\r\nUNSUB crit.v1.B.>\r\n",
		"garbage":                          "\x16\x03\x01\x02\x00\x01\x00\r\nGET / HTTP/1.1\r\n\r\n",
	} {
		all = append(all, attack{"send " + name, false, func(s *attackTest) error { return s.raw(`"user":"mallory","pass":"`+secretOf("mallory")+`"`, lines) }})
	}
	for name, options := range map[string]string{
		"an account of its choice":      `"account":"APP","new_account":true`,
		"another's id beside its own":   `"remote_account":"APP","import":{"permissions":{}},"permissions":{"subscribe":[">"]}`,
		"a server's name":               `"server_id":"x","name":"n1","cluster":"signoff","is_hub":true`,
		"a JWT beside its secret":       `"jwt":"x.y.z","sig":"x"`,
		"a tls name and an nkey beside": `"nkey":"UABC","tls_required":true`,
	} {
		all = append(all, attack{"connect with " + name, false, func(s *attackTest) error {
			return s.raw(options+`,"user":"mallory","pass":"`+secretOf("mallory")+`"`, "SUB > 9\r\nSUB crit.v1.B.> 10\r\nPUB in.crit.v1.A.DiagnosticReport.signed 1\r\nx\r\n")
		}})
	}
	for name, options := range map[string]string{
		"nothing": "", "no end": `"user":"mallory`, "a name that is a number": `"user":1,"pass":2`, "a name that is a list": `"user":["mallory"]`,
		"a huge name": `"user":"` + strings.Repeat("x", 1<<16) + `"`,
	} {
		all = append(all, attack{"connect with " + name, false, func(s *attackTest) error {
			s.clock.advance(time.Minute)
			return s.raw(options, "SUB > 9\r\nPUB in.crit.v1.A.DiagnosticReport.signed 1\r\nx\r\n")
		}})
	}
	return all
}

// raw sends bytes to the first server and reads until it closes the connection
// or has answered a PING. No message must be among what it says.
func (s *attackTest) raw(options, lines string) error {
	u, err := url.Parse(s.urls[0])
	if err != nil {
		return err
	}
	conn, err := net.DialTimeout("tcp", u.Host, timeout)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	// The server may close the connection before it has read all.
	if _, err := fmt.Fprintf(conn, "CONNECT {%s}\r\n%s\r\nPING\r\nPING\r\n", options, lines); err != nil {
		return nil
	}
	var said strings.Builder
	buffer := make([]byte, 4096)
	for strings.Count(said.String(), "PONG") < 2 {
		n, err := conn.Read(buffer)
		said.Write(buffer[:n])
		var timedOut net.Error
		if errors.As(err, &timedOut) && timedOut.Timeout() {
			return fmt.Errorf("no end after %q", said.String())
		}
		if err != nil {
			break // closed, or reset
		}
	}
	if text := said.String(); strings.Contains(text, "MSG ") {
		return fmt.Errorf("received %q", text)
	}
	return nil
}

// toFlood are more of everything than a partner may have.
func toFlood() []attack {
	return []attack{
		{"open more connections than it may", false, func(s *attackTest) error {
			var open int
			for range attackLimits.Connections + 10 {
				if nc, err := s.dialAt(0, nats.UserInfo("mallory", secretOf("mallory"))); err == nil {
					defer nc.Close()
					open++
				}
			}
			if open >= attackLimits.Connections { // one more is open all the while
				return fmt.Errorf("%d connections beside that one", open)
			}
			return nil
		}},
		{"open connections that say nothing", false, func(s *attackTest) error {
			u, err := url.Parse(s.urls[0])
			if err != nil {
				return err
			}
			for range 200 {
				conn, err := net.DialTimeout("tcp", u.Host, timeout)
				if err != nil {
					return err
				}
				defer conn.Close()
			}
			return s.traffic()
		}},
		{"subscribe more often than it may", false, func(s *attackTest) error {
			nc, err := s.dialAt(0, nats.UserInfo("mallory", secretOf("mallory")))
			if err != nil {
				return err
			}
			defer nc.Close()
			for i := range attackLimits.Subscriptions + 1 {
				if _, err := nc.SubscribeSync(fmt.Sprint("_INBOX.", i)); err != nil {
					return err
				}
			}
			if err := nc.Flush(); err != nil {
				return nil // the connection is closed
			}
			if err := nc.LastError(); !errors.Is(err, nats.ErrMaxSubscriptionsExceeded) {
				return fmt.Errorf("too many subscriptions: %w", err)
			}
			return nil
		}},
		{"send more than it may", false, func(s *attackTest) error {
			if err := s.nc.Publish(ownNext, make([]byte, attackLimits.Payload+1)); !errors.Is(err, nats.ErrMaxPayload) {
				return fmt.Errorf("too much: %w", err)
			}
			return nil
		}},
		{"ask without reading the answers", false, func(s *attackTest) error {
			return s.requestWithoutReading("js.signoff.CONSUMER.INFO.SIGNOFF.mallory=A", "", 3000)
		}},
		{"pull without reading the events", false, func(s *attackTest) error { return s.requestWithoutReading(ownNext, `{"batch":1000000}`, 3000) }},
		{"leave more pulls waiting than it may", false, func(s *attackTest) error {
			return s.requestWithoutReading("js.signoff.CONSUMER.MSG.NEXT.SIGNOFF.mallory", `{"batch":1,"expires":60000000000}`, 3000)
		}},
		{"acknowledge without an end", false, func(s *attackTest) error {
			return s.requestWithoutReading("$JS.ACK.SIGNOFF.mallory=A.1.1.1.1.1", "-NAK", 3000)
		}},
	}
}

// requestWithoutReading sends requests over a connection of which nothing is read, and waits
// until the server has taken them.
func (s *attackTest) requestWithoutReading(subject, body string, n int) error {
	conn, err := loginWithoutReading(s.urls[0], "mallory")
	if err != nil {
		return err
	}
	defer conn.Close()
	one := fmt.Sprintf("PUB %s _INBOX.deaf %d\r\n%s\r\n", subject, len(body), body)
	if _, err := io.WriteString(conn, "SUB _INBOX.deaf 1\r\n"+strings.Repeat(one, n)); err != nil {
		return err
	}
	return s.traffic()
}
