package browsertest

import (
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/seed-e88a4ece/signoff/outbox/desk"
	"github.com/seed-e88a4ece/signoff/outbox/desk/desktest"
)

// The cookie of the session is kept, no script can read it, and it ends with the session.
func TestAPISignsInAndOutInABrowser(t *testing.T) {
	in := desktest.Install(t, desk.Config{})
	b := newTab(t, in.Server.URL)
	b.signedIn(desktest.User, "/waiting")
	if cookies := run(b, chromedp.Evaluate[string](`document.cookie`)); cookies != "" {
		t.Errorf("a script reads the cookie %q", cookies)
	}
	if text := b.text("header"); !strings.Contains(text, desktest.Name) {
		t.Errorf("the header is %q, without %s", text, desktest.Name)
	}
	if status := b.press("header button"); status != http.StatusOK || !strings.HasPrefix(b.path(), "/sign-in") {
		t.Errorf("the sign-out led to %s with %d", b.path(), status)
	}
	b.visit("/waiting")
	if got := b.path(); got != "/sign-in?next=%2Fwaiting" {
		t.Errorf("after the sign-out /waiting led to %s", got)
	}
	b.clean()
}

// What was typed is still there after a wrong password, but for the password.
func TestAWrongPasswordKeepsTheUserName(t *testing.T) {
	in := desktest.Install(t, desk.Config{})
	b := newTab(t, in.Server.URL)
	b.visit("/sign-in")
	if status := b.signIn(desktest.User, "not this one"); status != http.StatusUnauthorized {
		t.Errorf("status %d", status)
	}
	b.wait("[role=alert]")
	b.awaitFocus("problem")
	if user := b.value("#user"); user != desktest.User {
		t.Errorf("the user name is %q", user)
	}
	if password := b.value("#password"); password != "" {
		t.Errorf("the password is %q", password)
	}
	if title := run(b, chromedp.Title()); !strings.HasPrefix(title, "Error: ") {
		t.Errorf("the title is %q", title)
	}
	b.clean()
}

// The same without script and with the keyboard only.
func TestAPISignsInWithoutScriptByKeyboard(t *testing.T) {
	in := desktest.Install(t, desk.Config{})
	b := newTab(t, in.Server.URL, withoutScript)
	b.visit("/waiting")
	b.tabTo("#user")
	b.do(chromedp.KeyEvent(desktest.User))
	b.tabTo("#password")
	b.do(chromedp.KeyEvent(desktest.Password))
	if status := b.leads(keys(kb.Enter)); status != http.StatusOK || b.path() != "/waiting" {
		t.Errorf("the sign-in led to %s with %d", b.path(), status)
	}
	b.tabTo("header button")
	if b.leads(keys(kb.Enter)); !strings.HasPrefix(b.path(), "/sign-in") {
		t.Errorf("the sign-out led to %s", b.path())
	}
	b.clean()
}
