package browsertest

import (
	"database/sql"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/desk"
	"github.com/seed-e88a4ece/signoff/outbox/desk/desktest"
)

// The pages of errors, and of a clock that is wrong, are each reached as a PI would meet
// them, and pass the checks of TestEachStateOfEachPage.
func TestPagesOfFailures(t *testing.T) {
	for _, s := range []struct {
		name   string // of the subtest and of the pictures
		status int
		texts  []string // of the page

		// reach opens an installation and the page, and returns the status of the answer.
		reach func(t *testing.T) (b *tab, status int)
	}{
		{"failure-403", http.StatusForbidden, []string{"You may not do this", "Nothing was done", "--desk-url"}, sentFromElsewhere},
		{"failure-421", http.StatusMisdirectedRequest, []string{"This is not the server that was asked", "whether your browser uses a proxy"}, misdirected},
		{"failure-429", http.StatusTooManyRequests, []string{"Too many attempts", "you are signed out", "Nothing was signed", "Try again in 15 minutes"}, lockedAtSigning},
		{"failure-500", http.StatusInternalServerError, []string{"Something went wrong in the program", "look at the case before you send it again", "this number"}, closedOutbox},
		{"failure-503", http.StatusServiceUnavailable, []string{"Not available at the moment", "look at the case before you send it again", desktest.Name}, busyOutbox},
		{"case-clock-refused", http.StatusConflict, []string{"Nothing was signed, because the clock of the server is wrong", "The operator of the server can help"}, clockBehindAtSigning},
		{"assessment-clock-refused", http.StatusConflict, []string{"Nothing was withdrawn, because the clock of the server is wrong", "The operator of the server can help"}, clockBehindAtWithdrawal},
	} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			b, status := s.reach(t)
			text := b.text("body")
			if status != s.status {
				t.Fatalf("status %d, want %d:\n%s", status, s.status, text)
			}
			for _, want := range s.texts {
				if !strings.Contains(text, want) {
					t.Errorf("the page lacks %q:\n%s", want, text)
				}
			}
			b.check(s.name)
		})
	}
}

// sentFromElsewhere sends a form of the desk from a page that is not of the desk.
func sentFromElsewhere(t *testing.T) (*tab, int) {
	in := desktest.Install(t, desk.Config{})
	b := newTab(t, in.Server.URL) // shows an empty page, which has no origin
	return b, b.leads(chromedp.Evaluate[chromedp.Void](`(() => {
		const form = document.createElement("form");
		form.method = "post";
		form.action = "` + in.Server.URL + `/sign-out";
		document.body.append(form);
		form.submit();
		return {};
	})()`))
}

// misdirected asks a proxy, which sends the request to the desk as if the desk were a proxy
// for another host.
func misdirected(t *testing.T) (*tab, int) {
	in := desktest.Install(t, desk.Config{})
	self, err := url.Parse(in.Server.URL)
	desktest.OK(t, err)
	transport := in.Server.Client().Transport.(*http.Transport).Clone()
	transport.Proxy = http.ProxyURL(self)
	proxy := httptest.NewTLSServer(&httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "http", "elsewhere.example" },
		Transport: transport,
	})
	t.Cleanup(transport.CloseIdleConnections)
	t.Cleanup(proxy.Close)
	b := newTab(t, proxy.URL)
	return b, b.visit("/sign-in")
}

// lockedAtSigning signs with a wrong password once too often.
func lockedAtSigning(t *testing.T) (b *tab, status int) {
	_, b = waitingCase(t, outbox.Config{}, nil)
	b.visit(casePath(4))
	for range 5 {
		status = b.sign("not this one")
	}
	return b, status
}

// closedOutbox asks for a page of a program whose outbox is closed.
func closedOutbox(t *testing.T) (*tab, int) {
	in, b := waitingCase(t, outbox.Config{}, nil)
	b.visit("/password") // which follows no stream
	desktest.OK(t, in.Outbox.Close())
	return b, b.visit(casePath(4))
}

// busyOutbox signs while another process writes to the file of the outbox, and goes on for
// longer than the desk waits.
func busyOutbox(t *testing.T) (*tab, int) {
	in, b := waitingCase(t, outbox.Config{}, nil)
	b.visit(casePath(4))
	other, err := sql.Open("sqlite3", "file:"+in.Path+"?_txlock=immediate")
	desktest.OK(t, err)
	defer other.Close()
	tx, err := other.BeginTx(t.Context(), nil)
	desktest.OK(t, err)
	defer func() { _ = tx.Rollback() }()
	return b, b.sign(desktest.Password)
}

// clockBehindAtSigning signs when the clock shows an earlier time than that of the last
// signature.
func clockBehindAtSigning(t *testing.T) (*tab, int) {
	clock := desktest.NewClock()
	in, b := waitingCase(t, outbox.Config{CheckClock: true}, clock)
	in.Sign("400")
	b.visit(casePath(4))
	clock.Add(-10 * time.Minute)
	return b, b.sign(desktest.Password)
}

// clockBehindAtWithdrawal withdraws then.
func clockBehindAtWithdrawal(t *testing.T) (*tab, int) {
	clock := desktest.NewClock()
	in, b := waitingCase(t, outbox.Config{CheckClock: true}, clock)
	in.Sign("400")
	b.visit("/assessments/400")
	clock.Add(-10 * time.Minute)
	b.do(chromedp.Click(chromedp.CSS(".withdraw summary")))
	b.fill("#withdraw-reason", withdrawn)
	b.do(chromedp.Click(chromedp.CSS(`.withdraw input[name="meaning"]`)))
	b.fill("#withdraw-user", desktest.User)
	b.fill("#withdraw-password", desktest.Password)
	return b, b.press(".withdraw form button")
}

// waitingCase opens an installation in which case 4 waits, and a tab that is signed in. A
// clock that is nil is that of the machine.
func waitingCase(t *testing.T, of outbox.Config, clock *desktest.Clock) (*desktest.Installation, *tab) {
	t.Helper()
	cfg := desk.Config{}
	if clock != nil {
		cfg.Clock = clock.Now
	}
	in := desktest.InstallWith(t, cfg, of)
	in.Register(desktest.Agreeing(desktest.Study, 4, "10081007")...)
	b := newTab(t, in.Server.URL)
	b.signedIn(desktest.User, "/waiting")
	return in, b
}
