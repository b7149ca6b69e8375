package desk_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/events/leaktest"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/accounts"
	"github.com/seed-e88a4ece/signoff/outbox/accounts/accountstest"
	"github.com/seed-e88a4ece/signoff/outbox/desk"
	"github.com/seed-e88a4ece/signoff/outbox/desk/desktest"
	"github.com/seed-e88a4ece/signoff/outbox/desk/session"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// addPI adds a PI who is granted the study of the installation.
func addPI(t *testing.T, in *desktest.Installation, user string) {
	t.Helper()
	desktest.OK(t, accountstest.AddPI(t.Context(), in.Outbox.Accounts(), "ops", user, "Dr. "+user, []string{desktest.Study}, desktest.Password))
}

// showsSignIn fails the test unless the browser is sent to the sign-in, which then has the
// text and lets Back show nothing.
func showsSignIn(t *testing.T, b *desktest.Browser, text string) {
	t.Helper()
	p := b.Get("/waiting")
	if p.Status != http.StatusSeeOther || !strings.HasPrefix(p.Location(), "/sign-in?") {
		t.Fatalf("answered %d to %q", p.Status, p.Location())
	}
	p = b.Get(p.Location())
	if p.Status != http.StatusOK || !strings.Contains(p.Body, text) || p.Header.Get("Clear-Site-Data") != `"cache"` || p.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v\n%s", p.Status, p.Header, p.Body)
	}
	if b.Cookie() != "" {
		t.Error("the browser keeps the cookie of the session that has ended")
	}
}

func TestAPISignsInAndOut(t *testing.T) {
	in := desktest.Install(t, desk.Config{})
	in.Register(desktest.Case71(desktest.Study)...)
	b := in.Browser()
	if p := b.Get("/waiting"); p.Status != http.StatusSeeOther || p.Location() != "/sign-in?next=%2Fwaiting" {
		t.Errorf("without a session: %d to %q", p.Status, p.Location())
	}
	form := url.Values{"user": {desktest.User}, "password": {"wrong"}, "next": {"/waiting?show=all"}}
	if p := b.Post("/sign-in", form); p.Status != http.StatusUnauthorized || !strings.Contains(p.Body, `value="rivera"`) || strings.Contains(p.Body, `value="wrong"`) {
		t.Errorf("wrong password: %d\n%s", p.Status, p.Body)
	}
	form.Set("password", desktest.Password)
	p := b.Post("/sign-in", form)
	if p.Status != http.StatusSeeOther || p.Location() != "/sign-in?begun=1&next=%2Fwaiting%3Fshow%3Dall" {
		t.Fatalf("sign-in: %d to %q", p.Status, p.Location())
	}
	if cookie := p.Header.Get("Set-Cookie"); !strings.HasPrefix(cookie, "__Host-desk=") || !strings.HasSuffix(cookie, "; Path=/; HttpOnly; Secure; SameSite=Strict") {
		t.Errorf("cookie %q", cookie)
	}
	if p := b.Get(p.Location()); p.Status != http.StatusSeeOther || p.Location() != "/waiting?show=all" {
		t.Errorf("after the sign-in: %d to %q", p.Status, p.Location())
	}
	if p := b.Get("/sign-in?next=/signed"); p.Status != http.StatusSeeOther || p.Location() != "/signed" {
		t.Errorf("the sign-in with a session: %d to %q", p.Status, p.Location())
	}
	if p := b.Get("/waiting"); p.Status != http.StatusOK || !strings.Contains(p.Body, "01-704-1127") {
		t.Errorf("the session has ended: %d", p.Status)
	}
	if p := b.Post("/sign-out", nil); p.Status != http.StatusSeeOther || p.Header.Get("Clear-Site-Data") != `"cache"` || b.Cookie() != "" {
		t.Errorf("sign-out: %d %v", p.Status, p.Header)
	}
	if p := b.Get("/waiting"); p.Status != http.StatusSeeOther {
		t.Errorf("after the sign-out: %d", p.Status)
	}
	if got := in.Ends(desktest.User); !slices.Equal(got, []string{accounts.SessionSignedOut}) {
		t.Errorf("audited: %v", got)
	}
}

