package desk_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/desk"
	"github.com/seed-e88a4ece/signoff/outbox/desk/desktest"
)

const formType = "application/x-www-form-urlencoded"

func TestEachFailureHasAPage(t *testing.T) {
	in := desktest.Install(t, desk.Config{})
	in.Desk.Fail("/test/429", &events.Error{Code: events.Throttled, Message: "too many sessions are open", RetryAfter: 61 * time.Second})
	in.Desk.Fail("/test/500", nil)
	in.Desk.Fail("/test/503", &events.Error{Code: events.Unavailable, Message: "secret detail", RetryAfter: 3 * time.Second})
	for _, c := range []struct {
		method, path string
		body         string
		header       []string
		status       int
		text         string
		answer       [2]string // a header of the answer
	}{
		{"POST", "/sign-in", "user=%zz", []string{"Content-Type", formType}, 400, "Go back and load the page again", [2]string{}},
		{"POST", "/sign-out", "", []string{"Sec-Fetch-Site", "cross-site"}, 403, "A page of another origin has sent this. Nothing was done.", [2]string{}},
		{"GET", "/no-such-page", "", nil, 404, "ask your study’s operator whether the study is granted to you", [2]string{}},
		{"DELETE", "/waiting", "", nil, 405, "Only GET, HEAD is offered here.", [2]string{"Allow", "GET, HEAD"}},
		{"GET", "/sign-out", "", nil, 405, "Only POST is offered here.", [2]string{"Allow", "POST"}},
		{"POST", "/sign-in", "user=" + strings.Repeat("x", 64<<10), []string{"Content-Type", formType}, 413, "Nothing was done. Go back and shorten", [2]string{}},
		{"POST", "/sign-in", "{}", []string{"Content-Type", "application/json"}, 415, "Nothing was done. Programs use /desk/v1.", [2]string{}},
		{"GET", "/test/429", "", nil, 429, "Try again in 2 minutes.", [2]string{"Retry-After", "61"}},
		{"GET", "/test/500", "", nil, 500, "it was carried out whole or not at all: look at the case", [2]string{}},
		{"GET", "/test/503", "", nil, 503, "look at the case before you send it again", [2]string{"Retry-After", "3"}},
	} {
		p := in.Browser().Do(c.method, c.path, strings.NewReader(c.body), c.header...)
		if p.Status != c.status || p.Header.Get("Content-Type") != "text/html; charset=utf-8" || !strings.Contains(p.Body, c.text) || !strings.Contains(p.Body, "<h1>") {
			t.Errorf("%s %s: %d, want %d\n%s", c.method, c.path, p.Status, c.status, p.Body)
		}
		if got := p.Header.Get(c.answer[0]); got != c.answer[1] {
			t.Errorf("%s %s: %s %q", c.method, c.path, c.answer[0], got)
		}
		if c.status == 500 && !strings.Contains(p.Body, p.Header.Get("X-Request-Id")) {
			t.Errorf("the page has no number:\n%s", p.Body)
		}
		if strings.Contains(p.Body, "secret detail") || strings.Contains(p.Body, "of a test") {
			t.Errorf("%s: the page has an internal text", c.path)
		}
		checkHeaders(t, c.method+" "+c.path, p)
	}
}

// A browser that uses the desk as a proxy sends the name of the server that it wants in the
// first line.
func TestARequestForAnotherServerIsMisdirected(t *testing.T) {
	in := desktest.Install(t, desk.Config{URL: "https://desk.example.org"})
	ask := func(target string) (status int, body string) {
		t.Helper()
		c, err := tls.Dial("tcp", in.Server.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true}) // the name is not that of the certificate
		desktest.OK(t, err)
		defer c.Close()
		_, err = fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", target)
		desktest.OK(t, err)
		answer, err := http.ReadResponse(bufio.NewReader(c), nil)
		desktest.OK(t, err)
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		desktest.OK(t, err)
		return answer.StatusCode, string(text)
	}
	if status, body := ask("http://other.example.org/sign-in"); status != http.StatusMisdirectedRequest || !strings.Contains(body, "whether your browser uses a proxy") {
		t.Errorf("%d\n%s", status, body)
	}
	for _, target := range []string{"/sign-in", "https://desk.example.org/sign-in", in.Server.URL + "/sign-in"} {
		if status, _ := ask(target); status != http.StatusOK {
			t.Errorf("%s: %d", target, status)
		}
	}
}

