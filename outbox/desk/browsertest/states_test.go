package browsertest

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/desk"
	"github.com/seed-e88a4ece/signoff/outbox/desk/desktest"
)

// state is a page in one of its states.
type state struct {
	name   string // of the subtest and of the pictures
	status int    // of the answer
	reach  func(b *tab) (status int)
}

// states are the states of the pages. All are reached in one installation, each in a tab with
// cookies of its own.
var states = []state{
	{"sign-in", http.StatusOK, visiting("/sign-in")},
	{"sign-in-idle", http.StatusOK, visiting("/sign-in?ended=idle")},
	{"sign-in-signed-out", http.StatusOK, func(b *tab) int {
		b.signedIn(desktest.User, "/waiting")
		return b.press("header button")
	}},
	{"sign-in-wrong", http.StatusUnauthorized, func(b *tab) int {
		b.visit("/sign-in")
		return b.signIn("nobody", "not this one")
	}},
	{"sign-in-locked", http.StatusTooManyRequests, func(b *tab) (status int) {
		b.visit("/sign-in")
		for range 6 {
			status = b.signIn("locked", "not this one")
		}
		return status
	}},
	{"not-found", http.StatusNotFound, visiting("/nothing")},
	{"not-found-signed-in", http.StatusNotFound, as(desktest.User, "/nothing")},
	{"method-not-allowed", http.StatusMethodNotAllowed, as(desktest.User, "/sign-out")},
	{"waiting", http.StatusOK, as(desktest.User, "/waiting")},
	{"waiting-none", http.StatusOK, as(desktest.OtherUser, "/waiting")},
	{"password", http.StatusOK, as(desktest.User, "/password")},
	{"password-one-time", http.StatusOK, visiting("/password?one-time=1")},
	{"case-contradiction", http.StatusOK, as(desktest.User, casePath(71))},
	{"case-refused", http.StatusBadRequest, func(b *tab) int {
		b.signedIn(desktest.User, casePath(71))
		return b.press("#sign-button")
	}},
	{"case-agrees", http.StatusOK, as(desktest.User, casePath(4))},
	{"case-all-visits", http.StatusOK, as(desktest.User, casePath(4)+"?sign=all")},
	{"case-signed", http.StatusOK, as(desktest.User, casePath(5))},
	{"case-withdrawn", http.StatusOK, as(desktest.User, casePath(6))},
	{"case-of-another-study", http.StatusNotFound, as(desktest.OtherUser, casePath(71))},
	{"assessment-waiting", http.StatusOK, as(desktest.User, "/assessments/7103")},
	{"assessment-signed", http.StatusOK, as(desktest.User, "/assessments/501")},
	{"assessment-withdrawn", http.StatusOK, as(desktest.User, "/assessments/601")},
	{"signed", http.StatusOK, as(desktest.User, "/signed")},
	{"studies", http.StatusOK, as(desktest.User, "/studies")},
	{"study", http.StatusOK, as(desktest.User, "/studies/"+events.StudyKey(desktest.Study))},
	{"history", http.StatusOK, as(desktest.User, "/history")},
	{"find-none", http.StatusOK, as(desktest.User, "/find?subject=0")},
	{"find-nothing-typed", http.StatusBadRequest, as(desktest.User, "/find?subject=")},
}

// Routes that the desk does not have yet.
const (
	showCase       = "GET /cases/{key}/{case}"
	showAssessment = "GET /assessments/{id}"
	postSignOff    = "POST /cases/{key}/{case}/sign-off"
)

// visiting reaches a page by its path, not signed in.
func visiting(path string) func(*tab) int {
	return func(b *tab) int { return b.visit(path) }
}

// as reaches a page by its path, signed in.
func as(user, path string) func(*tab) int {
	return func(b *tab) int {
		b.signedIn(user, "/waiting")
		return b.visit(path)
	}
}

// In each state, light and dark, wide and narrow, axe-core finds nothing; nothing is written
// on the console, no request leaves the host, and a narrow window need not be scrolled
// sideways.
func TestEachStateOfEachPage(t *testing.T) {
	in := desktest.Install(t, desk.Config{})
	visits, _ := contradicting(71)
	in.Register(visits...)
	in.Sign(visits[0].ID, visits[1].ID, visits[2].ID)
	in.Register(desktest.Agreeing(desktest.Study, 4, "10081007")...)
	in.Register(desktest.Agreeing(desktest.Study, 5, "10081008")...)
	in.Sign("500", "501")
	in.Register(desktest.Agreeing(desktest.Study, 6, "10081009")...)
	in.Sign("600", "601")
	_, err := in.Outbox.Withdraw(t.Context(), outbox.Withdrawal{User: desktest.User, ID: "601", Meaning: "I withdraw this assessment.", Reason: withdrawn})
	desktest.OK(t, err)
	for _, s := range states {
		t.Run(s.name, func(t *testing.T) {
			switch page, _, _ := strings.Cut(s.name, "-"); page {
			case "case":
				needs(t, in, showCase)
			case "assessment":
				needs(t, in, showAssessment)
			}
			b := newTab(t, in.Server.URL)
			if status := s.reach(b); status != s.status {
				t.Fatalf("status %d, want %d", status, s.status)
			}
			b.view(320, "light")
			if n := b.overflow(); n > 0 {
				t.Errorf("a window of 320 pixels is too narrow by %d", n)
			}
			b.clean()
			b.loadAxe()
			for _, scheme := range []string{"light", "dark"} {
				for _, width := range []int64{390, 1440} {
					b.view(width, scheme)
					b.screenshot(fmt.Sprintf("%s-%s-%d", s.name, scheme, width))
					for _, v := range b.violations() {
						t.Errorf("%s, %d wide: %s", scheme, width, v)
					}
				}
			}
		})
	}
}

// The checks of TestEachStateOfEachPage find what they look for.
func TestTheChecksFindProblems(t *testing.T) {
	in := desktest.Install(t, desk.Config{})
	b := newTab(t, in.Server.URL)
	b.visit("/sign-in")
	run(b, chromedp.Evaluate[any](`(async () => {
		document.querySelector("main").insertAdjacentElement("beforeend", document.createElement("img"));
		const wide = document.createElement("div");
		wide.id = "wide";
		document.querySelector("main").append(wide);
		wide.style.width = "500px"; // by script, which the policy allows
		const style = document.createElement("style");
		style.textContent = "body { color: red }";
		document.head.append(style);
		await fetch("https://elsewhere.example/").catch(() => {});
		return true;
	})()`, chromedp.EvalAwaitPromise))
	b.view(320, "light")
	if b.overflow() <= 0 {
		t.Error("a part that is 500 pixels wide fits into 320")
	}
	for _, want := range []string{"style-src", "connect-src"} {
		if found := strings.Join(b.complaints(), "\n"); !strings.Contains(found, want) {
			t.Errorf("what breaks %s is not on the console:\n%s", want, found)
		}
	}
	b.loadAxe()
	if found := strings.Join(b.violations(), "\n"); !strings.Contains(found, "image-alt: img") {
		t.Errorf("axe-core does not find the picture without a text:\n%s", found)
	}
}
