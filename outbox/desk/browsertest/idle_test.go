package browsertest

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/seed-e88a4ece/signoff/outbox/desk"
	"github.com/seed-e88a4ece/signoff/outbox/desk/desktest"
	"github.com/seed-e88a4ece/signoff/outbox/desk/session"
)

// A page that is left alone is replaced by the sign-in when the session ends. After that, and
// after a sign-out, Back shows no page of the session, also if the browser keeps pages.
func TestNothingIsShownAfterTheEndOfASession(t *testing.T) {
	const subject = "10081007"
	for _, way := range []struct {
		name   string
		before []step
	}{{"with script", nil}, {"without script", []step{withoutScript}}} {
		t.Run(way.name, func(t *testing.T) {
			t.Run("left alone", func(t *testing.T) {
				in := desktest.Install(t, desk.Config{Sessions: session.Config{Idle: 5 * time.Second}})
				in.Register(desktest.Agreeing(desktest.Study, 4, subject)...)
				b := newTab(t, in.Server.URL, way.before...)
				b.signedIn(desktest.User, "/waiting")
				b.eventually(false, "the sign-in", `location.pathname === "/sign-in"`)
				b.wait("#user")
				if text := b.text("main"); !strings.Contains(text, "signed out after") {
					t.Errorf("the page is\n%s", text)
				}
				b.back(subject)
				b.clean()
			})
			t.Run("signed out", func(t *testing.T) {
				in := desktest.Install(t, desk.Config{})
				in.Register(desktest.Agreeing(desktest.Study, 4, subject)...)
				b := newTab(t, in.Server.URL, way.before...)
				b.signedIn(desktest.User, "/waiting")
				b.expect(b.press("header form button"), http.StatusOK, "/sign-in")
				b.back(subject)
				b.clean()
			})
		})
	}
}

// back goes back in the history of the tab, and fails the test if that shows a text.
func (b *tab) back(secret string) {
	b.t.Helper()
	history := run(b, chromedp.NavigationEntries())
	before := history.Entries[history.CurrentIndex-1].URL
	b.eventually(false, "the style sheets are loaded", `document.readyState === "complete"`)
	run(b, chromedp.Evaluate[any](`history.back(); true`))
	b.eventually(false, "the page before "+before, `location.search !== "?ended=idle" && document.readyState === "complete"`)
	if text := b.text("main"); strings.Contains(text, secret) {
		b.t.Errorf("Back to %s shows\n%s", before, text)
	}
}
