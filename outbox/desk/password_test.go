package desk_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/accounts"
	"github.com/seed-e88a4ece/signoff/outbox/desk"
	"github.com/seed-e88a4ece/signoff/outbox/desk/desktest"
	"github.com/seed-e88a4ece/signoff/outbox/desk/session"
)

const chosen = "purple monkey dishwasher"

// actions returns the actions of a PI in the audit trail, in order.
func actions(t *testing.T, in *desktest.Installation, user string) (all []string) {
	t.Helper()
	desktest.OK(t, in.Outbox.Audit(t.Context(), outbox.AuditFilter{Actor: user}, func(e outbox.AuditEntry) error {
		all = append(all, e.Action)
		return nil
	}))
	return all
}

func TestAOneTimePasswordOpensOnlyThePageOfThePassword(t *testing.T) {
	clock := desktest.NewClock()
	in := desktest.Install(t, desk.Config{Clock: clock.Now})
	oneTime, err := in.Outbox.Accounts().ResetPassword(t.Context(), "ops", desktest.User)
	desktest.OK(t, err)
	b := in.Browser()
	p := b.Post("/sign-in", url.Values{"user": {desktest.User}, "password": {oneTime}, "next": {"/signed"}})
	if p.Status != http.StatusSeeOther || p.Location() != "/password?next=%2Fsigned&one-time=1" || b.Cookie() != "" {
		t.Fatalf("sign-in: %d to %s", p.Status, p.Location())
	}
	if p := b.Get(p.Location()); p.Status != http.StatusOK || !strings.Contains(p.Body, "within 72 hours") || !strings.Contains(p.Body, `value="/signed"`) {
		t.Errorf("%d\n%s", p.Status, p.Body)
	}
	form := url.Values{"user": {desktest.User}, "present": {oneTime}, "password": {chosen}, "again": {chosen}, "next": {"/signed"}}

	clock.Add(accounts.OneTimeFor)
	if p := b.Post("/password", form); p.Status != http.StatusUnauthorized || !strings.Contains(p.Body, "has expired") || !strings.Contains(p.Body, `href="#present"`) {
		t.Errorf("after 72 hours: %d\n%s", p.Status, p.Body)
	}
	if oneTime, err = in.Outbox.Accounts().ResetPassword(t.Context(), "ops", desktest.User); err != nil {
		t.Fatal(err)
	}
	form.Set("present", oneTime)
	if p = b.Post("/password", form); p.Status != http.StatusSeeOther || b.Cookie() == "" {
		t.Fatalf("%d\n%s", p.Status, p.Body)
	}
	if p = b.Get(p.Location()); p.Location() != "/signed" {
		t.Errorf("then it leads to %s", p.Location())
	}
	if p := b.Get("/waiting"); p.Status != http.StatusOK {
		t.Errorf("the session: %d", p.Status)
	}
	all := actions(t, in, desktest.User)
	if n := len(all); n < 2 || !slices.Equal(all[n-2:], []string{"pi.password-set", "session.began"}) {
		t.Errorf("audited: %v", all)
	}
}

