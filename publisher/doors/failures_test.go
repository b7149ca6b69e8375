package doors

import (
	"testing"

	"pgregory.net/rapid"
)

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
