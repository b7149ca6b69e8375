package natsd_test

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/publisher/operator"
)

// store makes a stream as the publisher and stores a message in it.
func store(t *testing.T, nc *nats.Conn, text string) {
	t.Helper()
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: events.Stream, Subjects: []string{events.IngestWildcard}, AllowDirect: true,
		SubjectTransform: &jetstream.SubjectTransformConfig{Source: events.IngestWildcard, Destination: events.StoredWildcard},
		RePublish:        &jetstream.RePublish{Source: events.StoredWildcard, Destination: events.StoredWildcard},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "in.crit.v1.S.DiagnosticReport.signed", []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func TestNobodyIsAnonymous(t *testing.T) {
	s := start(t, natsd.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	for name, opts := range map[string][]nats.Option{
		"nothing":        nil,
		"a role's name":  {nats.UserInfo("signoff.publisher", "wrong")},
		"unknown user":   {nats.UserInfo("nobody", "wrong")},
		"no user":        {nats.UserInfo("", "")},
		"another's keys": credentialsOf(t, start(t, natsd.Config{Dir: t.TempDir()}), natsd.Publisher),
	} {
		if nc, err := nats.Connect(s.ClientURL(), append(opts, nats.Timeout(time.Minute))...); err == nil {
			nc.Close()
			t.Errorf("%s over TCP: it got in", name)
		}
	}
	for _, hello := range []string{`{}`, `{"user":"signoff.publisher"}`, `{"user":"signoff.publisher","pass":"wrong"}`} {
		if answer := greet(t, s, hello); !strings.Contains(answer, "Authorization Violation") {
			t.Errorf("%s in process: got %q", hello, answer)
		}
	}
}

// credentialsOf returns what a role logs in with.
func credentialsOf(t *testing.T, s *natsd.Server, role natsd.Role) []nats.Option {
	t.Helper()
	creds, err := s.Credentials(role)
	if err != nil {
		t.Fatal(err)
	}
	return []nats.Option{nats.UserCredentialBytes(creds), nats.Timeout(time.Minute)}
}

// greet sends CONNECT over a connection within the process and returns what the
// server says until it closes.
func greet(t *testing.T, s *natsd.Server, hello string) string {
	t.Helper()
	conn, err := s.InProcessConn()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	if _, err := r.ReadString('\n'); err != nil { // INFO
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("CONNECT " + hello + "\r\n")); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

func TestRolesMayDoWhatTheyAreForAndNoMore(t *testing.T) {
	s := start(t, natsd.Config{Dir: t.TempDir()})
	store(t, connect(t, s, natsd.Publisher), "one")

	for _, role := range []natsd.Role{natsd.Reader, natsd.Operator} {
		t.Run(string(role)+" reads by sequence and live", func(t *testing.T) {
			nc := connect(t, s, role)
			js, err := jetstream.New(nc)
			if err != nil {
				t.Fatal(err)
			}
			stream, err := js.Stream(t.Context(), events.Stream)
			if err != nil {
				t.Fatal(err)
			}
			if msg, err := stream.GetMsg(t.Context(), 1); err != nil || string(msg.Data) != "one" {
				t.Errorf("message by sequence: %v, %v", msg, err)
			}
			live, err := nc.SubscribeSync("crit.>")
			if err != nil {
				t.Fatal(err)
			}
			if err := nc.Flush(); err != nil {
				t.Fatal(err)
			}
			store(t, connect(t, s, natsd.Publisher), "two")
			if msg, err := live.NextMsg(time.Minute); err != nil || string(msg.Data) != "two" {
				t.Errorf("live message: %v, %v", msg, err)
			}
		})
		for name, subject := range map[string]string{
			"publishes events":    "in.crit.v1.S.DiagnosticReport.signed",
			"fakes live events":   "crit.v1.S.DiagnosticReport.signed",
			"deletes the stream":  "$JS.API.STREAM.DELETE." + events.Stream,
			"purges the stream":   "$JS.API.STREAM.PURGE." + events.Stream,
			"updates the stream":  "$JS.API.STREAM.UPDATE." + events.Stream,
			"deletes a message":   "$JS.API.STREAM.MSG.DELETE." + events.Stream,
			"makes a new stream":  "$JS.API.STREAM.CREATE.OTHER",
			"uses another inbox":  "_INBOX.somebody.else",
			"restores the stream": "$JS.API.STREAM.RESTORE." + events.Stream,
			"asks for a login":    "$SYS.REQ.USER.AUTH",
			"answers a login":     "$SYS._INBOX.12345678.abcdef",
		} {
			t.Run(string(role)+" never "+name, func(t *testing.T) { denied(t, s, role, subject) })
		}
	}

	for name, subject := range map[string]string{
		"publishes events":        "in.crit.v1.S.DiagnosticReport.signed",
		"fakes live events":       "crit.v1.S.DiagnosticReport.signed",
		"reads messages":          "$JS.API.STREAM.MSG.GET." + events.Stream,
		"deletes the stream":      "$JS.API.STREAM.DELETE." + events.Stream,
		"makes unfiltered pulls":  "$JS.API.CONSUMER.DURABLE.CREATE." + events.Stream + ".all",
		"takes a consumer's next": "$JS.API.CONSUMER.MSG.NEXT." + events.Stream + ".acme",
		"asks for a login":        "$SYS.REQ.USER.AUTH",
	} {
		t.Run("partners never "+name, func(t *testing.T) { denied(t, s, natsd.Partners, subject) })
	}
	t.Run("publisher never fakes live events", func(t *testing.T) {
		denied(t, s, natsd.Publisher, "crit.v1.S.DiagnosticReport.signed")
	})
	t.Run("a connection is for a known role", func(t *testing.T) {
		if _, err := s.Connect("admin"); !errors.Is(err, events.Invalid) {
			t.Errorf("got %v", err)
		}
	})
}

func TestSystemRoleSeesTheServerAndNoEvents(t *testing.T) {
	s := start(t, natsd.Config{Dir: t.TempDir()})
	nc := connect(t, s, natsd.System)
	answer, err := nc.Request("$SYS.REQ.SERVER.PING", nil, time.Minute)
	if err != nil || !strings.Contains(string(answer.Data), `"signoff"`) {
		t.Errorf("ping: %v, %v", answer, err)
	}
	live, err := nc.SubscribeSync("crit.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	store(t, connect(t, s, natsd.Publisher), "one")
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if n, _, err := live.Pending(); err != nil || n != 0 {
		t.Errorf("%d messages seen in account %s, %v", n, operator.AccountSystem, err)
	}
}

// denied wants the server to refuse a message of role to subject.
func denied(t *testing.T, s *natsd.Server, role natsd.Role, subject string) {
	t.Helper()
	refused := make(chan error, 1)
	nc := connect(t, s, role, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		select {
		case refused <- err:
		default:
		}
	}))
	if err := nc.Publish(subject, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-refused:
		if !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), subject) {
			t.Errorf("got %v", err)
		}
	case <-time.After(time.Minute):
		t.Errorf("%s may publish to %s", role, subject)
	}
}