// The browser does not return the cookie where the desk speaks plain text over a network, or
// where cookies are switched off.
func TestWithoutItsCookieAPageExplainsWhy(t *testing.T) {
	in := desktest.Install(t, desk.Config{URL: "https://desk.example.org"})
	b := in.Browser()
	p := b.Post("/sign-in", url.Values{"user": {desktest.User}, "password": {desktest.Password}})
	withoutCookie := in.Browser()
	if p := withoutCookie.Get(p.Location()); p.Status != http.StatusBadRequest || !strings.Contains(p.Body, "Allow cookies") {
		t.Errorf("%d\n%s", p.Status, p.Body)
	}
	if p := b.Get(p.Location()); p.Status != http.StatusSeeOther {
		t.Errorf("with the cookie: %d", p.Status)
	}

	plain := httptest.NewServer(in.Desk)
	t.Cleanup(plain.Close)
	for _, c := range []struct{ host, referer, want string }{
		{"10.1.2.3:8081", "http://10.1.2.3:8081/sign-in", `<code>http://10.1.2.3:8081</code>. Browsers keep this cookie only over https`},
		{"10.1.2.3:8081", "", `Call <a href="https://desk.example.org">`},
		{"desk.example.org", "https://desk.example.org/sign-in", "Allow cookies"}, // behind a proxy that does TLS
		{"127.0.0.1:8081", "http://127.0.0.1:8081/sign-in", "Allow cookies"},
		{"[::1]:8081", "", "Allow cookies"},
		{"localhost", "", "Allow cookies"},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, plain.URL+"/sign-in?begun=1", http.NoBody)
		desktest.OK(t, err)
		r.Host = c.host
		r.Header.Set("Referer", c.referer)
		answer, err := plain.Client().Do(r)
		desktest.OK(t, err)
		body, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		desktest.OK(t, err)
		if !strings.Contains(string(body), c.want) {
			t.Errorf("at %s, from %q:\n%s", c.host, c.referer, body)
		}
	}
}

func TestSessionsEndByTime(t *testing.T) {
	clock := desktest.NewClock()
	in := desktest.Install(t, desk.Config{Clock: clock.Now, Sessions: session.Config{Every: time.Hour}})
	t.Run("idle", func(t *testing.T) {
		b := in.SignedIn(desktest.User)
		clock.Add(session.Idle - time.Second)
		if p := b.Get("/waiting"); p.Status != http.StatusOK || !strings.Contains(p.Body, `content="901;url=/sign-in?ended=idle"`) {
			t.Fatalf("before the end: %d\n%s", p.Status, p.Body)
		}
		clock.Add(session.Idle - time.Second)
		if p := b.Get("/waiting", "X-Live", "1"); p.Status != http.StatusOK { // no activity
			t.Fatalf("before the end: %d", p.Status)
		}
		if p := b.Get("/sign-in?ended=idle&next=/signed"); p.Status != http.StatusOK || !strings.Contains(p.Body, `href="/signed">Continue`) {
			t.Errorf("of a page left alone while another is used: %d\n%s", p.Status, p.Body)
		}
		clock.Add(time.Second)
		showsSignIn(t, b, "after 15 minutes without activity")
	})
	t.Run("absolute", func(t *testing.T) {
		b := in.SignedIn(desktest.User)
		for left := session.Absolute; left > 10*time.Minute; left -= 10 * time.Minute {
			clock.Add(10 * time.Minute)
			if p := b.Get("/waiting"); p.Status != http.StatusOK {
				t.Fatalf("%s before the end: %d", left, p.Status)
			}
		}
		if p := b.Post("/session", nil); p.Body != `{"seconds":600,"last":true}` {
			t.Errorf("the script reads %s", p.Body)
		}
		clock.Add(10 * time.Minute)
		showsSignIn(t, b, "a session lasts 12 hours at most")
	})
	t.Run("renewed by the script", func(t *testing.T) {
		b := in.SignedIn(desktest.User)
		clock.Add(14 * time.Minute)
		if p := b.Post("/session", nil); p.Status != http.StatusOK || p.Body != `{"seconds":900,"last":false}` {
			t.Errorf("%d %s", p.Status, p.Body)
		}
		clock.Add(14 * time.Minute)
		if p := b.Get("/waiting"); p.Status != http.StatusOK {
			t.Errorf("after it: %d", p.Status)
		}
		clock.Add(time.Hour)
		if p := b.Post("/session", nil); p.Status != http.StatusSeeOther {
			t.Errorf("after the end: %d", p.Status)
		}
	})
	if got := in.Ends(desktest.User); !slices.Equal(got, []string{accounts.SessionIdle, accounts.SessionAbsolute, accounts.SessionIdle}) {
		t.Errorf("audited: %v", got)
	}
}

