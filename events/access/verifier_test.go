package access_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
)

// Whatever it remembers, a Verifier returns what the present directory returns.
func TestAVerifierReturnsWhatTheDirectoryDoes(t *testing.T) {
	var signers []*access.Signer
	var tokens []string
	for range 3 {
		s, _ := newSigner(t)
		signers = append(signers, s)
		good := issue(t, s, now)
		tokens = append(tokens, good, issue(t, s, now.Add(-2*time.Hour)), good[:len(good)-4]+"AAAA", good+"x")
	}
	impostor := signers[1].Key(now.Add(-time.Hour))
	impostor.JWK.KeyID = signers[0].Key(now).ID()
	rapid.Check(t, func(t *rapid.T) {
		var v access.Verifier
		var d access.Directory
		for range 40 {
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				key := rapid.SampledFrom(signers).Draw(t, "signer").Key(now.Add(-time.Hour))
				if rapid.Bool().Draw(t, "ended") {
					key.Until = now.Add(-time.Minute)
				}
				d = d.WithKey(key)
			case 1:
				d = d.WithKey(impostor)
			case 2:
				d = access.Directory{}
			}
			token := rapid.SampledFrom(tokens).Draw(t, "token")
			at := now.Add(time.Duration(rapid.IntRange(-2, 2).Draw(t, "hours")) * time.Hour)
			want, wantErr := d.Verify(token, at)
			got, err := v.Verify(d, token, at)
			if diff := cmp.Diff(want, got); diff != "" || events.CodeOf(err) != events.CodeOf(wantErr) {
				t.Fatalf("got %v and %v, the directory says %v and %v", got, err, want, wantErr)
			}
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	signer, _ := newSigner(b)
	d := (access.Directory{}).WithKey(signer.Key(now))
	token := issue(b, signer, now)
	var v access.Verifier
	for range 2 {
		if _, err := v.Verify(d, token, now); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("directory", func(b *testing.B) {
		for b.Loop() {
			_, _ = d.Verify(token, now)
		}
	})
	b.Run("verifier", func(b *testing.B) {
		for b.Loop() {
			_, _ = v.Verify(d, token, now)
		}
	})
}

func TestAVerifierRefusesAnotherIssuer(t *testing.T) {
	signer, _ := newSigner(t)
	d := access.Directory{}.WithKey(signer.Key(now))
	token := issue(t, signer, now)
	for name, c := range map[string]struct {
		issuer string
		code   events.Code
	}{
		"the same":                 {issuer, ""},
		"any":                      {"", ""},
		"another":                  {"https://other.example.org/token", events.Unauthenticated},
		"one that begins the same": {issuer + "/", events.Unauthenticated},
	} {
		v := access.Verifier{Issuer: c.issuer}
		for range 2 { // the second time the signature was verified before
			if _, err := v.Verify(d, token, now.Add(time.Minute)); events.CodeOf(err) != c.code {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}
