package outbox_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/accounts"
)

func TestOneTimePasswords(t *testing.T) {
	const here = "192.0.2.1"
	ctx := t.Context()
	signIn := func(d *testOutbox, password string) error {
		_, err := d.Accounts().Authenticate(ctx, "dr.a", password, here)
		return err
	}
	choose := func(d *testOutbox, present, password string) error {
		return d.Accounts().ChoosePassword(ctx, "dr.a", present, password, here)
	}
	// of returns an outbox in which dr.a has a one-time password, by either way.
	of := map[string]func(t *testing.T) (*testOutbox, string){
		"of a PI who is added": func(t *testing.T) (*testOutbox, string) {
			d := newOutbox(t, "dr.b")
			ok(t, d.Accounts().AddPI(ctx, operator, "dr.a", "A", []string{study}, "for the first time only"))
			return d, "for the first time only"
		},
		"after a reset": func(t *testing.T) (*testOutbox, string) {
			d := newOutbox(t)
			return d, must(d.Accounts().ResetPassword(ctx, operator, "dr.a"))(t)
		},
	}
	for name, begin := range of {
		t.Run(name+" open the choice of another, and nothing else", func(t *testing.T) {
			d, oneTime := begin(t)
			for range 6 { // is no guess, and locks nobody
				wantCode(t, signIn(d, oneTime), events.Forbidden)
			}
			wantCode(t, signIn(d, password), events.Unauthenticated)
			wantCode(t, choose(d, "not the password", password), events.Unauthenticated)
			ok(t, choose(d, oneTime, "a password of my own"))
			ok(t, signIn(d, "a password of my own"))
			wantCode(t, signIn(d, oneTime), events.Unauthenticated)
			wantCode(t, choose(d, oneTime, "one more password than that"), events.Unauthenticated)
		})
		t.Run(name+" end after 72 hours", func(t *testing.T) {
			d, oneTime := begin(t)
			d.clock.advance(72 * time.Hour)
			wantCode(t, choose(d, oneTime, "a password of my own"), events.Expired)
			wantCode(t, signIn(d, oneTime), events.Forbidden)
			again := must(d.Accounts().ResetPassword(ctx, operator, "dr.a"))(t)
			d.clock.advance(72*time.Hour - time.Second)
			ok(t, choose(d, again, "a password of my own"))
			d.clock.advance(1000 * time.Hour)
			ok(t, signIn(d, "a password of my own"))
		})
	}
	t.Run("are random, and their use is audited", func(t *testing.T) {
		d := newOutbox(t)
		first := must(d.Accounts().ResetPassword(ctx, operator, "dr.a"))(t)
		second := must(d.Accounts().ResetPassword(ctx, operator, "dr.a"))(t)
		if first == second || len(first) < 26 {
			t.Errorf("%q, %q", first, second)
		}
		wantCode(t, signIn(d, first), events.Unauthenticated)
		ok(t, choose(d, second, "a password of my own"))
		var lines []string
		ok(t, d.Audit(ctx, outbox.AuditFilter{Subject: "dr.a"}, func(e outbox.AuditEntry) error {
			lines = append(lines, e.Actor+" "+e.Action)
			if text := string(e.Detail); strings.Contains(text, first) || strings.Contains(text, second) {
				t.Errorf("%s", text)
			}
			return nil
		}))
		want := "ops pi.added, dr.a pi.password-set, ops pi.password-reset, ops pi.password-reset,  sign-in.failed, dr.a pi.password-set"
		if got := strings.Join(lines, ", "); got != want {
			t.Error(got)
		}
	})
	t.Run("are not chosen by two at once", func(t *testing.T) {
		d, oneTime := of["after a reset"](t)
		ok(t, choose(d, oneTime, "a password of my own"))
		wantCode(t, choose(openAgain(t, d), oneTime, "another one of my own"), events.Unauthenticated)
	})
}

