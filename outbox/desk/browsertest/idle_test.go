package browsertest

import (
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/seed-e88a4ece/signoff/outbox/desk"
	"github.com/seed-e88a4ece/signoff/outbox/desk/desktest"
	"github.com/seed-e88a4ece/signoff/outbox/desk/session"
)

// A page that is left alone is replaced by the sign-in when the session ends, and Back does
// not show it again.
func TestAnIdleSessionEnds(t *testing.T) {
	in := desktest.Install(t, desk.Config{Sessions: session.Config{Idle: 3 * time.Second}})
	in.Register(desktest.Agreeing(desktest.Study, 4, "10081007")...)
	for name, before := range map[string][]step{"with script": nil, "without script": {withoutScript}} {
		t.Run(name, func(t *testing.T) {
			b := newTab(t, in.Server.URL, before...)
			b.signedIn(desktest.User, "/waiting")
			b.eventually(false, "the sign-in", `location.pathname === "/sign-in"`)
			if text := b.text("main"); !strings.Contains(text, "signed out after") {
				t.Errorf("the page is\n%s", text)
			}
			b.do(chromedp.NavigateBack())
			if text := b.text("main"); strings.Contains(text, "10081007") {
				t.Errorf("Back shows\n%s", text)
			}
			b.clean()
		})
	}
}