func TestARefusedClockNamesWhoHelps(t *testing.T) {
	clock := desktest.NewClock()
	in := desktest.Install(t, desk.Config{Clock: clock.Now})
	in.Register(desktest.Agreeing(desktest.Study, 5, "s-1")...)
	in.Sign("500")
	behind, err := outbox.Open(t.Context(), in.Path, outbox.Config{
		CheckClock: true, Clock: func() time.Time { return clock.Now().Add(-time.Hour) }, Log: slog.New(slog.DiscardHandler),
	})
	desktest.OK(t, err)
	_, refused := behind.SignOff(t.Context(), outbox.SignOff{User: desktest.User, Meaning: desktest.Meaning, IDs: []string{"501"}})
	desktest.OK(t, behind.Close())
	in.Desk.Fail("/test/clock", refused)
	p := in.Browser().Get("/test/clock")
	if p.Status != http.StatusConflict || !strings.Contains(p.Body, "Nothing was signed") || !strings.Contains(p.Body, "the clock shows 2026-02-14") || !strings.Contains(p.Body, "Ask your study’s operator, and show this page.") {
		t.Errorf("%d\n%s", p.Status, p.Body)
	}
}

// checkHeaders fails the test unless an answer has the headers that every answer has.
func checkHeaders(t *testing.T, what string, p desktest.Page) {
	t.Helper()
	for name, want := range map[string]string{
		"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
			"form-action 'self'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'; trusted-types desk",
		"X-Frame-Options": "DENY", "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
		"Referrer-Policy": "same-origin", "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=()",
		"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
	} {
		if got := p.Header.Get(name); got != want && !(name == "Cache-Control" && strings.Contains(what, "/assets/") && strings.HasSuffix(got, "immutable")) {
			t.Errorf("%s: %s is %q", what, name, got)
		}
	}
}

func TestEveryAnswerHasTheHeaders(t *testing.T) {
	in := desktest.Install(t, desk.Config{})
	b := in.SignedIn(desktest.User)
	page := b.Get("/waiting")
	var assets []string
	for _, part := range strings.Split(page.Body, `"`) {
		if strings.HasPrefix(part, "/assets/") {
			assets = append(assets, part)
		}
	}
	if len(assets) != 3 {
		t.Fatalf("the page loads %v", assets)
	}
	for _, path := range append(assets, "/", "/waiting", "/sign-in", "/password", "/no-such-page", "//waiting", "/assets/x", "/./waiting") {
		checkHeaders(t, "GET "+path, b.Get(path))
	}
	checkHeaders(t, "POST of an asset to /assets/", b.Post(assets[0], nil))
	checkHeaders(t, "POST /session", b.Post("/session", nil))
	checkHeaders(t, "POST /sign-out", b.Post("/sign-out", nil))
	checkHeaders(t, "POST /session without a session", b.Post("/session", nil))
}

// Strict-Transport-Security holds for all ports of a host, among them those on which other
// programs speak plain text.
func TestOnlyThePortOfHTTPSIsStrict(t *testing.T) {
	for public, answers := range map[string]map[string]string{ // by the name that is called
		"":                              {"desk.example.org": "max-age=31536000", "desk.example.org:443": "max-age=31536000", "desk.example.org:8081": ""},
		"https://desk.example.org":      {"10.0.0.1:8081": "max-age=31536000"}, // of a proxy that does TLS
		"https://desk.example.org:8443": {"desk.example.org": ""},
	} {
		in := desktest.Install(t, desk.Config{URL: public})
		for host, want := range answers {
			if got := in.Browser().Get("/sign-in", "Host", host).Header.Get("Strict-Transport-Security"); got != want {
				t.Errorf("%s at %s: %q", public, host, got)
			}
		}
	}
}

