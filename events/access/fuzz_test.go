package access_test

import (
	"strings"
	"testing"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
)

// FuzzToken verifies arbitrary text. Only what the signer itself has issued
// may pass.
func FuzzToken(f *testing.F) {
	signer, _ := newSigner(f)
	d := (access.Directory{}).WithKey(signer.Key(now))
	good := issue(f, signer, now)
	parts := strings.Split(good, ".")
	for _, token := range []string{
		"", ".", "..", "....", "a.b.c", good, good[:len(good)-1], parts[0] + "..", "eyJhbGciOiJub25lIn0.e30.", parts[0] + ".e30." + parts[2],
		`{"payload":"e30","signatures":[]}`, `{"protected":"` + parts[0] + `","payload":"` + parts[1] + `","signature":"` + parts[2] + `"}`,
	} {
		f.Add(token)
	}
	f.Fuzz(func(t *testing.T, token string) {
		_, err := d.Verify(token, now)
		if code := events.CodeOf(err); err != nil && code != events.Unauthenticated && code != events.Expired {
			t.Fatalf("%q returns %v", token, err)
		}
		// The key is new in each process, so the corpus has no other valid access token.
		if err == nil && !sameBits(token, good) {
			t.Fatalf("%q was accepted", token)
		}
	})
}

// sameBits reports whether the access tokens decode to the same bytes: they may differ
// in line ends and in the unused bits of the last character.
func sameBits(token, good string) bool {
	token = strings.NewReplacer("\r", "", "\n", "").Replace(token)
	return len(token) == len(good) && token[:len(good)-1] == good[:len(good)-1]
}
