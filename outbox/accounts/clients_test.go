package accounts_test

import (
	"encoding/base64"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
)

// directory folds the access events, as every reader does.
func (d *testOutbox) directory() access.Directory {
	d.t.Helper()
	var dir access.Directory
	var head events.ChainHead
	for _, e := range all(d.t, d.Outbox) {
		if e.Study != events.AccessStudy {
			continue
		}
		var err error
		head, err = head.Follow(e)
		ok(d.t, err)
		if e.NATSSubject() != events.AccessSubject || e.DataContentType != events.MediaJSON {
			d.t.Errorf("%+v", e)
		}
		dir, err = dir.Apply(e)
		ok(d.t, err)
	}
	return dir
}

func TestPartners(t *testing.T) {
	d := newOutbox(t)
	ctx := t.Context()
	secret := must(d.Accounts().AddPartner(ctx, operator, "acme", "Acme Inc.", []string{"B", "A", "B"}))(t)
	login := func(secret string) error {
		_, err := d.Accounts().AuthenticateClient(ctx, "acme", secret, "192.0.2.1")
		return err
	}
	// same checks that the log says what the outbox says.
	same := func(t *testing.T) access.Partner {
		t.Helper()
		partners := must(d.Accounts().Partners(ctx))(t)
		if diff := cmp.Diff(partners, d.directory().Partners()); diff != "" {
			t.Errorf("the log says otherwise: %s", diff)
		}
		return partners[0]
	}

	t.Run("get a secret of 32 bytes of which a digest is kept", func(t *testing.T) {
		raw, err := base64.RawURLEncoding.DecodeString(secret)
		if err != nil || len(raw) != 32 {
			t.Errorf("%d bytes, %v", len(raw), err)
		}
		want := access.Partner{
			ID: "acme", Name: "Acme Inc.", Studies: []string{"A", "B"}, Enabled: true,
			Secrets: []access.Secret{{SHA256: access.DigestSecret(secret)}},
		}
		if diff := cmp.Diff(want, same(t)); diff != "" {
			t.Error(diff)
		}
		ok(t, login(secret))
	})
	t.Run("gain and lose studies", func(t *testing.T) {
		ok(t, d.Accounts().GrantPartner(ctx, operator, "acme", "C"))
		ok(t, d.Accounts().GrantPartner(ctx, operator, "acme", "C"))
		ok(t, d.Accounts().RevokePartner(ctx, operator, "acme", "A"))
		if diff := cmp.Diff([]string{"B", "C"}, same(t).Studies); diff != "" {
			t.Error(diff)
		}
		if head := must(d.ChainHead(ctx, events.AccessStudy))(t); head.Number != 3 {
			t.Errorf("%d events", head.Number)
		}
		wantCode(t, d.Accounts().RevokePartner(ctx, operator, "acme", "A"), events.NotFound)
	})
	t.Run("keep the old secret for the time of grace", func(t *testing.T) {
		second := must(d.Accounts().RotatePartner(ctx, operator, "acme", time.Hour))(t)
		ok(t, login(secret))
		ok(t, login(second))
		d.clock.advance(time.Hour)
		wantCode(t, login(secret), events.Unauthenticated)
		third := must(d.Accounts().RotatePartner(ctx, operator, "acme", 0))(t)
		wantCode(t, login(second), events.Unauthenticated)
		ok(t, login(third))
		secret = third
		if n := len(same(t).Secrets); n != 1 {
			t.Errorf("%d secrets", n)
		}
	})
	t.Run("are removed for ever", func(t *testing.T) {
		ok(t, d.Accounts().RemovePartner(ctx, operator, "acme"))
		wantCode(t, login(secret), events.Unauthenticated)
		if p := same(t); p.Enabled || len(p.Studies)+len(p.Secrets) != 0 {
			t.Errorf("%+v", p)
		}
		wantCode(t, d.Accounts().GrantPartner(ctx, operator, "acme", "C"), events.Conflict)
		_, err := d.Accounts().AddPartner(ctx, operator, "acme", "", nil)
		wantCode(t, err, events.Conflict)
	})
	t.Run("are refused where they are malformed or unknown", func(t *testing.T) {
		_, err := d.Accounts().AddPartner(ctx, operator, "a.b", "", nil)
		wantCode(t, err, events.Invalid)
		_, err = d.Accounts().AddPartner(ctx, operator, "ab", "", []string{""})
		wantCode(t, err, events.Invalid)
		_, err = d.Accounts().RotatePartner(ctx, operator, "acme", -1)
		wantCode(t, err, events.Invalid)
		wantCode(t, d.Accounts().RemovePartner(ctx, operator, "none"), events.NotFound)
	})
}

func TestAuthenticateClient(t *testing.T) {
	d := newOutbox(t)
	ctx := t.Context()
	secret := must(d.Accounts().AddPartner(ctx, operator, "acme", "", nil))(t)
	login := func(id, secret, address string) error {
		_, err := d.Accounts().AuthenticateClient(ctx, id, secret, address)
		return err
	}
	t.Run("answers alike for an unknown client and a wrong secret", func(t *testing.T) {
		a, b := login("acme", "wrong", "192.0.2.9"), login("none", secret, "192.0.2.9")
		if !errors.Is(a, events.Unauthenticated) || a.Error() != b.Error() {
			t.Error(a, b)
		}
	})
	t.Run("slows wrong secrets where they come from, and never the right one", func(t *testing.T) {
		const shared = "192.0.2.1"
		for range 5 {
			wantCode(t, login("acme", "wrong", shared), events.Unauthenticated)
		}
		for range 30 {
			wantCode(t, login("acme", "wrong", shared), events.Throttled)
		}
		ok(t, login("acme", secret, shared))
		wantCode(t, login("acme", "wrong", "192.0.2.2"), events.Unauthenticated)
		d.clock.advance(15 * time.Minute)
		wantCode(t, login("acme", "wrong", shared), events.Unauthenticated)
	})
}

func TestKeys(t *testing.T) {
	d := newOutbox(t)
	ctx := t.Context()
	signer := must(access.NewSigner(must(access.NewKey())(t)))(t)
	first := d.clock.now()
	ok(t, d.Accounts().AnnounceKey(ctx, signer.Key(first)))
	d.clock.advance(time.Hour)
	ok(t, d.Accounts().AnnounceKey(ctx, signer.Key(d.clock.now())))
	if n := len(all(t, d.Outbox)); n != 1 {
		t.Errorf("%d events for one key", n)
	}
	ending := signer.Key(d.clock.now())
	ending.Until = d.clock.now().Add(time.Hour)
	ok(t, d.Accounts().AnnounceKey(ctx, ending))
	keys := must(d.Accounts().Keys(ctx))(t)
	if len(keys) != 1 || !keys[0].From.Equal(first) || !keys[0].Until.Equal(ending.Until) {
		t.Errorf("%+v", keys)
	}
	got, _ := d.directory().Key(signer.Key(first).ID())
	if !got.From.Equal(first) || !got.Until.Equal(ending.Until) {
		t.Errorf("the log says %+v", got)
	}
	wantCode(t, d.Accounts().AnnounceKey(ctx, access.Key{}), events.Invalid)
}