// No request comes in these tests after the cause of the end.
func TestTheEndOfASessionIsAuditedAtItsTime(t *testing.T) {
	clock := desktest.NewClock()
	in := desktest.Install(t, desk.Config{Clock: clock.Now, Sessions: session.Config{Every: time.Millisecond}})
	acc := in.Outbox.Accounts()
	for i, c := range []struct {
		reason, text string
		cause        func(user string) error
	}{
		{accounts.SessionIdle, "without activity", func(string) error { clock.Add(session.Idle); return nil }},
		{accounts.SessionDisabled, "disabled your name", func(user string) error { return acc.DisablePI(t.Context(), "ops", user) }},
		{accounts.SessionPassword, "your password was changed", func(user string) error { _, err := acc.ResetPassword(t.Context(), "ops", user); return err }},
		{accounts.SessionPassword, "your password was changed", func(user string) error {
			return acc.ChoosePassword(t.Context(), user, desktest.Password, "another horse battery", "local")
		}},
	} {
		user := "pi" + strconv.Itoa(i)
		addPI(t, in, user)
		b := in.SignedIn(user)
		desktest.OK(t, c.cause(user))
		desktest.Eventually(t, c.reason+" is audited", func() bool { return slices.Equal(in.Ends(user), []string{c.reason}) })
		var at time.Time
		var from string
		desktest.OK(t, in.Outbox.Audit(t.Context(), outbox.AuditFilter{Action: "session.ended", Actor: user}, func(e outbox.AuditEntry) error {
			at, from = e.Time, e.Address
			return nil
		}))
		if !at.Equal(clock.Now().Truncate(time.Microsecond)) || from != "127.0.0.1" {
			t.Errorf("%s: audited at %s from %q", c.reason, at, from)
		}
		showsSignIn(t, b, c.text)
	}
}

// Other requests of the session, and the look at all sessions, may come between the change of
// a password and its end.
func TestASessionGoesOnWhileItsPasswordIsChanged(t *testing.T) {
	in := desktest.Install(t, desk.Config{})
	ctx, sessions := t.Context(), in.Desk.Sessions()
	s, _, err := sessions.Begin(ctx, desktest.User, "", "127.0.0.1")
	desktest.OK(t, err)
	other, _, err := sessions.Begin(ctx, desktest.User, "", "127.0.0.1")
	desktest.OK(t, err)
	desktest.OK(t, sessions.Renew(ctx, s, func() error {
		if err := in.Outbox.Accounts().ChoosePassword(ctx, desktest.User, desktest.Password, chosen, "local"); err != nil {
			return err
		}
		_, err := sessions.Check(ctx, s)
		return err
	}))
	if _, err := sessions.Check(ctx, s); err != nil {
		t.Errorf("the session: %v", err)
	}
	if _, err := sessions.Check(ctx, other); !errors.Is(err, session.EndedError{Reason: accounts.SessionPassword}) {
		t.Errorf("another session: %v", err)
	}
	if err := sessions.Renew(ctx, s, func() error { return http.ErrBodyNotAllowed }); !errors.Is(err, http.ErrBodyNotAllowed) {
		t.Error(err)
	}
	if _, err := sessions.Check(ctx, s); err != nil {
		t.Errorf("after a refused change: %v", err)
	}
}

// interrupted are accounts of which a test does something else between the reading of a PI's
// standing and its use.
type interrupted struct {
	*accounts.Accounts
	meanwhile func()
}

func (i *interrupted) Standing(ctx context.Context, user string) (accounts.Standing, error) {
	standing, err := i.Accounts.Standing(ctx, user)
	if do := i.meanwhile; do != nil {
		i.meanwhile = nil
		do()
	}
	return standing, err
}

// What a check has read may be of before a change of the password that is over when it is
// compared.
func TestASessionGoesOnIfItIsCheckedDuringAChangeOfThePassword(t *testing.T) {
	t.Parallel()
	in := desktest.Install(t, desk.Config{})
	ctx, acc := t.Context(), &interrupted{Accounts: in.Outbox.Accounts()}
	sessions := session.New(acc, session.Config{})
	s, _, err := sessions.Begin(ctx, desktest.User, "", "127.0.0.1")
	desktest.OK(t, err)
	acc.meanwhile = func() {
		desktest.OK(t, sessions.Renew(ctx, s, func() error {
			return acc.ChoosePassword(ctx, desktest.User, desktest.Password, chosen, "local")
		}))
	}
	for range 2 {
		if _, err := sessions.Check(ctx, s); err != nil {
			t.Errorf("the session: %v", err)
		}
	}
	desktest.OK(t, acc.ChoosePassword(ctx, desktest.User, chosen, "another horse battery", "local"))
	if _, err := sessions.Check(ctx, s); !errors.Is(err, session.EndedError{Reason: accounts.SessionPassword}) {
		t.Errorf("after a change elsewhere: %v", err)
	}
}

