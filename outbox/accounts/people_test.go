package accounts_test

import (
	"errors"
	"runtime"
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

// memoryOfHash is the memory that the hash of a password needs, and nothing else in a
// sign-in, in bytes.
const memoryOfHash = 19 << 20

// allocated returns how many bytes the program allocates while f runs. Unlike the time of f
// that does not depend on what else the machine does.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
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
	t.Run("computes as much for an unknown user as for a wrong password", func(t *testing.T) {
		d := newOutbox(t)
		for _, user := range []string{"dr.a", "dr.x"} {
			if n := allocated(func() { wantCode(t, wrong(d, user, here), events.Unauthenticated) }); n < memoryOfHash {
				t.Errorf("for %s no hash was computed, only %d bytes were allocated", user, n)
			}
		}
	})
	t.Run("remembers a success for 15 minutes", func(t *testing.T) {
		d := newOutbox(t)
		signIn := func() { ok(t, right(d, here)) }
		first := allocated(signIn)
		again := allocated(func() {
			for range 20 {
				signIn()
			}
		})
		d.clock.advance(15 * time.Minute)
		if later := allocated(signIn); first < memoryOfHash || again >= memoryOfHash || later < memoryOfHash {
			t.Errorf("%d bytes were allocated for the first, %d for twenty more, %d after 15 minutes", first, again, later)
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
