package callout

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
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

// Reading what a client presents never panics, and returns nothing that was not sent.
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

func connectOptions(token, user, password string) jwt.ConnectOptions {
	return jwt.ConnectOptions{Token: token, Username: user, Password: password}
}
