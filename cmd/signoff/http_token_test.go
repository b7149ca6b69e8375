package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// forger makes access tokens with the program's own key, so that all but the change
// under test is as it must be.
type forger struct {
	t      *testing.T
	key    jose.JSONWebKey
	header map[string]any
	claims map[string]any // of the attacker's good token
}

func newForger(t *testing.T, s *attackedServer) *forger {
	t.Helper()
	private, err := os.ReadFile(s.p.Dir.TokenKey())
	if err != nil {
		t.Fatal(err)
	}
	f := &forger{t: t, header: make(map[string]any), claims: make(map[string]any)}
	if err := f.key.UnmarshalJSON(private); err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(s.attacker.token, ".")
	for i, into := range []*map[string]any{&f.header, &f.claims} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, into); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// with returns a copy of m with changes; a nil value takes the name away.
func with(m, changes map[string]any) map[string]any {
	out := maps.Clone(m)
	for name, value := range changes {
		if out[name] = value; value == nil {
			delete(out, name)
		}
	}
	return out
}

func (f *forger) part(v map[string]any) string {
	f.t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		f.t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// sign makes an access token of header and claims with an ECDSA key on P-256.
func (f *forger) sign(key any, header, claims map[string]any) string {
	f.t.Helper()
	private, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		f.t.Fatal("no ECDSA key")
	}
	text := f.part(header) + "." + f.part(claims)
	digest := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, private, digest[:])
	if err != nil {
		f.t.Fatal(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// claiming is an access token signed with our key that claims something else.
func (f *forger) claiming(changes map[string]any) string {
	return f.sign(f.key.Key, f.header, with(f.claims, changes))
}

// headed is an access token signed with a stranger's key under another header.
func (f *forger) headed(key any, changes map[string]any) string {
	return f.sign(key, with(f.header, changes), f.claims)
}

// symmetric is an access token whose MAC is made with the bytes of the public key.
func (f *forger) symmetric(algorithm jose.SignatureAlgorithm, secret []byte) string {
	f.t.Helper()
	return f.compact(jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: secret, KeyID: f.key.KeyID}})
}

