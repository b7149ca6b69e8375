package accounts_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/accounts"
	"github.com/seed-e88a4ece/signoff/outbox/accounts/accountstest"
)

func TestPeople(t *testing.T) {
	d := newOutbox(t)
	ctx := t.Context()
	t.Run("are listed with what they may sign", func(t *testing.T) {
		ok(t, d.Accounts().GrantPI(ctx, operator, "dr.a", "B"))
		ok(t, d.Accounts().GrantPI(ctx, operator, "dr.a", "B"))
		ok(t, accountstest.AddPI(ctx, d.Accounts(), operator, "dr.b", "B. Bee", nil, password))
		ok(t, d.Accounts().DisablePI(ctx, operator, "dr.b"))
		ok(t, d.Accounts().DisablePI(ctx, operator, "dr.b"))
		want := []accounts.PI{
			{User: "dr.a", Name: "Printed dr.a", Studies: []string{"B", study}},
			{User: "dr.b", Name: "B. Bee", Studies: []string{}, Disabled: true},
		}
		if diff := cmp.Diff(want, must(d.Accounts().PIs(ctx))(t), cmpopts.IgnoreFields(accounts.PI{}, "LastReset", "Credential")); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("never get a user name that was used", func(t *testing.T) {
		wantCode(t, d.Accounts().AddPI(ctx, operator, "dr.b", "Another", nil, password), events.Conflict)
	})
	t.Run("are refused where they are malformed or unknown", func(t *testing.T) {
		for name, got := range map[string]error{
			"user":     d.Accounts().AddPI(ctx, operator, "dr x", "Name", nil, password),
			"name":     d.Accounts().AddPI(ctx, operator, "dr.x", "", nil, password),
			"study":    d.Accounts().AddPI(ctx, operator, "dr.x", "Name", []string{"_access"}, password),
			"short":    d.Accounts().AddPI(ctx, operator, "dr.x", "Name", nil, "elevenchars"),
			"long":     d.Accounts().AddPI(ctx, operator, "dr.x", "Name", nil, strings.Repeat("x", 2000)),
			"operator": d.Accounts().AddPI(ctx, "", "dr.x", "Name", nil, password),
			"grant":    d.Accounts().GrantPI(ctx, operator, "dr.a", ""),
		} {
			if !errors.Is(got, events.Invalid) {
				t.Errorf("%s: %v", name, got)
			}
		}
		for name, got := range map[string]error{
			"grant":    d.Accounts().GrantPI(ctx, operator, "dr.x", "B"),
			"revoke":   d.Accounts().RevokePI(ctx, operator, "dr.x", "B"),
			"revoke 2": d.Accounts().RevokePI(ctx, operator, "dr.a", "C"),
			"password": resetError(d, "dr.x"),
			"disable":  d.Accounts().DisablePI(ctx, operator, "dr.x"),
		} {
			if !errors.Is(got, events.NotFound) {
				t.Errorf("%s: %v", name, got)
			}
		}
	})
}

func resetError(d *testOutbox, user string) error {
	_, err := d.Accounts().ResetPassword(d.t.Context(), operator, user)
	return err
}

func TestAuthenticate(t *testing.T) {
	const here, there = "192.0.2.1", "192.0.2.2"
	wrong := func(d *testOutbox, user, address string) error {
		_, err := d.Accounts().Authenticate(d.t.Context(), user, "not the password", address)
		return err
	}
	right := func(d *testOutbox, address string) error {
		_, err := d.Accounts().Authenticate(d.t.Context(), "dr.a", password, address)
		return err
	}
	t.Run("knows a PI", func(t *testing.T) {
		d := newOutbox(t)
		pi := must(d.Accounts().Authenticate(t.Context(), "dr.a", password, here))(t)
		if diff := cmp.Diff(accounts.PI{User: "dr.a", Name: "Printed dr.a", Studies: []string{study}, LastReset: d.clock.now()}, pi, cmpopts.IgnoreFields(accounts.PI{}, "Credential")); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("answers alike for whatever is wrong", func(t *testing.T) {
		d := newOutbox(t, "dr.a", "dr.b")
		ok(t, d.Accounts().DisablePI(t.Context(), operator, "dr.b"))
		_, disabled := d.Accounts().Authenticate(t.Context(), "dr.b", password, here)
		for _, err := range []error{disabled, wrong(d, "dr.a", here), wrong(d, "dr.x", here), wrong(d, "not a name", here)} {
			if !errors.Is(err, events.Unauthenticated) || err.Error() != disabled.Error() {
				t.Error(err)
			}
		}
	})
	t.Run("takes as long for an unknown user as for a wrong password", func(t *testing.T) {
		d := newOutbox(t)
		best := func(user string) time.Duration {
			shortest := time.Hour
			for i := range 4 {
				start := time.Now()
				wantCode(t, wrong(d, user, string(rune('a'+i))), events.Unauthenticated)
				shortest = min(shortest, time.Since(start))
			}
			return shortest
		}
		known, unknown := best("dr.a"), best("dr.x")
		if unknown < known/8 || known < unknown/8 { // without the hash it is far less
			t.Errorf("%v for a known user, %v for an unknown one", known, unknown)
		}
	})
	t.Run("remembers a success for 15 minutes", func(t *testing.T) {
		d := newOutbox(t)
		once := func() time.Duration {
			start := time.Now()
			ok(t, right(d, here))
			return time.Since(start)
		}
		first := once()
		again := time.Duration(0)
		for range 20 {
			again += once()
		}
		d.clock.advance(15 * time.Minute)
		if later := once(); again > 10*min(first, later) { // twenty hashes take twenty times as long
			t.Errorf("%v for the first, %v for twenty more, %v after 15 minutes", first, again, later)
		}
		ok(t, d.Accounts().ChoosePassword(t.Context(), "dr.a", password, "another password", there))
		wantCode(t, right(d, here), events.Unauthenticated)
	})
	t.Run("does not remember one who is disabled", func(t *testing.T) {
		d := newOutbox(t)
		ok(t, right(d, here))
		ok(t, d.Accounts().DisablePI(t.Context(), operator, "dr.a"))
		wantCode(t, right(d, here), events.Unauthenticated)
	})
	t.Run("locks after five failures in a row, for 15 minutes, from there", func(t *testing.T) {
		d := newOutbox(t)
		ok(t, right(d, here)) // being remembered does not help
		for range 5 {
			wantCode(t, wrong(d, "dr.a", here), events.Unauthenticated)
		}
		d.clock.advance(5 * time.Minute)
		err := right(d, here+":1234")
		wantCode(t, err, events.Throttled)
		var refusal *events.Error
		if errors.As(err, &refusal); refusal.RetryAfter != 10*time.Minute {
			t.Errorf("retry after %v", refusal.RetryAfter)
		}
		ok(t, right(d, there))
		wantCode(t, right(openAgain(t, d), here), events.Throttled)
		d.clock.advance(10 * time.Minute)
		ok(t, right(d, here))
	})
	t.Run("locks a name that nobody has, alike", func(t *testing.T) {
		d := newOutbox(t)
		for range 5 {
			wantCode(t, wrong(d, "dr.x", here), events.Unauthenticated)
		}
		wantCode(t, wrong(d, "dr.x", here), events.Throttled)
		ok(t, right(d, here))
	})
	t.Run("starts counting again after a success, or a new password", func(t *testing.T) {
		d := newOutbox(t)
		for range 3 {
			for range 4 {
				wantCode(t, wrong(d, "dr.a", here), events.Unauthenticated)
			}
			ok(t, right(d, here))
		}
		for range 5 {
			wantCode(t, wrong(d, "dr.a", here), events.Unauthenticated)
		}
		oneTime := must(d.Accounts().ResetPassword(t.Context(), operator, "dr.a"))(t)
		ok(t, d.Accounts().ChoosePassword(t.Context(), "dr.a", oneTime, "another password", here))
		_, err := d.Accounts().Authenticate(t.Context(), "dr.a", "another password", here)
		ok(t, err)
	})
	t.Run("counts a whole /64 as one address", func(t *testing.T) {
		d := newOutbox(t)
		for _, last := range []string{"1", "2", "3", "4", "5"} {
			wantCode(t, wrong(d, "dr.a", "2001:db8::"+last), events.Unauthenticated)
		}
		wantCode(t, right(d, "[2001:db8::6]:443"), events.Throttled)
		ok(t, right(d, "2001:db8:0:1::1"))
	})
	t.Run("lets a crowd that guesses at once have no more than its five", func(t *testing.T) {
		d := newOutbox(t)
		var mu sync.Mutex
		refused := 0
		var wg sync.WaitGroup
		for range 12 {
			wg.Go(func() {
				if errors.Is(wrong(d, "dr.a", here), events.Unauthenticated) {
					mu.Lock()
					refused++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if refused > 6 { // two check at once
			t.Errorf("%d guesses were checked", refused)
		}
	})
	t.Run("audits failures and never holds a secret", func(t *testing.T) {
		d := newOutbox(t)
		for range 5 {
			wantCode(t, wrong(d, "dr.a", here), events.Unauthenticated)
		}
		actions := map[string]int{}
		ok(t, d.Audit(t.Context(), outbox.AuditFilter{Subject: "dr.a"}, func(e outbox.AuditEntry) error {
			actions[e.Action]++
			if strings.Contains(string(e.Detail), "not the") || strings.Contains(string(e.Detail), "argon2") {
				t.Errorf("%s", e.Detail)
			}
			return nil
		}))
		if diff := cmp.Diff(map[string]int{"pi.added": 1, "pi.password-set": 1, "sign-in.failed": 1, "sign-in.locked": 1}, actions); diff != "" {
			t.Error(diff)
		}
	})
}
