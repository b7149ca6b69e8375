package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/server"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/server/tokenkey"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/outbox"
)

// placedKey puts a new token key into the data directory. It is announced at the time at.
func placedKey(t *testing.T, dir datadir.Dir, o *outbox.Outbox, at time.Time) *tokenkey.Key {
	t.Helper()
	key := announcedKey(t, o, at)
	if err := os.MkdirAll(string(dir)+"/keys", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := datadir.WriteFile(dir.TokenKey(), key.File); err != nil {
		t.Fatal(err)
	}
	return key
}

func announcedKey(t *testing.T, o *outbox.Outbox, at time.Time) *tokenkey.Key {
	t.Helper()
	file, err := access.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	key, err := tokenkey.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Accounts().AddKey(t.Context(), "test", key.Key(at)); err != nil {
		t.Fatal(err)
	}
	return key
}

func openedOutbox(t *testing.T, dir datadir.Dir) *outbox.Outbox {
	t.Helper()
	o, err := outbox.Open(t.Context(), dir.Outbox(), outbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	})
	return o
}

func TestAKeyFromAClockThatWasWrong(t *testing.T) {
	t.Parallel()
	for what, off := range map[string]time.Duration{
		"an hour ahead": time.Hour, "ten years ahead": 10 * 365 * 24 * time.Hour, "a day behind": -24 * time.Hour,
	} {
		t.Run(what+" counts once the clock is right", func(t *testing.T) {
			dir := datadir.Dir(t.TempDir())
			o := openedOutbox(t, dir)
			old := placedKey(t, dir, o, time.Now().Add(off))
			p, stop := startServer(t, string(dir))
			awaitReady(t, p)
			acme, secret := newPartnerWithSecret(t, p, "acme", "S1")
			before := acme.token
			acme.works("a token", before)
			opensNATS(t, p, before)

			r := rotateKeys(t, string(dir))
			if len(r.Retired) != 1 || r.Retired[0].ID != old.ID() || r.Retired[0].Until.After(time.Now().Add(tokenkey.Overlap)) {
				t.Errorf("%+v", r)
			}
			acme.works("a token from before the rotation", before)
			acme.works("a token from after it", acme.signIn(secret))
			stop()
			p, _ = startServer(t, string(dir))
			acme.p = p
			acme.works("a token from before the rotation, after a restart", before)
		})
	}
}

// opensNATS checks that the token can log in to NATS.
func opensNATS(t *testing.T, p *server.Server, token string) {
	t.Helper()
	eventually(t, "a login by token", func() error {
		nc, err := nats.Connect(p.NATS.ClientURL(), nats.Token(token), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
		if err == nil {
			nc.Close()
		}
		return err
	})
}

func TestReadinessTriesAToken(t *testing.T) {
	t.Parallel()
	p, _ := startServer(t, t.TempDir())
	awaitReady(t, p)
	revoked := p.TokenKeys.Current().Key(time.Now())
	revoked.Until = time.Now().Add(-time.Minute)
	if err := p.Outbox.Accounts().AddKey(t.Context(), "test", revoked); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an end of readiness: no token opens anything any more", func() error {
		status, findings := readiness(t, p)
		if status != http.StatusServiceUnavailable || !strings.Contains(findings["tokenKey"], "issued") {
			return fmt.Errorf("%d %v", status, findings)
		}
		return nil
	})
	rotateKeys(t, string(p.Dir))
	awaitReady(t, p) // after a rotation
}

// A server whose clock is set back goes on with rotations, and what was retired
// by the clock that was ahead does not stay in force for as long as it was.
func TestTheClockIsSetBackAfterARotation(t *testing.T) {
	t.Parallel()
	dir := datadir.Dir(t.TempDir())
	o := openedOutbox(t, dir)
	directory := func() access.Directory {
		keys, err := o.Accounts().Keys(context.Background())
		if err != nil {
			t.Error(err)
		}
		var d access.Directory
		for _, k := range keys {
			d = d.WithKey(k)
		}
		return d
	}
	right := time.Now()
	ahead := right.Add(365 * 24 * time.Hour)
	first := placedKey(t, dir, o, right.Add(-time.Minute))
	k, err := tokenkey.Open(t.Context(), dir, o, directory, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	until := func(key *tokenkey.Key) time.Time {
		found, ok := directory().Key(key.ID())
		if !ok {
			t.Fatal("the key is gone")
		}
		return found.Until
	}
	check := func(at time.Time) {
		t.Helper()
		if err := k.Advance(t.Context(), at); err != nil {
			t.Fatal(err)
		}
	}

	// rotate makes a new key by a clock that shows at.
	rotate := func(at time.Time) *tokenkey.Key {
		t.Helper()
		if _, err := o.Accounts().RequestKeyRotation(t.Context(), "test"); err != nil {
			t.Fatal(err)
		}
		before := k.Current()
		check(at)
		if k.Current() == before {
			t.Fatal("the key before signs still")
		}
		return k.Current()
	}

	second := rotate(ahead)
	if got := until(first); got.Before(ahead) || k.ID() != second.ID() {
		t.Fatalf("the key signs: %t; the one before ends at %s", k.ID() == second.ID(), got)
	}
	check(right)
	if got := until(first); got.After(right.Add(tokenkey.Overlap)) {
		t.Errorf("once the clock is right, the key before ends at %s only", got)
	}
	if err := k.Check(right); err != nil {
		t.Errorf("once the clock is right: %v", err)
	}
	before, err := o.ChainHead(t.Context(), events.AccessStudy)
	if err != nil {
		t.Fatal(err)
	}
	check(right.Add(time.Second))
	if after, err := o.ChainHead(t.Context(), events.AccessStudy); err != nil || after != before {
		t.Errorf("it is retired again: %v, %v", after, err)
	}

	third := rotate(right.Add(time.Minute))
	if k.ID() != third.ID() || until(second).After(right.Add(time.Minute+tokenkey.Overlap)) {
		t.Errorf("the next key signs: %t; the one before ends at %s", k.ID() == third.ID(), until(second))
	}
	fourth := rotate(ahead)
	check(right.Add(2 * time.Minute))
	if k.ID() != fourth.ID() || until(third).After(right.Add(2*time.Minute+tokenkey.Overlap)) {
		t.Errorf("after a rotation by a clock that was ahead, the key before ends at %s", until(third))
	}
}

// A rotation was cut short whose key was announced by a clock that was ahead,
// and another key has come since: which of them is the later one is a matter of
// the log, not of what the clocks said.
func TestARotationByAClockThatWasAheadIsOvertaken(t *testing.T) {
	t.Parallel()
	dir := datadir.Dir(t.TempDir())
	o := openedOutbox(t, dir)
	old := placedKey(t, dir, o, time.Now())
	next := announcedKey(t, o, time.Now().Add(time.Hour))
	other := placedKey(t, dir, o, time.Now())
	r := rotateKeys(t, string(dir))
	want := map[string]string{old.ID(): keyAccepted, next.ID(): keyAccepted, other.ID(): keyAccepted, r.Key: keySigns}
	if diff := cmp.Diff(want, keyStates(t, string(dir))); diff != "" {
		t.Error(diff)
	}
}
