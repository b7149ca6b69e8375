package accounts_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/accounts"
)

func TestAKeyRotationIsRequestedOnceAndFinishedOnce(t *testing.T) {
	d := newOutbox(t)
	ctx := t.Context()
	now := d.clock.now()
	old, lost, next := newKey(t, now), newKey(t, now), newKey(t, now)
	ok(t, d.Accounts().AnnounceKey(ctx, old))

	if _, pending, err := d.Accounts().PendingKeyRotation(ctx); err != nil || pending {
		t.Fatalf("at first: %t, %v", pending, err)
	}
	r := must(d.Accounts().RequestKeyRotation(ctx, operator))(t)
	if again := must(d.Accounts().RequestKeyRotation(ctx, "another"))(t); again != r {
		t.Errorf("requested again: %+v, want %+v", again, r)
	}

	ok(t, d.Accounts().AnnounceNextKey(ctx, r, lost))
	ok(t, d.Accounts().AnnounceNextKey(ctx, r, next)) // as after a cut
	pending, open, err := d.Accounts().PendingKeyRotation(ctx)
	if want := (accounts.KeyRotation{ID: r.ID, By: operator, Key: next.ID()}); err != nil || !open || pending != want {
		t.Fatalf("announced: %+v, %t, %v; want %+v", pending, open, err, want)
	}
	retired := must(d.Accounts().FinishKeyRotation(ctx, pending, now.Add(time.Second)))(t)
	if len(retired) != 2 || retired[0].ID() != old.ID() || retired[1].ID() != lost.ID() {
		t.Errorf("retired: %v", retired)
	}
	pending.Finished = true
	if got := must(d.Accounts().GetKeyRotation(ctx, r.ID))(t); got != pending {
		t.Errorf("finished: %+v, want %+v", got, pending)
	}
	if _, open, err := d.Accounts().PendingKeyRotation(ctx); err != nil || open {
		t.Errorf("after the end: %t, %v", open, err)
	}

	before := must(d.ChainHead(ctx, events.AccessStudy))(t)
	if _, err := d.Accounts().FinishKeyRotation(ctx, pending, now); !errors.Is(err, events.Conflict) {
		t.Errorf("finished again: %v", err)
	}
	if err := d.Accounts().AnnounceNextKey(ctx, pending, newKey(t, now)); !errors.Is(err, events.Conflict) {
		t.Errorf("announced after the end: %v", err)
	}
	if after := must(d.ChainHead(ctx, events.AccessStudy))(t); after != before {
		t.Error("what was refused is on the log")
	}
	if next := must(d.Accounts().RequestKeyRotation(ctx, operator))(t); next.ID == r.ID {
		t.Error("a finished rotation is requested again")
	}
	if _, err := d.Accounts().GetKeyRotation(ctx, 99); !errors.Is(err, events.NotFound) {
		t.Errorf("unknown: %v", err)
	}

	acts := map[string]int{}
	ok(t, d.Audit(ctx, outbox.AuditFilter{}, func(e outbox.AuditEntry) error {
		if e.Actor == operator && e.Action[:4] == "key." {
			acts[e.Action]++
		}
		return nil
	}))
	if diff := cmp.Diff(map[string]int{"key.rotation-requested": 2, "key.announced": 2, "key.retired": 2}, acts); diff != "" {
		t.Error(diff)
	}
}

// A rotation for which no older key is left to be retired.
func TestAKeyRotationIsFinishedAfterTheOldKeyWasRevoked(t *testing.T) {
	d := newOutbox(t)
	ctx := t.Context()
	now := d.clock.now()
	old, next := newKey(t, now), newKey(t, now)
	ok(t, d.Accounts().AnnounceKey(ctx, old))
	r := must(d.Accounts().RequestKeyRotation(ctx, operator))(t)
	ok(t, d.Accounts().AnnounceNextKey(ctx, r, next))
	ok(t, d.Accounts().AnnounceNextKey(ctx, r, next)) // changes nothing
	must(d.Accounts().RevokeKey(ctx, operator, old.ID(), true))(t)
	r.Key = next.ID()
	retired := must(d.Accounts().FinishKeyRotation(ctx, r, now.Add(time.Second)))(t)
	if len(retired) != 0 {
		t.Errorf("retired: %v", retired)
	}
	if got := must(d.Accounts().GetKeyRotation(ctx, r.ID))(t); !got.Finished {
		t.Errorf("%+v", got)
	}
}
