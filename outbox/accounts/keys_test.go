package accounts_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/accounts"
)

func newKey(t testing.TB, from time.Time) access.Key {
	t.Helper()
	return must(access.NewSigner(must(access.NewKey())(t)))(t).Key(from)
}

func TestRetiringKeys(t *testing.T) {
	d := newOutbox(t)
	ctx := t.Context()
	start := d.clock.now()
	first, second, third, next := newKey(t, start), newKey(t, start), newKey(t, start), newKey(t, start)
	for _, k := range []access.Key{first, second, third, next} {
		ok(t, d.Accounts().AnnounceKey(ctx, k))
	}
	until := func(k access.Key) time.Time {
		got, _ := d.directory().Key(k.ID())
		return got.Until
	}
	end := start.Add(time.Minute)

	t.Run("ends those announced before the current one, and no other", func(t *testing.T) {
		retired := must(d.Accounts().RetireKeys(ctx, operator, second.ID(), end))(t)
		if len(retired) != 1 || retired[0].ID() != first.ID() || !until(first).Equal(end) {
			t.Errorf("%v", retired)
		}
		if !until(second).IsZero() || !until(third).IsZero() {
			t.Error("a key that is current or came later was ended")
		}
		if got := must(d.Accounts().Keys(ctx))(t); len(got) != 4 {
			t.Errorf("%v", got)
		}
	})
	t.Run("leaves those alone that end before", func(t *testing.T) {
		retired := must(d.Accounts().RetireKeys(ctx, operator, third.ID(), end.Add(time.Hour)))(t)
		if len(retired) != 1 || retired[0].ID() != second.ID() || !until(first).Equal(end) {
			t.Errorf("%v", retired)
		}
		before := must(d.ChainHead(ctx, events.AccessStudy))(t)
		if again := must(d.Accounts().RetireKeys(ctx, operator, third.ID(), end.Add(time.Hour)))(t); len(again) != 0 {
			t.Errorf("%v", again)
		}
		if after := must(d.ChainHead(ctx, events.AccessStudy))(t); after != before {
			t.Error("nothing changed, and it was announced")
		}
	})
	t.Run("can bring an end forward", func(t *testing.T) {
		retired := must(d.Accounts().RetireKeys(ctx, operator, third.ID(), start))(t)
		if len(retired) != 2 || !until(first).Equal(start) || !until(second).Equal(start) {
			t.Errorf("%v", retired)
		}
	})
	t.Run("by the order of the log, whatever the clock said", func(t *testing.T) {
		early := newKey(t, start.Add(-24*time.Hour))
		ok(t, d.Accounts().AnnounceKey(ctx, early))
		retired := must(d.Accounts().RetireKeys(ctx, operator, early.ID(), end))(t)
		if len(retired) != 2 || retired[0].ID() != third.ID() || retired[1].ID() != next.ID() {
			t.Errorf("%v", retired)
		}
	})
	t.Run("does nothing for a key nobody knows", func(t *testing.T) {
		if retired := must(d.Accounts().RetireKeys(ctx, operator, "unknown", end))(t); len(retired) != 0 {
			t.Errorf("%v", retired)
		}
	})
	t.Run("is for ever", func(t *testing.T) {
		wantCode(t, d.Accounts().AnnounceKey(ctx, first), events.Conflict, "was retired")
		later := first
		later.Until = end.Add(time.Hour)
		wantCode(t, d.Accounts().AnnounceKey(ctx, later), events.Conflict, "was retired")
		if !until(first).Equal(start) {
			t.Errorf("it ends at %s", until(first))
		}
	})
	t.Run("is audited, with who did it", func(t *testing.T) {
		ok(t, d.Accounts().AddKey(ctx, operator, newKey(t, start)))
		acts := make(map[string]int)
		ok(t, d.Audit(ctx, outbox.AuditFilter{}, func(e outbox.AuditEntry) error {
			if strings.HasPrefix(e.Action, "key.") {
				acts[e.Action+" by "+e.Actor]++
			}
			return nil
		}))
		want := map[string]int{"key.announced by signoff": 5, "key.announced by ops": 1, "key.retired by ops": 6}
		if diff := cmp.Diff(want, acts); diff != "" {
			t.Error(diff)
		}
	})
}

func TestARevokedKeyStaysRevoked(t *testing.T) {
	ctx := t.Context()
	d := newOutbox(t)
	start := d.clock.now()
	ahead := newKey(t, start.Add(24*time.Hour)) // announced by a clock that was ahead
	signs := newKey(t, start)
	ok(t, d.Accounts().AnnounceKey(ctx, ahead))
	ok(t, d.Accounts().AnnounceKey(ctx, signs))
	stored := func(id string) access.Key {
		key, _ := d.directory().Key(id)
		return key
	}

	if r := must(d.Accounts().RevokeKey(ctx, operator, ahead.ID(), false))(t); r != (accounts.KeyRotation{}) {
		t.Errorf("it requested the rotation %v", r)
	}
	must(d.Accounts().RevokeKey(ctx, operator, ahead.ID(), false))(t) // changes nothing
	if retired := must(d.Accounts().RetireKeys(ctx, operator, signs.ID(), start))(t); len(retired) != 0 || !stored(ahead.ID()).Revoked() {
		t.Errorf("it was retired as %v and is %v", retired, stored(ahead.ID()))
	}
	wantCode(t, d.Accounts().AnnounceKey(ctx, ahead), events.Conflict, "cannot be used again")

	request := must(d.Accounts().RevokeKey(ctx, operator, signs.ID(), true))(t)
	pending, found, err := d.Accounts().PendingKeyRotation(ctx)
	ok(t, err)
	if !found || pending != request || !stored(signs.ID()).Revoked() {
		t.Errorf("the rotation %v is requested, %v was returned; the key is %v", pending, request, stored(signs.ID()))
	}
	_, err = d.Accounts().RevokeKey(ctx, operator, "unknown", true)
	wantCode(t, err, events.NotFound, "there is no key")

	var audited []string
	ok(t, d.Audit(ctx, outbox.AuditFilter{}, func(e outbox.AuditEntry) error {
		if e.Action == "key.revoked" {
			audited = append(audited, e.Subject+" by "+e.Actor)
		}
		return nil
	}))
	if diff := cmp.Diff([]string{ahead.ID() + " by " + operator, signs.ID() + " by " + operator}, audited); diff != "" {
		t.Error(diff)
	}
}
