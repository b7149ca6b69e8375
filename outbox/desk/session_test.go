package desk_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/seed-e88a4ece/signoff/outbox/desk"
	"github.com/seed-e88a4ece/signoff/outbox/desk/desktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAPISignsInAndOut(t *testing.T) {
	in := desktest.Install(t, desk.Config{})
	in.Register(desktest.Case71(desktest.Study)...)
	b := in.Browser()
	if p := b.Get("/waiting"); p.Status != http.StatusSeeOther || p.Location() != "/sign-in?next=%2Fwaiting" {
		t.Errorf("without a session: %d to %q", p.Status, p.Location())
	}
	form := url.Values{"user": {desktest.User}, "password": {"wrong"}, "next": {"/waiting"}}
	if p := b.Post("/sign-in", form); p.Status != http.StatusUnauthorized || !strings.Contains(p.Body, `value="rivera"`) || strings.Contains(p.Body, `value="wrong"`) {
		t.Errorf("wrong password: %d\n%s", p.Status, p.Body)
	}
	form.Set("password", desktest.Password)
	p := b.Post("/sign-in", form)
	if p.Status != http.StatusSeeOther || p.Location() != "/waiting" {
		t.Fatalf("sign-in: %d to %q", p.Status, p.Location())
	}
	if cookie := p.Header.Get("Set-Cookie"); !strings.HasPrefix(cookie, "__Host-desk=") || !strings.HasSuffix(cookie, "; Path=/; HttpOnly; Secure; SameSite=Strict") {
		t.Errorf("cookie %q", cookie)
	}
	if p := b.Post("/sign-out", nil); p.Status != http.StatusSeeOther || p.Header.Get("Clear-Site-Data") != `"cache"` {
		t.Errorf("sign-out: %d %v", p.Status, p.Header)
	}
	if p := b.Get("/waiting"); p.Status != http.StatusSeeOther {
		t.Errorf("after the sign-out: %d", p.Status)
	}
}
