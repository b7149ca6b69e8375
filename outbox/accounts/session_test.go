package accounts_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/accounts"
)

func TestStanding(t *testing.T) {
	d := newOutbox(t)
	standing := func() accounts.Standing {
		t.Helper()
		return must(d.Accounts().Standing(t.Context(), "dr.a"))(t)
	}
	seen := map[string]string{}
	changes := func(what string) {
		t.Helper()
		s := standing()
		if before, again := seen[s.Credential]; again {
			t.Errorf("after %s the credential is that of after %s", what, before)
		}
		seen[s.Credential] = what
	}
	first := standing()
	if first.OneTime || first.Disabled || first.Name != "Printed dr.a" || !cmp.Equal(first.Studies, []string{study}) {
		t.Errorf("%+v", first)
	}
	changes("the start")
	ok(t, d.Accounts().ChoosePassword(t.Context(), "dr.a", password, "tr0mbone-Kafka-38", "local"))
	changes("a choice")
	ok(t, d.Accounts().ChoosePassword(t.Context(), "dr.a", "tr0mbone-Kafka-38", "9f$Kx!72pQ#z", "local"))
	changes("another choice at the same time")
	must(d.Accounts().ResetPassword(t.Context(), operator, "dr.a"))(t)
	changes("a reset")
	if !standing().OneTime {
		t.Error("a one-time password is not named")
	}
	d.clock.advance(time.Minute)
	oneTime := must(d.Accounts().ResetPassword(t.Context(), operator, "dr.a"))(t)
	changes("another reset")
	ok(t, d.Accounts().ChoosePassword(t.Context(), "dr.a", oneTime, "eight monkeys at the river", "local"))
	changes("the choice after the reset")

	before := standing()
	ok(t, d.Accounts().GrantPI(t.Context(), operator, "dr.a", "OTHER"))
	must(d.Accounts().Authenticate(t.Context(), "dr.a", "eight monkeys at the river", "192.0.2.1"))(t)
	after := standing()
	if after.Credential != before.Credential || len(after.Studies) != 2 || after.LastSignIn.Address == "" {
		t.Errorf("%+v", after)
	}
	ok(t, d.Accounts().DisablePI(t.Context(), operator, "dr.a"))
	if !standing().Disabled {
		t.Error("not disabled")
	}
	_, err := d.Accounts().Standing(t.Context(), "dr.x")
	wantCode(t, err, events.Unauthenticated)
}

func TestSessionsAreAudited(t *testing.T) {
	d := newOutbox(t)
	ok(t, d.Accounts().SessionBegan(t.Context(), "dr.a", "", "192.0.2.1:4711"))
	d.clock.advance(time.Minute)
	ok(t, d.Accounts().SessionEnded(t.Context(), "dr.a", "192.0.2.1", accounts.SessionIdle, d.clock.now()))
	wantCode(t, d.Accounts().SessionBegan(t.Context(), "dr.x", "", "192.0.2.1"), events.NotFound)
	var got []string
	ok(t, d.Audit(t.Context(), outbox.AuditFilter{Action: "session"}, func(e outbox.AuditEntry) error {
		got = append(got, e.Time.Format("15:04 ")+e.Actor+" "+e.Action+" "+e.Subject+" "+e.Address+" "+string(e.Detail))
		return nil
	}))
	want := []string{"12:00 dr.a session.began dr.a 192.0.2.1 {}", `12:01 dr.a session.ended dr.a 192.0.2.1 {"reason":"idle"}`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestACredentialIsOfThePasswordThatWasChecked(t *testing.T) {
	d := newOutbox(t)
	acc := d.Accounts()
	pi := must(acc.Authenticate(t.Context(), "dr.a", password, "192.0.2.1"))(t)
	if s := must(acc.Standing(t.Context(), "dr.a"))(t); pi.Credential == "" || pi.Credential != s.Credential {
		t.Errorf("the credential is %q, that of the standing %q", pi.Credential, s.Credential)
	}
	ok(t, acc.SessionBegan(t.Context(), "dr.a", pi.Credential, "192.0.2.1"))
	ok(t, acc.ChoosePassword(t.Context(), "dr.a", password, "tr0mbone-Kafka-38", "local"))
	wantCode(t, acc.SessionBegan(t.Context(), "dr.a", pi.Credential, "192.0.2.1"), events.Unauthenticated)
	pi = must(acc.Authenticate(t.Context(), "dr.a", "tr0mbone-Kafka-38", "192.0.2.1"))(t)
	ok(t, acc.SessionBegan(t.Context(), "dr.a", pi.Credential, "192.0.2.1"))
	ok(t, acc.DisablePI(t.Context(), operator, "dr.a"))
	wantCode(t, acc.SessionBegan(t.Context(), "dr.a", pi.Credential, "192.0.2.1"), events.Unauthenticated)
}

func TestAPasswordIsCheckedAgainAfterTheClockWasSetBack(t *testing.T) {
	d := newOutbox(t)
	for range 2 {
		must(d.Accounts().Authenticate(t.Context(), "dr.a", password, "192.0.2.1"))(t)
		if s := must(d.Accounts().Standing(t.Context(), "dr.a"))(t); !s.LastSignIn.Time.Equal(d.clock.now()) {
			t.Errorf("the last sign-in is recorded at %s, at %s", s.LastSignIn.Time, d.clock.now())
		}
		d.clock.advance(-24 * time.Hour)
	}
}