func TestASixthSessionEndsTheOldest(t *testing.T) {
	in := desktest.Install(t, desk.Config{})
	var browsers []*desktest.Browser
	for range 6 {
		browsers = append(browsers, in.SignedIn(desktest.User))
	}
	for i, b := range browsers[1:] {
		if p := b.Get("/waiting"); p.Status != http.StatusOK {
			t.Errorf("session %d has ended: %d", i+2, p.Status)
		}
	}
	showsSignIn(t, browsers[0], "you have signed in elsewhere")
	if got := in.Ends(desktest.User); !slices.Equal(got, []string{accounts.SessionReplaced}) {
		t.Errorf("audited: %v", got)
	}
	t.Run("at the same time", func(t *testing.T) {
		var all sync.WaitGroup
		for range 8 {
			b := in.Browser()
			all.Go(func() { b.Post("/sign-in", url.Values{"user": {desktest.User}, "password": {desktest.Password}}) })
		}
		all.Wait()
		if n := in.Desk.Sessions().Len(); n != 5 {
			t.Errorf("%d sessions are open", n)
		}
	})
}

func TestAStopEndsAllSessions(t *testing.T) {
	in := desktest.Install(t, desk.Config{})
	b, other := in.SignedIn(desktest.User), in.SignedIn(desktest.OtherUser)
	in.EndSessions()
	for user, b := range map[string]*desktest.Browser{desktest.User: b, desktest.OtherUser: other} {
		if got := in.Ends(user); !slices.Equal(got, []string{accounts.SessionShutdown}) {
			t.Errorf("audited of %s: %v", user, got)
		}
		showsSignIn(t, b, "the desk was started anew")
	}
	// A program that is started anew knows no cookie of the former one.
	if p := in.Browser().Get("/waiting", "Cookie", "__Host-desk="+strings.Repeat("A", 43)); !strings.Contains(p.Location(), "ended=shutdown") {
		t.Errorf("an unknown cookie leads to %s", p.Location())
	}
}

func TestASignInHasANewID(t *testing.T) {
	in := desktest.Install(t, desk.Config{})
	t.Run("chosen by somebody else", func(t *testing.T) {
		chosen := strings.Repeat("A", 43)
		p := in.Browser().Do(http.MethodPost, "/sign-in", strings.NewReader(url.Values{"user": {desktest.User}, "password": {desktest.Password}}.Encode()),
			"Content-Type", "application/x-www-form-urlencoded", "Cookie", "__Host-desk="+chosen)
		if cookie := p.Header.Get("Set-Cookie"); p.Status != http.StatusSeeOther || strings.Contains(cookie, chosen) {
			t.Errorf("%d, cookie %q", p.Status, cookie)
		}
		if p := in.Browser().Get("/waiting", "Cookie", "__Host-desk="+chosen); p.Status != http.StatusSeeOther {
			t.Errorf("the chosen id opens the desk: %d", p.Status)
		}
	})
	t.Run("in place of that of a session", func(t *testing.T) {
		b := in.SignedIn(desktest.User)
		former := b.Cookie()
		if p := b.Post("/sign-in", url.Values{"user": {desktest.OtherUser}, "password": {desktest.Password}}); p.Status != http.StatusSeeOther {
			t.Fatal(p.Status)
		}
		if b.Cookie() == former {
			t.Error("the id has not changed")
		}
		if p := in.Browser().Get("/waiting", "Cookie", "__Host-desk="+former); p.Status != http.StatusSeeOther {
			t.Errorf("the former id opens the desk: %d", p.Status)
		}
		if got := in.Ends(desktest.User); !slices.Equal(got, []string{accounts.SessionReplaced}) {
			t.Errorf("audited: %v", got)
		}
	})
}