func (f *forger) compact(key jose.SigningKey) string {
	f.t.Helper()
	signer, err := jose.NewSigner(key, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	claims, err := json.Marshal(f.claims)
	if err != nil {
		f.t.Fatal(err)
	}
	signed, err := signer.Sign(claims)
	if err != nil {
		f.t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		f.t.Fatal(err)
	}
	return token
}

func (f *forger) publicForms() (jwk, der, pemText []byte) {
	f.t.Helper()
	jwk, err := f.key.Public().MarshalJSON()
	if err != nil {
		f.t.Fatal(err)
	}
	if der, err = x509.MarshalPKIXPublicKey(f.key.Public().Key); err != nil {
		f.t.Fatal(err)
	}
	return jwk, der, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// forgeries are access tokens that must open nothing.
func (f *forger) forgeries(s *attackedServer) map[string]string {
	hour := time.Now().Add(time.Hour).Unix()
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	big, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		f.t.Fatal(err)
	}
	strangerJWK, err := (&jose.JSONWebKey{Key: stranger.Public(), KeyID: f.key.KeyID, Algorithm: "ES256"}).MarshalJSON()
	if err != nil {
		f.t.Fatal(err)
	}
	jwk, der, pemText := f.publicForms()
	good, parts := s.attacker.token, strings.Split(s.attacker.token, ".")
	otherParts := strings.Split(s.other.token, ".")
	return map[string]string{
		"of another audience":         f.claiming(map[string]any{"aud": "other"}),
		"of more audiences, not ours": f.claiming(map[string]any{"aud": []string{"a", "b"}}),
		"of no audience":              f.claiming(map[string]any{"aud": nil}),
		"of another role":             f.claiming(map[string]any{"scope": "admin"}),
		"of more roles":               f.claiming(map[string]any{"scope": "full admin"}),
		"of no role":                  f.claiming(map[string]any{"scope": nil}),
		"of nobody":                   f.claiming(map[string]any{"sub": "nobody"}),
		"of no subject":               f.claiming(map[string]any{"sub": nil}),
		"of an empty subject":         f.claiming(map[string]any{"sub": ""}),
		"of a list of subjects":       f.claiming(map[string]any{"sub": []string{"acme", "rival"}}),
		"of the program itself":       f.claiming(map[string]any{"sub": "publisher"}),
		"of another's secret":         f.claiming(map[string]any{"secret_id": "0000000000000000"}),
		"of no secret":                f.claiming(map[string]any{"secret_id": nil}),
		"that expired":                f.claiming(map[string]any{"iat": hour - 3*3600, "nbf": hour - 3*3600, "exp": hour - 2*3600}),
		"that never expires":          f.claiming(map[string]any{"exp": nil}),
		"that lives a year":           f.claiming(map[string]any{"exp": hour + 365*86400}),
		"of tomorrow":                 f.claiming(map[string]any{"iat": hour + 86400, "nbf": hour + 86400, "exp": hour + 86400 + 3600}),
		"not yet in force":            f.claiming(map[string]any{"nbf": hour}),
		"of before its key":           f.claiming(map[string]any{"iat": hour - 3600 - 86400, "nbf": nil, "exp": hour - 3600}),

		"of another key under our kid":     f.headed(stranger, nil),
		"of another key under its own":     f.headed(stranger, map[string]any{"kid": "stranger"}),
		"of another key, jwk within":       f.headed(stranger, map[string]any{"jwk": json.RawMessage(strangerJWK)}),
		"of another key, jwk, no kid":      f.headed(stranger, map[string]any{"jwk": json.RawMessage(strangerJWK), "kid": nil}),
		"of another key, jku":              f.headed(stranger, map[string]any{"jku": "http://127.0.0.1:1/jwks", "kid": "stranger"}),
		"of another key, x5u":              f.headed(stranger, map[string]any{"x5u": "http://127.0.0.1:1/cert"}),
		"of another key, x5c":              f.headed(stranger, map[string]any{"x5c": []string{base64.StdEncoding.EncodeToString(der)}}),
		"of a kid that is a path":          f.headed(stranger, map[string]any{"kid": "../../keys/token.jwk"}),
		"of a kid that is a device":        f.headed(stranger, map[string]any{"kid": "/dev/null"}),
		"of a kid that is SQL":             f.headed(stranger, map[string]any{"kid": "x' union select '{}' --"}),
		"of a kid that is a list":          f.headed(stranger, map[string]any{"kid": []string{f.key.KeyID}}),
		"of a kid of a megabyte":           f.headed(stranger, map[string]any{"kid": strings.Repeat("k", 20<<10)}),
		"of an empty kid":                  f.headed(stranger, map[string]any{"kid": ""}),
		"of our key, in another's name":    f.sign(f.key.Key, with(f.header, map[string]any{"kid": "stranger"}), f.claims),
		"of our key, critical unknown":     f.sign(f.key.Key, with(f.header, map[string]any{"crit": []string{"x"}, "x": 1}), f.claims),
		"of our key, not base64 inside":    f.sign(f.key.Key, with(f.header, map[string]any{"crit": []string{"b64"}, "b64": false}), f.claims),
		"with our key, declared as ES384":  f.sign(f.key.Key, with(f.header, map[string]any{"alg": "ES384"}), f.claims),
		"with our key, declared as ES256K": f.sign(f.key.Key, with(f.header, map[string]any{"alg": "ES256K"}), f.claims),
		"of an RSA key under our kid":      f.compact(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: big, KeyID: f.key.KeyID}}),
		"HS256 with the public key, JWK":   f.symmetric(jose.HS256, jwk),
		"HS256 with the public key, PEM":   f.symmetric(jose.HS256, pemText),
		"HS256 with the public key, DER":   f.symmetric(jose.HS256, der),
		"HS512 with the public key, PEM":   f.symmetric(jose.HS512, pemText),

		"alg none":                    f.part(with(f.header, map[string]any{"alg": "none"})) + "." + parts[1] + ".",
		"alg None, our signature":     f.part(with(f.header, map[string]any{"alg": "None"})) + "." + parts[1] + "." + parts[2],
		"alg nOnE, no dot":            f.part(with(f.header, map[string]any{"alg": "nOnE"})) + "." + parts[1],
		"alg empty":                   f.part(with(f.header, map[string]any{"alg": ""})) + "." + parts[1] + ".",
		"alg taken away":              f.part(with(f.header, map[string]any{"alg": nil})) + "." + parts[1] + "." + parts[2],
		"in the other's name":         parts[0] + "." + f.part(with(f.claims, map[string]any{"sub": "rival"})) + "." + parts[2],
		"the other's claims":          parts[0] + "." + otherParts[1] + "." + parts[2],
		"the other's signature":       parts[0] + "." + parts[1] + "." + otherParts[2],
		"no signature":                parts[0] + "." + parts[1] + ".",
		"a signature of zeros":        parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 64)),
		"a signature cut short":       good[:len(good)-8],
		"a signature in DER":          parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(der),
		"a bit of it changed":         parts[0] + "." + flip(parts[1]) + "." + parts[2],
		"with padding":                good + "==",
		"with something after it":     good + ".x",
		"twice":                       good + "." + good,
		"as JSON":                     fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, parts[0], parts[1], parts[2]),
		"declared as encrypted":       strings.Join([]string{parts[0], "", parts[1], parts[2], parts[2]}, "."),
		"no token":                    "x",
		"dots":                        "..",
		"a NATS user's JWT":           s.natsUser("eyJ"),
		"the key file itself, public": base64.RawURLEncoding.EncodeToString(jwk),
	}
}

// flip changes one character in the middle of a text of base64.
func flip(s string) string {
	b := []byte(s)
	if at := len(b) / 2; b[at] == 'A' {
		b[at] = 'B'
	} else {
		b[at] = 'A'
	}
	return string(b)
}

func TestForgedTokensOpenNothing(t *testing.T) {
	t.Parallel()
	s := startAttackedServer(t)
	f := newForger(t, s)
	ask := func(token string) attack {
		return attack{target: base + "/DiagnosticReport?researchstudy=" + mine, headers: []header{{"Authorization", "Bearer " + token}, {"x-partnerid", "acme"}}}
	}
	t.Run("the forger's unchanged one does", func(t *testing.T) { s.refused(t, ask(f.claiming(nil)), http.StatusOK) })
	for name, token := range f.forgeries(s) {
		t.Run(name, func(t *testing.T) {
			if len(token) > 20 { // shorter ones are in every text
				s.secret("a forged token", token)
			}
			got := s.refused(t, ask(token), http.StatusUnauthorized, http.StatusRequestHeaderFieldsTooLarge)
			if challenge := got.header.Get("WWW-Authenticate"); got.status == http.StatusUnauthorized && !strings.HasPrefix(challenge, "Bearer") {
				t.Errorf("WWW-Authenticate: %q", challenge)
			}
			if text := got.body; strings.Contains(text, "kid") || strings.Contains(text, "signature") || strings.Contains(text, "jose") {
				t.Errorf("the answer contains the reason: %s", text)
			}
		})
	}
	s.honest()
}