func TestPasswordsThatMayNotBeChosen(t *testing.T) {
	ctx := t.Context()
	t.Run("for what they are", func(t *testing.T) {
		d := newOutbox(t)
		for _, weak := range []string{
			"elevenchars", strings.Repeat("x", 2000), "\xff\xfe\xfd" + password,
			"rivera.alice", "alice.rivera-2026", "Rivera.Alice!!1", "arevir.ecila42", // of the user rivera.alice
			"aaaaaaaaaaaaaaaa", "abababababababab", "xkqxkqxkqxkq", "Troub4&Troub4&Troub4&", "abcabcabcabca",
			"abcdefghijklmnop", "1234567890123456", "qwertyuiopasdf", "abcdef123456", "987654321zyxwv", "aaaabbbbccccdddd",
			"Password2026!", "passwordpassword1", "P@$$w0rd-2026", "Welcome-Summer-26", "letmein123987", "Radiology!20267", "0ncology-4711",
		} {
			err := d.Accounts().AddPI(ctx, operator, "rivera.alice", "Alice Rivera", nil, weak)
			var refusal *events.Error
			if !errors.As(err, &refusal) || refusal.Code != events.Invalid || refusal.Field != "password" {
				t.Errorf("%.40q: %v", weak, err)
			}
		}
		ok(t, d.Accounts().AddPI(ctx, operator, "rivera.alice", "Alice Rivera", nil, "for the first time only"))
		present := "for the first time only"
		for i, good := range []string{
			"correct horse battery", "tr0mbone-Kafka-38", "eight monkeys at the river", "9f$Kx!72pQ#z", "ドクターの長い合言葉です。", "JZ3QK7WVXN2HB4TLMD6PRA5YCE",
		} {
			ok(t, d.Accounts().ChoosePassword(ctx, "rivera.alice", present, good, fmt.Sprint("192.0.2.", i)))
			present = good
		}
	})
	t.Run("but not for a length that only their decomposed form has", func(t *testing.T) {
		d := newOutbox(t)
		var long strings.Builder
		random := rand.New(rand.NewPCG(1, 2))
		for range 400 { // 3 bytes each, 2 in the normal form
			long.WriteString(string("aeiou"[random.IntN(5)]) + "\u0308")
		}
		ok(t, d.Accounts().AddPI(ctx, operator, "rivera.alice", "Alice Rivera", nil, "for the first time only"))
		ok(t, d.Accounts().ChoosePassword(ctx, "rivera.alice", "for the first time only", long.String(), "local"))
		must(d.Accounts().Authenticate(ctx, "rivera.alice", long.String(), "local"))(t)
	})
	t.Run("because they were among the last five", func(t *testing.T) {
		d := newOutbox(t)
		chosen := []string{password} // hashing takes its time, so only the ends of the five are tried
		choose := func(p string) error {
			return d.Accounts().ChoosePassword(ctx, "dr.a", chosen[len(chosen)-1], p, "local")
		}
		for i := range 5 {
			if i == 4 {
				wantCode(t, choose(chosen[0]), events.Invalid)
				wantCode(t, choose(chosen[4]), events.Invalid)
			}
			next := fmt.Sprint("a password of my own, number ", i)
			ok(t, choose(next))
			chosen = append(chosen, next)
		}
		ok(t, choose(chosen[0])) // the sixth last
		oneTime := must(d.Accounts().ResetPassword(ctx, operator, "dr.a"))(t)
		for _, former := range []string{chosen[2], chosen[0], oneTime} { // a reset does not make them good
			wantCode(t, d.Accounts().ChoosePassword(ctx, "dr.a", oneTime, former, "local"), events.Invalid)
		}
		ok(t, d.Accounts().ChoosePassword(ctx, "dr.a", oneTime, chosen[1], "local"))
	})
}

func TestUserNamesDifferInMoreThanCase(t *testing.T) {
	d := newOutbox(t, "dr.a")
	wantCode(t, d.Accounts().AddPI(t.Context(), operator, "DR.A", "Another", nil, "for the first time only"), events.Conflict)
	if _, err := d.DB().Writer.Exec(`insert into people ("user", name, password) values ('Dr.A', 'Another', '')`); err == nil {
		t.Error("the database takes it")
	}
	wantCode(t, func() error {
		_, err := d.Accounts().Authenticate(t.Context(), "DR.A", password, "local")
		return err
	}(), events.Unauthenticated)
}

func TestTheLastSignInAndResetAreShown(t *testing.T) {
	d := newOutbox(t)
	ctx := t.Context()
	added := d.clock.now()
	signIn := func(password, address string) accounts.PI {
		t.Helper()
		return must(d.Accounts().Authenticate(ctx, "dr.a", password, address))(t)
	}
	if pi := signIn(password, "192.0.2.1"); pi.LastSignIn != (accounts.LastSignIn{}) || !pi.LastReset.Equal(added) {
		t.Errorf("at first: %+v", pi)
	}
	d.clock.advance(time.Hour)
	d = openAgain(t, d)
	if pi := signIn(password, "192.0.2.2"); pi.LastSignIn != (accounts.LastSignIn{Time: added, Address: "192.0.2.1"}) {
		t.Errorf("then: %+v", pi)
	}
	oneTime := must(d.Accounts().ResetPassword(ctx, operator, "dr.a"))(t)
	ok(t, d.Accounts().ChoosePassword(ctx, "dr.a", oneTime, "a password of my own", "192.0.2.3"))
	if pi := signIn("a password of my own", "192.0.2.3"); pi.LastSignIn != (accounts.LastSignIn{Time: added.Add(time.Hour), Address: "192.0.2.2"}) || !pi.LastReset.Equal(d.clock.now()) {
		t.Errorf("after a reset: %+v", pi)
	}
}

// An operator who has set a password could have signed with it.
func TestSignaturesSoonAfterAResetAreMarked(t *testing.T) {
	d := newOutbox(t)
	ctx := t.Context()
	d.clock.advance(100 * time.Hour)
	d.register(assessment("1", 1, 1, 1), assessment("2", 2, 1, 1), assessment("3", 3, 1, 1))
	d.sign("1")
	oneTime := must(d.Accounts().ResetPassword(ctx, operator, "dr.a"))(t)
	reset := events.FormatTime(d.clock.now())
	ok(t, d.Accounts().ChoosePassword(ctx, "dr.a", oneTime, "a password of my own", "local"))
	d.clock.advance(72*time.Hour - time.Second)
	d.sign("2")
	must(d.withdrawAs("dr.a", "2", "mistaken"))(t)
	d.clock.advance(time.Second)
	d.sign("3")
	must(d.withdrawAs("dr.a", "3", "mistaken"))(t)
	want := []string{"1 ", "2 " + reset, "2 " + reset, "3 ", "3 "}
	var got []string
	ok(t, d.Audit(ctx, outbox.AuditFilter{Study: study}, func(e outbox.AuditEntry) error {
		if e.Action != "assessment.signed" && e.Action != "report.withdrawn" {
			return nil
		}
		var detail struct{ PasswordReset string }
		err := json.Unmarshal(e.Detail, &detail)
		got = append(got, e.Subject+" "+detail.PasswordReset)
		return err
	}))
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("%q, want %q", got, want)
	}
}
