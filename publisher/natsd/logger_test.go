package natsd_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// lockedBuffer takes the log of a server.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lockedBuffer) len() int { return len(l.text()) }

func (l *lockedBuffer) count(text string) int { return strings.Count(l.text(), text) }

// mostLines is how many lines the server may have logged since begun about what clients do:
// 20 at once and 5 a second.
func mostLines(begun time.Time) int { return 20 + 5*int(time.Since(begun)/time.Second+1) }

// Whoever keeps on doing what it may not do must not fill the operator's disk.
func TestAClientsFaultsDoNotFloodTheLog(t *testing.T) {
	var log lockedBuffer
	s := start(t, natsd.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0", Log: slog.New(slog.NewTextHandler(&log, nil))})
	nc, err := nats.Connect(s.ClientURL(), append(credentialsOf(t, s, natsd.Reader), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))...)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	const attempts = 2000
	begun := time.Now()
	for range attempts {
		if err := nc.Publish("in.crit.v1.S.DiagnosticReport.signed", nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.FlushTimeout(time.Minute); err != nil { // all attempts are refused by now
		t.Fatal(err)
	}
	if n := log.count("Publish Violation"); n == 0 || n > mostLines(begun) {
		t.Errorf("%d attempts gave %d lines", attempts, n)
	}
	if n := log.count("level=ERROR"); n != 0 {
		t.Errorf("%d of them are errors of ours", n)
	}
}

func TestWhatClientsMakeTheServerWarnOfDoesNotFloodTheLog(t *testing.T) {
	var log lockedBuffer
	s := start(t, natsd.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0", Log: slog.New(slog.NewTextHandler(&log, nil))})
	store(t, connect(t, s, natsd.Publisher), "one")
	js, err := jetstream.New(connect(t, s, natsd.Publisher), jetstream.WithDefaultTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	name := events.PartnerConsumer("acme", "S")
	_, err = js.CreateConsumer(t.Context(), events.Stream, jetstream.ConsumerConfig{Durable: name, AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	nc := loginPartner(t, s, "acme", "S")
	if js, err = jetstream.NewWithAPIPrefix(nc, events.PartnerAPIPrefix, jetstream.WithDefaultTimeout(time.Minute)); err != nil {
		t.Fatal(err)
	}
	c, err := js.Consumer(t.Context(), events.Stream, name)
	if err != nil {
		t.Fatal(err)
	}
	msg, err := c.Next()
	if err != nil {
		t.Fatal(err)
	}
	const attempts = 500
	begun := time.Now()
	rubbish := append([]byte("-NAK "), bytes.Repeat([]byte("rubbish"), 1000)...)
	for range attempts {
		if err := nc.Publish(msg.Reply(), rubbish); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := nc.Request(msg.Reply(), nil, time.Minute); err != nil { // all before it have been handled
		t.Fatal(err)
	}
	if n := log.count("bad NAK"); n == 0 || n > mostLines(begun) {
		t.Errorf("%d attempts gave %d lines", attempts, n)
	}
	if n := log.len(); n > 2000*mostLines(begun) {
		t.Errorf("%d bytes of log", n)
	}
}

// loginPartner connects as a partner, to which it grants a study.
func loginPartner(t *testing.T, s *natsd.Server, id, study string) *nats.Conn {
	t.Helper()
	a := s.Accounts()
	defer a.Close()
	if err := a.SetAccount(t.Context(), tenancy.AccountOf(id, []string{study}, tenancy.DefaultLimits())); err != nil {
		t.Fatal(err)
	}
	callout := connect(t, s, natsd.Callout)
	_, err := callout.Subscribe("$SYS.REQ.USER.AUTH", func(m *nats.Msg) {
		request, err := jwt.DecodeAuthorizationRequestClaims(string(m.Data))
		if err != nil {
			t.Error(err)
			return
		}
		answer, err := s.Keys().Answers().Admit(request, id, jwt.NewUserClaims(request.UserNkey))
		if err == nil {
			err = m.Respond([]byte(answer))
		}
		if err != nil {
			t.Error(err)
		}
	})
	if err == nil {
		err = callout.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(s.ClientURL(), nats.UserInfo(id, "any"), nats.Timeout(time.Minute))
	for err != nil && strings.Contains(err.Error(), "got 'PING'") { // the answer took so long that the server had pinged before
		nc, err = nats.Connect(s.ClientURL(), nats.UserInfo(id, "any"), nats.Timeout(time.Minute))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}
