package doors

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestEachFurtherFailureLocksForTwiceAsLong(t *testing.T) {
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	var f failures
	a := attemptOf("acme", "192.0.2.1", true)
	for i := range freeFailures - 1 {
		if f.fail(a, now) || f.locked(a, now) {
			t.Fatalf("locked after %d failures", i+1)
		}
	}
	wait := time.Second
	for i := range 9 {
		if news := f.fail(a, now); news != (i == 0) || !f.locked(a, now.Add(wait-1)) || f.locked(a, now.Add(wait)) {
			t.Errorf("failure %d does not lock for %s", freeFailures+i, wait)
		}
		now = now.Add(wait)
		wait = min(2*wait, longestWait)
	}
	for what, other := range map[string]attempt{
		"another client":      attemptOf("other", "192.0.2.1", true),
		"another place":       attemptOf("acme", "192.0.2.2", true),
		"one that is nobody":  attemptOf("acme", "192.0.2.1", false),
		"an address of IPv6":  attemptOf("acme", "2001:db8::1", true),
		"a place without one": attemptOf("acme", "", true),
	} {
		f.fail(a, now)
		if f.locked(other, now) {
			t.Errorf("%s is locked too", what)
		}
	}
	f.succeed(a)
	if f.locked(a, now) || f.fail(a, now) || f.locked(a, now) {
		t.Error("a success does not end the row")
	}
}

func TestFailuresAreForgottenAfterAWhileAndWhenThereAreTooMany(t *testing.T) {
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	var f failures
	a := attemptOf("acme", "192.0.2.1", true)
	for range freeFailures - 1 {
		f.fail(a, now)
	}
	if later := now.Add(forgetAfter + 1); f.fail(a, later) || f.locked(a, later) {
		t.Error("a failure of long ago counts")
	}
	for i := range 2 * maxTallies {
		f.fail(attemptOf("acme", fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), true), now.Add(time.Hour+time.Duration(i)))
	}
	if n := len(f.tallies); n != maxTallies {
		t.Errorf("%d are kept", n)
	}
	if _, ok := f.tallies[a]; ok {
		t.Error("the oldest is kept")
	}
}

// Names of connections are read back as they were written, and nothing else is
// taken for one.
func TestPasses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.StringMatching(`[A-Za-z0-9_-]{1,64}`)
		want := pass{id.Draw(t, "partner"), rapid.StringMatching(`[0-9a-f]{16}`).Draw(t, "secret"), grantsOf(rapid.SliceOf(id).Draw(t, "tokens"))}
		if got, ok := parsePass(want.String()); !ok || got != want {
			t.Fatalf("%q is read as %+v, %t", want, got, ok)
		}
	})
	for _, other := range []string{"", "acme", "acme.x", "acme.x.y.z", "..."} {
		if p, ok := parsePass(other); ok {
			t.Errorf("%q is taken for %+v", other, p)
		}
	}
	if grantsOf([]string{"A", "B"}) == grantsOf([]string{"AB"}) || grantsOf(nil) == grantsOf([]string{""}) && grantsOf(nil) == grantsOf([]string{"A"}) {
		t.Error("different studies have one name")
	}
}

// What is sent at the door is anybody's: reading it never fails hard, and says
// nothing that was not sent.
func FuzzCredential(f *testing.F) {
	for _, token := range []string{"", ".", "..", "a.e30.b", "a.eyJzdWIiOiJhY21lIn0.b", "a.eyJzdWIiOjF9.b", "a.bnVsbA.b", "e30.e30.e30.e30"} {
		f.Add(token, "acme", "secret")
	}
	f.Fuzz(func(t *testing.T, token, user, password string) {
		c := credentialOf(connectOptions(token, user, password))
		if c.token != "" && (c.token != token || password != "" || user != "" && user != c.client) {
			t.Errorf("%q, %q, %q are read as %+v", token, user, password, c)
		}
		if c.secret != "" && (c.client != user || c.secret != password || token != "") {
			t.Errorf("%q, %q, %q are read as %+v", token, user, password, c)
		}
	})
}
