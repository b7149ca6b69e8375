package browsertest

import (
	"fmt"
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
	t.Parallel()
	const subject = "10081007"
	for _, way := range []struct {
		name   string
		before []step
	}{{"with script", nil}, {"without script", []step{withoutScript}}} {
		t.Run(way.name, func(t *testing.T) {
			t.Run("left alone", func(t *testing.T) {
				t.Parallel()
				// The session is long enough that a slow browser is not signed out before it shows
				// the page. The desk does not look for the end by itself: it would end the stream of
				// the page, and the browser would write on the console that it is refused another.
				in := desktest.Install(t, desk.Config{Sessions: session.Config{Idle: 10 * time.Second, Every: time.Hour}})
				in.Register(desktest.Agreeing(desktest.Study, 4, subject)...)
				b := newTab(t, in.Server.URL, way.before...)
				b.visit("/waiting")
				if status := b.signIn(desktest.User, desktest.Password); status != http.StatusOK {
					t.Fatalf("after the sign-in: %d", status)
				}
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

// The page warns before its session ends. The button keeps the session, and what was typed;
// at the end of the longest time there is none.
func TestThePIStaysSignedIn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		absolute time.Duration // from the sign-in
		last     bool          // whether the session can be kept no longer
	}{{"as long as the PI wants", 0, false}, {"for the last time", 20 * time.Minute, true}} {
		t.Run(c.name, func(t *testing.T) {
			clock := desktest.NewClock()
			in := desktest.Install(t, desk.Config{Clock: clock.Now, Sessions: session.Config{Absolute: c.absolute}})
			visits, id := contradicting(71)
			in.Register(visits...)
			in.Sign(visits[0].ID, visits[1].ID, visits[2].ID)
			b := newTab(t, in.Server.URL)
			b.signedIn(desktest.User, casePath(71))
			b.fill("#reason-"+id, why)
			b.alone(clock, 13*time.Minute+10*time.Second) // the test has almost two minutes to look at the warning
			b.wait("#session-ends")
			if text := b.text("#session-ends"); !strings.Contains(text, "You will be signed out at") || !strings.Contains(text, "UTC") {
				t.Errorf("the warning is\n%s", text)
			}
			b.do(chromedp.Click(chromedp.CSS("#session-ends button")))
			if c.last {
				b.eventually(false, "the page says that the session ends", contains("#session-ends", "The session cannot last longer."))
				if n := run(b, chromedp.Evaluate[int](`document.querySelectorAll("#session-ends button").length`)); n > 0 {
					t.Error("the session can be kept longer than it lasts")
				}
			} else {
				b.eventually(false, "the warning is gone", `!document.getElementById("session-ends")`)
			}
			if got := b.value("#reason-" + id); got != why {
				t.Errorf("the reason is %q, want what was typed", got)
			}
			if b.alone(clock, 5*time.Minute); b.visit("/waiting") != http.StatusOK || b.path() != "/waiting" {
				t.Errorf("18 minutes after the sign-in /waiting leads to %s", b.path())
			}
			if reasons := in.Ends(desktest.User); len(reasons) > 0 {
				t.Errorf("the session has ended: %q", reasons)
			}
			b.clean()
		})
	}
}

// alone leaves a page alone for a time, by the clock of the desk and that of the page.
func (b *tab) alone(clock *desktest.Clock, d time.Duration) {
	b.t.Helper()
	clock.Add(d)
	run(b, chromedp.Evaluate[any](fmt.Sprintf(`(() => {
		const before = Date.now;
		Date.now = () => before() + %d;
		document.dispatchEvent(new Event("visibilitychange"));
		return true;
	})()`, d.Milliseconds())))
}
