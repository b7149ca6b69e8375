package desk_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/seed-e88a4ece/signoff/outbox/accounts"
	"github.com/seed-e88a4ece/signoff/outbox/desk"
	"github.com/seed-e88a4ece/signoff/outbox/desk/desktest"
)

// changes are the ways by which a password ends, each with its line of the audit trail.
var changes = []struct {
	action string
	change func(*testing.T, *accounts.Accounts) error
}{
	{"pi.password-reset", func(t *testing.T, acc *accounts.Accounts) error {
		_, err := acc.ResetPassword(t.Context(), "ops", desktest.User)
		return err
	}},
	{"pi.password-set", func(t *testing.T, acc *accounts.Accounts) error {
		return acc.ChoosePassword(t.Context(), desktest.User, desktest.Password, chosen, "local")
	}},
	{"pi.disabled", func(t *testing.T, acc *accounts.Accounts) error {
		return acc.DisablePI(t.Context(), "ops", desktest.User)
	}},
}

func TestNothingIsSignedWithAPasswordThatEndsMeanwhile(t *testing.T) {
	t.Parallel()
	for _, c := range changes {
		t.Run(c.action, func(t *testing.T) {
			t.Parallel()
			in := desktest.Install(t, desk.Config{})
			in.Register(desktest.Agreeing(desktest.Study, 5, "01-704-1008")...)
			in.Sign("500")
			path, withdrawal := pathOfCase("5"), "/assessments/500/withdrawal"
			signer, withdrawer := in.SignedIn(desktest.User), in.SignedIn(desktest.User)
			typed := []string{"meaning", "own", "own", desktest.Meaning, "user", desktest.User, "password", desktest.Password}
			sign := with(form(t, signer.Get(path), path+"/sign-off"), typed...)
			withdraw := with(form(t, withdrawer.Get("/assessments/500"), withdrawal), append(typed, "reason", "wrong subject")...)
			before := len(audited(t, in, "assessment.signed"))

			var answer desktest.Page
			desktest.InFlight(t, in.Outbox, func() error { return c.change(t, in.Outbox.Accounts()) }, func() { answer = signer.Post(path+"/sign-off", sign) })
			if n := len(audited(t, in, "assessment.signed")); n != before {
				t.Errorf("%d assessments were signed after %s, answered %d to %q", n-before, c.action, answer.Status, answer.Location())
			}
			if !strings.HasPrefix(answer.Location(), "/sign-in?ended=") || !strings.Contains(answer.Location(), "lost=1") {
				t.Errorf("answered %d to %q\n%s", answer.Status, answer.Location(), answer.Body)
			}
			if refused := audited(t, in, "assessment.sign-refused"); len(refused) != 1 {
				t.Errorf("audited %v", refused)
			}
			if p := withdrawer.Post(withdrawal, withdraw); p.Status == http.StatusSeeOther && !strings.HasPrefix(p.Location(), "/sign-in") {
				t.Errorf("a report was withdrawn after %s: %d to %q", c.action, p.Status, p.Location())
			}
		})
	}
}

func TestNothingIsWithdrawnWithAPasswordThatEndsMeanwhile(t *testing.T) {
	t.Parallel()
	for _, c := range changes {
		t.Run(c.action, func(t *testing.T) {
			t.Parallel()
			in := desktest.Install(t, desk.Config{})
			in.Register(desktest.Agreeing(desktest.Study, 5, "01-704-1008")...)
			in.Sign("500")
			b, action := in.SignedIn(desktest.User), "/assessments/500/withdrawal"
			f := with(form(t, b.Get("/assessments/500"), action), "meaning", "own", "own", desktest.Meaning, "reason", "wrong subject",
				"user", desktest.User, "password", desktest.Password)
			var answer desktest.Page
			desktest.InFlight(t, in.Outbox, func() error { return c.change(t, in.Outbox.Accounts()) }, func() { answer = b.Post(action, f) })
			if lines := audited(t, in, "report.withdrawn"); len(lines) != 0 {
				t.Errorf("withdrawn after %s, answered %d to %q", c.action, answer.Status, answer.Location())
			}
		})
	}
}

// A sign-in takes as long as its password is compared, and the password may end meanwhile.
func TestNoSessionBeginsWithAPasswordThatEndsMeanwhile(t *testing.T) {
	t.Parallel()
	for _, c := range changes {
		t.Run(c.action, func(t *testing.T) {
			t.Parallel()
			in := desktest.Install(t, desk.Config{})
			b := in.Browser()
			var answer desktest.Page
			desktest.InFlight(t, in.Outbox, func() error { return c.change(t, in.Outbox.Accounts()) }, func() {
				answer = b.Post("/sign-in", url.Values{"user": {desktest.User}, "password": {desktest.Password}})
			})
			if answer.Status != http.StatusUnauthorized && c.action != "pi.password-reset" || b.Cookie() != "" {
				t.Errorf("answered %d to %q\n%s", answer.Status, answer.Location(), answer.Body)
			}
			if all := actions(t, in, desktest.User); slices.Contains(all, "session.began") {
				t.Errorf("the audit trail has %v", all)
			}
		})
	}
}
