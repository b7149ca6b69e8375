package partners_test

import (
	"bufio"
	"bytes"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
)

func TestLogins(t *testing.T) {
	h := newInstallation(t, config{})
	h.admit("acme", "A")
	h.admit("nothing")
	good := h.token("acme")
	foreign, err := stranger(t).Issue("1", "test", "acme", secretOf("acme"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	other, err := h.signer.Issue("1", "test", "acme", "another secret", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(good, ".")

	for what, opts := range map[string][]nats.Option{
		"client id and secret":           {nats.UserInfo("acme", secretOf("acme"))},
		"an access token":                {nats.Token(good)},
		"an access token from a handler": {nats.TokenHandler(func() string { return good })},
		"a partner without a study":      {nats.UserInfo("nothing", secretOf("nothing"))},
		"a connection in the process":    {nats.InProcessServer(h.server), nats.Token(good)},
	} {
		t.Run(what+" opens", func(t *testing.T) {
			nc, err := h.dial(opts...)
			if err != nil {
				t.Fatal(err)
			}
			nc.Close()
		})
	}
	for what, opts := range map[string][]nats.Option{
		"nothing":                              nil,
		"a wrong secret":                       {nats.UserInfo("acme", "wrong")},
		"no secret":                            {nats.UserInfo("acme", "")},
		"an unknown client":                    {nats.UserInfo("nobody", secretOf("acme"))},
		"another partner's secret":             {nats.UserInfo("nothing", secretOf("acme"))},
		"a digest in place of the secret":      {nats.UserInfo("acme", access.DigestSecret(secretOf("acme")))},
		"a token as the secret":                {nats.UserInfo("acme", good)},
		"a token of another key":               {nats.Token(foreign)},
		"a token of a secret not in force":     {nats.Token(other)},
		"a cut token":                          {nats.Token(good[:len(good)-5])},
		"a token without signature":            {nats.Token(parts[0] + "." + parts[1] + ".")},
		"a huge token":                         {nats.Token(good + strings.Repeat("x", 10000))},
		"a token beside another client id":     {nats.Token(good), nats.UserInfo("nothing", "")},
		"a token beside a secret":              {nats.Token(good), nats.UserInfo("acme", secretOf("acme"))},
		"a role's name":                        {nats.UserInfo("signoff."+string(natsd.Publisher), secretOf("acme"))},
		"a role's name without the prefix":     {nats.UserInfo(string(natsd.Publisher), secretOf("acme"))},
		"the name that a connection was given": {nats.UserInfo("acme."+access.SecretID(secretOf("acme"))+"."+grants([]string{"A"}), secretOf("acme"))},
	} {
		t.Run(what+" opens nothing", func(t *testing.T) {
			if nc, err := h.dial(opts...); err == nil {
				nc.Close()
				t.Error("somebody got in")
			}
		})
	}
	t.Run("nothing in the process opens nothing", func(t *testing.T) {
		for _, hello := range []string{`{}`, `{"user":"acme"}`, `{"user":"acme","pass":"wrong"}`, `{"auth_token":"x"}`, `{"jwt":"x","sig":"x"}`} {
			if answer := greet(t, h.server, hello); !strings.Contains(answer, "Authorization Violation") {
				t.Errorf("%s: %q", hello, answer)
			}
		}
	})
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
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
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

func stranger(t *testing.T) *access.Signer {
	t.Helper()
	private, err := access.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	signer, err := access.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func TestAPartnerNamedLikeAServiceIsAPartner(t *testing.T) {
	h := newInstallation(t, config{})
	h.publish("A", "a1")
	for _, id := range []string{"APP", "SYS", "publisher", "doors", "partner-x", "x", "_", "SIGNOFF", "internal"} {
		h.admit(id, "A")
		same(t, id, take(t, consumer(t, h.mustLogin(id), id+"=A"), 1), "a1")
	}
}

func TestATokenOpensWhateverTheClockSaidThatAnnouncedItsKey(t *testing.T) {
	h := newInstallation(t, config{})
	h.admit("acme", "A")
	for what, off := range map[string]time.Duration{"ahead": 24 * time.Hour, "behind": -24 * time.Hour} {
		h.directory.change(func(d access.Directory) access.Directory { return d.WithKey(h.signer.Key(time.Now().Add(off))) })
		nc, err := h.dial(nats.Token(h.token("acme")))
		if err != nil {
			t.Errorf("a clock that was %s: %v", what, err)
			continue
		}
		nc.Close()
	}
	late, err := h.signer.Issue("1", "test", "acme", secretOf("acme"), time.Now().Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	nc, err := h.dial(nats.Token(late))
	wantRefused(t, "a token of the next minute", nc, err)
}

func TestStudiesWithAnyNameAreReadByTheirKey(t *testing.T) {
	h := newInstallation(t, config{})
	studies := []string{"Étude 1", "*", ">", "a.b", "x-1", "C 3861001/2", strings.Repeat("long ", 30) + "."}
	for _, s := range studies {
		h.publish(s, "of "+s)
	}
	h.admit("acme", studies...)
	nc := h.mustLogin("acme")
	for _, s := range studies {
		c := consumer(t, nc, events.PartnerConsumer("acme", events.StudyKey(s)))
		same(t, s, take(t, c, 1), "of "+s)
		none(t, c)
	}
}

func TestALoginEndsWithItsCredential(t *testing.T) {
	t.Parallel()
	h := newInstallation(t, config{})
	h.admit("acme", "A")
	t.Run("a connection is closed when its access token expires", func(t *testing.T) {
		var nearly string
		var nc *nats.Conn
		until(t, "it logs in before its access token expires", func() bool {
			var err error
			if nearly, err = h.signer.Issue("1", "test", "acme", secretOf("acme"), time.Now().Add(-access.Lifetime+5*time.Second)); err != nil {
				t.Fatal(err)
			}
			nc, err = h.dial(nats.Token(nearly))
			return err == nil
		})
		defer nc.Close()
		closed := nc.StatusChanged(nats.CLOSED)
		select {
		case <-closed:
		case <-time.After(timeout):
			t.Fatal("it stays open")
		}
		again, err := h.dial(nats.Token(nearly))
		wantRefused(t, "the token once more", again, err)
	})
	t.Run("a client with a token handler stays", func(t *testing.T) {
		var mu sync.Mutex
		issued := 0
		nc, err := h.dial(reconnecting, nats.ReconnectWait(time.Millisecond), nats.IgnoreAuthErrorAbort(), nats.MaxReconnects(-1), nats.TokenHandler(func() string {
			mu.Lock()
			defer mu.Unlock()
			issued++
			token, err := h.signer.Issue("1", "test", "acme", secretOf("acme"), time.Now().Add(-access.Lifetime+5*time.Second))
			if err != nil {
				t.Error(err)
			}
			return token
		}))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		until(t, "it has reconnected", func() bool { return nc.Stats().Reconnects > 0 && nc.IsConnected() })
	})
}

func TestTheRightSecretOpensWhateverWrongOnesCameFromItsAddress(t *testing.T) {
	t.Parallel()
	clock := &clock{now: time.Now()}
	h := newInstallation(t, config{Clock: clock.Now})
	h.admit("acme", "A")
	for range 8 { // as a process does that has an old secret and tries again
		nc, err := h.dial(nats.UserInfo("acme", "wrong"))
		wantRefused(t, "a wrong secret", nc, err)
	}
	h.mustLogin("acme")
	for range 8 {
		nc, err := h.dial(nats.UserInfo("nobody", "wrong"))
		wantRefused(t, "an unknown client", nc, err)
	}
	h.mustLogin("acme")
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func TestWithoutACalloutNobodyGetsIn(t *testing.T) {
	t.Parallel()
	h := newInstallation(t, config{})
	h.admit("acme", "A")
	h.stop()
	if h.reconciler.Status().Ready {
		t.Error("ready")
	}
	_ = h.wantUnanswered(t, "a login", bySecret("acme"))
	h.connect(natsd.Publisher)
}

func TestNothingSecretIsLogged(t *testing.T) {
	t.Parallel()
	var out syncBuffer
	h := newInstallation(t, config{Log: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	h.admit("acme", "A")
	token := h.token("acme")
	for _, opts := range [][]nats.Option{
		{nats.Token(token)}, {nats.Token(token[:len(token)-3])}, {nats.UserInfo("acme", secretOf("acme"))}, {nats.UserInfo("acme", secretOf("acme")+"x")},
	} {
		for range 7 {
			if nc, err := h.dial(opts...); err == nil {
				nc.Close()
			}
		}
	}
	h.set("acme")
	until(t, "the study is withdrawn", func() bool { return strings.Contains(out.String(), "consumer deleted") })
	h.stop()
	h.server.Shutdown()
	text := out.String()
	for _, want := range []string{"consumer created", "fail in a row", "partner=acme"} {
		if !strings.Contains(text, want) {
			t.Errorf("nothing about %q in the log", want)
		}
	}
	answers, err := h.keys.Answers().MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	seeds := regexp.MustCompile(`"S[A-Z0-9]{50,}"`).FindAllString(string(answers), -1)
	if len(seeds) != 2 {
		t.Fatalf("%d seeds", len(seeds))
	}
	for _, secret := range []string{secretOf("acme"), token[len(token)-20:], token[:20], strings.Trim(seeds[0], `"`), strings.Trim(seeds[1], `"`), access.DigestSecret(secretOf("acme"))} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is in the log", secret)
		}
	}
}

type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