func TestAPasswordIsChanged(t *testing.T) {
	in := desktest.Install(t, desk.Config{Sessions: session.Config{Every: time.Millisecond}})
	b, elsewhere := in.SignedIn(desktest.User), in.SignedIn(desktest.User)
	form := func(present, password, again string) url.Values {
		return url.Values{"present": {present}, "password": {password}, "again": {again}}
	}
	for name, c := range map[string]struct {
		form        url.Values
		status      int
		field, text string
	}{
		"too short":              {form(desktest.Password, "short", "short"), 400, "password", "The new password must have at least 12 characters."},
		"common":                 {form(desktest.Password, "Welcome-2026", "Welcome-2026"), 400, "password", "The new password must not be common words with digits"},
		"of the user name":       {form(desktest.Password, "rivera-rivera-77", "rivera-rivera-77"), 400, "password", "The new password must not be made from the user name."},
		"the present one":        {form(desktest.Password, desktest.Password, desktest.Password), 400, "password", "The new password must differ from the last 5"},
		"not the same twice":     {form(desktest.Password, chosen, chosen+"x"), 400, "again", "not the same as the new password"},
		"wrong":                  {form("wrong", chosen, chosen), 401, "present", "The present password is wrong."},
		"of a user who is typed": {url.Values{"user": {desktest.OtherUser}, "present": {"wrong"}, "password": {chosen}, "again": {chosen}}, 401, "present", "For <b>rivera</b>"},
	} {
		p := b.Post("/password", c.form)
		if p.Status != c.status || !strings.Contains(p.Body, `href="#`+c.field+`"`) || !strings.Contains(p.Body, `id="`+c.field+`-error"`) || !strings.Contains(p.Body, c.text) {
			t.Errorf("%s: %d\n%s", name, p.Status, p.Body)
		}
		if strings.Contains(p.Body, chosen) || strings.Contains(p.Body, desktest.Password) {
			t.Errorf("%s: a password is on the page", name)
		}
	}
	p := b.Get("/password")
	if p.Status != http.StatusOK || !strings.Contains(p.Body, "<noscript><p class=\"help\">Send this form by ") {
		t.Errorf("the form: %d\n%s", p.Status, p.Body)
	}
	if p := elsewhere.Get("/waiting"); p.Status != http.StatusOK {
		t.Fatal(p.Status)
	}
	if p = b.Post("/password", form(desktest.Password, chosen, chosen)); p.Status != http.StatusSeeOther || p.Location() != "/password?changed=1" {
		t.Fatalf("%d\n%s", p.Status, p.Body)
	}
	desktest.Eventually(t, "the other session has ended, without a further request", func() bool {
		return slices.Equal(in.Ends(desktest.User), []string{accounts.SessionPassword})
	})
	if p := b.Get(p.Location()); p.Status != http.StatusOK || !strings.Contains(p.Body, "Your password is changed.") {
		t.Errorf("%d\n%s", p.Status, p.Body)
	}
	showsSignIn(t, elsewhere, "your password was changed")
	if _, err := in.Outbox.Accounts().Authenticate(t.Context(), desktest.User, chosen, "local"); err != nil {
		t.Error(err)
	}
}

func TestFiveWrongPasswordsLock(t *testing.T) {
	clock := desktest.NewClock()
	in := desktest.Install(t, desk.Config{Clock: clock.Now})
	t.Run("at the sign-in", func(t *testing.T) {
		b := in.Browser()
		form := url.Values{"user": {desktest.OtherUser}, "password": {"wrong"}}
		var p desktest.Page
		for range 5 {
			if p = b.Post("/sign-in", form); p.Status != http.StatusUnauthorized {
				t.Fatal(p.Status)
			}
		}
		if !strings.Contains(p.Body, "for the fifth time. It is locked on this computer for 15 minutes.") {
			t.Errorf("the fifth:\n%s", p.Body)
		}
		clock.Add(6 * time.Minute)
		form.Set("password", desktest.Password)
		if p = b.Post("/sign-in", form); p.Status != http.StatusTooManyRequests || p.Header.Get("Retry-After") != "540" || !strings.Contains(p.Body, "for 9 minutes") {
			t.Errorf("the sixth: %d, Retry-After %s\n%s", p.Status, p.Header.Get("Retry-After"), p.Body)
		}
	})
	t.Run("in a session, which ends", func(t *testing.T) {
		b, other := in.SignedIn(desktest.User), in.SignedIn(desktest.User)
		form := url.Values{"present": {"wrong"}, "password": {chosen}, "again": {chosen}}
		for range 4 {
			if p := b.Post("/password", form); p.Status != http.StatusUnauthorized {
				t.Fatal(p.Status)
			}
		}
		p := b.Post("/password", form)
		if p.Status != http.StatusSeeOther || p.Location() != "/sign-in?ended=lock" {
			t.Fatalf("the fifth: %d to %s", p.Status, p.Location())
		}
		if p := b.Get(p.Location()); !strings.Contains(p.Body, "after five wrong passwords") {
			t.Errorf("the sign-in does not say so:\n%s", p.Body)
		}
		if p := other.Get("/waiting"); p.Status != http.StatusOK {
			t.Errorf("the other session has ended: %d", p.Status)
		}
		if got := in.Ends(desktest.User); !slices.Equal(got, []string{accounts.SessionLocked}) {
			t.Errorf("audited: %v", got)
		}
		if p := other.Post("/password", form); p.Status != http.StatusTooManyRequests || p.Header.Get("Retry-After") != "900" {
			t.Errorf("in the other session: %d", p.Status)
		}
	})
	if _, err := in.Outbox.Accounts().Authenticate(t.Context(), desktest.User, desktest.Password, "127.0.0.1"); events.CodeOf(err) != events.Throttled {
		t.Error(err)
	}
}