func TestFormsOfOtherOriginsAreRefused(t *testing.T) {
	in := desktest.Install(t, desk.Config{URL: "https://desk.example.org"})
	b := in.SignedIn(desktest.User)
	own := in.Server.URL
	for _, c := range []struct {
		name   string
		header []string
		status int
	}{
		{"another site", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, 403},
		{"another host of the site", []string{"Sec-Fetch-Site", "same-site", "Origin", "https://evil.example.org"}, 403},
		{"a hidden origin", []string{"Origin", "null"}, 403},
		{"a hidden origin of another site", []string{"Sec-Fetch-Site", "cross-site", "Origin", "null"}, 403},
		{"another origin, of an old browser", []string{"Origin", "https://evil.example"}, 403},
		{"the same host, another port", []string{"Origin", "https://127.0.0.1:1"}, 403},
		{"the public origin over plain text", []string{"Sec-Fetch-Site", "cross-site", "Origin", "http://desk.example.org"}, 403},
		{"the desk itself", []string{"Sec-Fetch-Site", "same-origin", "Origin", own}, 200},
		{"the desk itself, of an old browser", []string{"Origin", own}, 200},
		{"its public origin, behind a proxy", []string{"Origin", "https://desk.example.org"}, 200},
		{"typed in, of a tool", nil, 200},
	} {
		if p := b.Post("/session", nil, c.header...); p.Status != c.status {
			t.Errorf("%s: %d, want %d\n%s", c.name, p.Status, c.status, p.Body)
		}
	}
	for _, path := range []string{"/sign-out", "/sign-in", "/password"} {
		if p := b.Post(path, url.Values{}, "Sec-Fetch-Site", "cross-site"); p.Status != http.StatusForbidden {
			t.Errorf("%s: %d", path, p.Status)
		}
	}
	if p := b.Get("/waiting"); p.Status != http.StatusOK {
		t.Errorf("the session has ended: %d", p.Status)
	}
}

// The PIs sit behind one proxy, and one of them types wrong passwords.
func TestTwoPIsBehindOneProxyDoNotLockEachOther(t *testing.T) {
	in := desktest.Install(t, desk.Config{TrustedProxies: trusted(t, "127.0.0.0/8")})
	form := url.Values{"user": {desktest.User}, "password": {"wrong"}}
	for range 5 {
		// What the client has written itself stands before what the proxy adds.
		if p := in.Browser().Post("/sign-in", form, "X-Forwarded-For", "203.0.113.2, 203.0.113.1"); p.Status != http.StatusUnauthorized {
			t.Fatal(p.Status)
		}
	}
	form.Set("password", desktest.Password)
	for from, want := range map[string]int{"203.0.113.1": http.StatusTooManyRequests, "203.0.113.2, 203.0.113.1": http.StatusTooManyRequests, "203.0.113.2": http.StatusSeeOther} {
		if p := in.Browser().Post("/sign-in", form, "X-Forwarded-For", from); p.Status != want {
			t.Errorf("from %s: %d, want %d", from, p.Status, want)
		}
	}
}

func TestAForgedHeaderDoesNotCount(t *testing.T) {
	in := desktest.Install(t, desk.Config{TrustedProxies: trusted(t, "192.0.2.7")})
	form := url.Values{"user": {desktest.User}, "password": {"wrong"}}
	for i := range 6 {
		want := http.StatusUnauthorized
		if i == 5 {
			want = http.StatusTooManyRequests
		}
		if p := in.Browser().Post("/sign-in", form, "X-Forwarded-For", fmt.Sprintf("203.0.113.%d", i)); p.Status != want {
			t.Errorf("attempt %d: %d, want %d", i+1, p.Status, want)
		}
	}
}

// The connection of a client that sends a form a byte at a time is closed.
func TestAFormHasToArriveInTime(t *testing.T) {
	t.Parallel()
	in := desktest.Install(t, desk.Config{FormWithin: time.Millisecond})
	for name, head := range map[string]string{"with its length": "Content-Length: 100\r\n", "in chunks": "Transfer-Encoding: chunked\r\n"} {
		config := in.Server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		config.ServerName, config.NextProtos = "example.com", nil
		c, err := (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", in.Server.Listener.Addr().String())
		desktest.OK(t, err)
		defer c.Close()
		desktest.OK(t, c.SetDeadline(time.Now().Add(2*time.Minute))) // sooner than the limit of the server for the whole request
		_, err = fmt.Fprintf(c, "POST /sign-in HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n%s\r\n", head)
		desktest.OK(t, err)
		answer, err := http.ReadResponse(bufio.NewReader(c), nil)
		desktest.OK(t, err)
		body, err := io.ReadAll(answer.Body)
		desktest.OK(t, errors.Join(err, answer.Body.Close()))
		if answer.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "The form has not arrived within 1ms. Nothing was done.") || !answer.Close {
			t.Errorf("%s: %d, the connection ends: %t\n%s", name, answer.StatusCode, answer.Close, body)
		}
	}
}