func TestTheSignInLeadsNowhereElse(t *testing.T) {
	in := desktest.Install(t, desk.Config{})
	b := in.SignedIn(desktest.User)
	for next, want := range map[string]string{
		"/signed":              "/signed",
		"/cases/a%2Fb/7?x=1&y": "/cases/a%2Fb/7?x=1&y",
		"":                     "/waiting",
		"//evil.example":       "/waiting",
		"///evil.example":      "/waiting",
		"/\\evil.example":      "/waiting",
		"\\\\evil.example":     "/waiting",
		"/%5Cevil.example":     "/waiting",
		"/%2Fevil.example":     "/waiting",
		"/\t/evil.example":     "/waiting",
		"\t//evil.example":     "/waiting",
		"https://evil.example": "/waiting",
		"https:evil.example":   "/waiting",
		"javascript:alert(1)":  "/waiting",
		"evil.example":         "/waiting",
		"/sign-in?next=/x":     "/waiting",
		"/sign-out":            "/sign-out", // GET is not served there
		"http://[::1":          "/waiting",
		"/a\r\nSet-Cookie:x=1": "/waiting",
	} {
		if p := b.Get("/sign-in?" + url.Values{"next": {next}}.Encode()); p.Status != http.StatusSeeOther || p.Location() != want {
			t.Errorf("%q: %d to %q, want %q", next, p.Status, p.Location(), want)
		}
	}
}

func TestAFormSentAfterTheEndIsNotCarriedOut(t *testing.T) {
	in := desktest.Install(t, desk.Config{})
	p := in.Browser().Post("/session", nil, "Referer", in.Server.URL+"/cases/x/7?sign=all")
	if p.Status != http.StatusSeeOther || p.Location() != "/sign-in?lost=1&next=%2Fcases%2Fx%2F7%3Fsign%3Dall" {
		t.Fatalf("%d to %s", p.Status, p.Location())
	}
	if p := in.Browser().Get(p.Location()); !strings.Contains(p.Body, "Nothing was done") || !strings.Contains(p.Body, `value="/cases/x/7?sign=all"`) {
		t.Errorf("the sign-in does not say so:\n%s", p.Body)
	}
	if p := in.Browser().Post("/session", nil, "Referer", "https://evil.example/x"); p.Location() != "/sign-in?lost=1" {
		t.Errorf("to %s", p.Location())
	}
}

func TestAResetDuringAChangeOfThePasswordEndsTheSession(t *testing.T) {
	t.Parallel()
	in := desktest.Install(t, desk.Config{})
	acc, sessions := in.Outbox.Accounts(), in.Desk.Sessions()
	s, cookie, err := sessions.Begin(t.Context(), desktest.User, "", "203.0.113.9")
	desktest.OK(t, err)
	desktest.OK(t, sessions.Renew(t.Context(), s, func() error {
		if err := acc.ChoosePassword(t.Context(), desktest.User, desktest.Password, "another horse battery", "203.0.113.9"); err != nil {
			return err
		}
		_, err := acc.ResetPassword(t.Context(), "ops", desktest.User) // by an operator, before the session has the new password
		return err
	}))
	if _, _, err := sessions.Resume(t.Context(), cookie, true); !errors.As(err, &session.EndedError{}) {
		t.Errorf("the session goes on with a password of an operator: %v", err)
	}
}

// An outbox that cannot be written, as on a full disk or while another process writes, loses
// no end of a session.
func TestTheEndOfASessionIsAuditedWhenThatIsPossibleAgain(t *testing.T) {
	t.Parallel()
	clock := desktest.NewClock()
	in := desktest.Install(t, desk.Config{Clock: clock.Now})
	b, other := in.SignedIn(desktest.User), in.SignedIn(desktest.OtherUser)
	writable := func(yes bool) {
		_, err := in.Outbox.DB().Writer.Exec(map[bool]string{false: "pragma query_only = on", true: "pragma query_only = off"}[yes])
		desktest.OK(t, err)
	}
	writable(false)
	signedOut := clock.Now()
	b.Post("/sign-out", nil)
	clock.Add(time.Minute)
	if got := in.Ends(desktest.User); len(got) != 0 {
		t.Fatalf("audited: %v", got)
	}
	writable(true)
	desktest.Eventually(t, "the end is audited", func() bool { return slices.Equal(in.Ends(desktest.User), []string{accounts.SessionSignedOut}) })
	desktest.OK(t, in.Outbox.Audit(t.Context(), outbox.AuditFilter{Action: "session.ended"}, func(e outbox.AuditEntry) error {
		if !e.Time.Equal(signedOut.Truncate(time.Microsecond)) {
			t.Errorf("audited at %s, ended at %s", e.Time, signedOut)
		}
		return nil
	}))

	writable(false)
	other.Post("/sign-out", nil)
	writable(true)
	in.EndSessions() // perhaps before the next attempt
	if got := in.Ends(desktest.OtherUser); !slices.Equal(got, []string{accounts.SessionSignedOut}) {
		t.Errorf("audited: %v", got)
	}
}
