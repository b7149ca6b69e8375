package access_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
)

func TestATokenIsGoodFromIssueToExpiry(t *testing.T) {
	signer, _ := newSigner(t)
	key := signer.Key(now.Add(-time.Hour))
	d := (access.Directory{}).WithKey(key)
	token := issue(t, signer, now)
	want := access.Claims{Partner: "acme", Secret: access.SecretID(secret), KeyID: key.ID(), Issued: now, Expires: now.Add(access.Lifetime)}
	for name, c := range map[string]struct {
		at   time.Time
		code events.Code
	}{
		"at once":                          {now, ""},
		"by a clock 5 s behind":            {now.Add(-5 * time.Second), ""},
		"by a clock 6 s behind":            {now.Add(-6 * time.Second), events.Unauthenticated},
		"at the end":                       {now.Add(access.Lifetime), ""},
		"4 s after it":                     {now.Add(access.Lifetime + 4*time.Second), ""},
		"5 s after it":                     {now.Add(access.Lifetime + 5*time.Second), events.Expired},
		"a day later":                      {now.Add(24 * time.Hour), events.Expired},
		"a fraction of a second after iat": {now.Add(time.Millisecond), ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := d.Verify(token, c.at)
			if events.CodeOf(err) != c.code {
				t.Fatalf("got %v, want %q", err, c.code)
			}
			if c.code != "" {
				want := access.Claims{}
				if got != want {
					t.Errorf("claims %v come with the error", got)
				}
				return
			}
			got.Issued, got.Expires = got.Issued.UTC(), got.Expires.UTC()
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestAKeyCountsFromItsPlaceInTheLogUntilItIsRetired(t *testing.T) {
	signer, _ := newSigner(t)
	token := issue(t, signer, now)
	for name, c := range map[string]struct {
		from, until time.Time
		code        events.Code
	}{
		"in force, without end":                                              {now.Add(-time.Hour), time.Time{}, ""},
		"announced in the second of issue":                                   {now.Add(900 * time.Millisecond), time.Time{}, ""},
		"retired after the token was issued":                                 {now.Add(-time.Hour), now.Add(time.Second), ""},
		"retired before the token was issued":                                {now.Add(-time.Hour), now.Add(-time.Second), events.Unauthenticated},
		"in force for a part of the second of issue":                         {now.Add(200 * time.Millisecond), now.Add(700 * time.Millisecond), ""},
		"revoked within seconds for all time":                                {now.Add(time.Second), now.Add(time.Second), events.Unauthenticated},
		"retired at the moment":                                              {now.Add(-time.Hour), now, events.Unauthenticated},
		"announced by a clock that was ahead":                                {now.Add(time.Hour), time.Time{}, ""},
		"announced by a clock that was behind":                               {now.Add(-365 * 24 * time.Hour), time.Time{}, ""},
		"announced by a clock that was ahead, retired by one that was right": {now.Add(time.Hour), now.Add(time.Second), ""},
		"the same, and the token is of later":                                {now.Add(time.Hour), now.Add(-time.Second), events.Unauthenticated},
		"announced and retired by a clock that was ahead":                    {now.Add(time.Hour), now.Add(2 * time.Hour), ""},
		"announced and retired by a clock that was behind":                   {now.Add(-2 * time.Hour), now.Add(-time.Hour), events.Unauthenticated},
		"announced by a clock that was ahead, and revoked for all time":      {now.Add(time.Hour), now.Add(time.Hour), events.Unauthenticated},
		"revoked for all time: no moment of its own":                         {now.Add(-time.Hour), now.Add(-time.Hour), events.Unauthenticated},
		"its whole time is over before the issue time":                       {now.Add(-2 * time.Hour), now.Add(-time.Hour), events.Unauthenticated},
	} {
		t.Run(name, func(t *testing.T) {
			key := signer.Key(c.from)
			key.Until = c.until
			if _, err := (access.Directory{}).WithKey(key).Verify(token, now.Add(time.Minute)); events.CodeOf(err) != c.code {
				t.Errorf("got %v, want %q", err, c.code)
			}
		})
	}
}

// forge signs claims with a key of the test's choice.
func forge(t *testing.T, key jose.SigningKey, options *jose.SignerOptions, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(key, options)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// claims returns valid claims, changed by the test.
func claims(change func(c map[string]any)) map[string]any {
	c := map[string]any{
		"iss": issuer, "sub": "acme", "aud": "crit", "scope": "full", "jti": "1",
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(access.Lifetime).Unix(),
	}
	change(c)
	return c
}

func TestTokensSignedByUsWithOtherClaimsAreRefused(t *testing.T) {
	signer, private := newSigner(t)
	d := (access.Directory{}).WithKey(signer.Key(now.Add(-24 * time.Hour)))
	var key jose.JSONWebKey
	if err := json.Unmarshal(private, &key); err != nil {
		t.Fatal(err)
	}
	signing := jose.SigningKey{Algorithm: jose.ES256, Key: key}
	if _, err := d.Verify(forge(t, signing, nil, claims(func(map[string]any) {})), now); err != nil {
		t.Fatalf("the claims that are changed below are not good themselves: %v", err)
	}
	for name, change := range map[string]func(c map[string]any){
		"another audience":    func(c map[string]any) { c["aud"] = "other" },
		"no audience":         func(c map[string]any) { delete(c, "aud") },
		"another scope":       func(c map[string]any) { c["scope"] = "read" },
		"more scopes":         func(c map[string]any) { c["scope"] = "full admin" },
		"no scope":            func(c map[string]any) { delete(c, "scope") },
		"no subject":          func(c map[string]any) { delete(c, "sub") },
		"no expiry":           func(c map[string]any) { delete(c, "exp") },
		"no time of issue":    func(c map[string]any) { delete(c, "iat") },
		"expiry as text":      func(c map[string]any) { c["exp"] = "tomorrow" },
		"issued in an hour":   func(c map[string]any) { c["iat"] = now.Add(time.Hour).Unix(); c["exp"] = now.Add(2 * time.Hour).Unix() },
		"not before an hour":  func(c map[string]any) { c["nbf"] = now.Add(time.Hour).Unix() },
		"alive for ever":      func(c map[string]any) { c["exp"] = now.Add(100 * 365 * 24 * time.Hour).Unix() },
		"subject is a list":   func(c map[string]any) { c["sub"] = []string{"acme"} },
		"all claims are null": func(c map[string]any) { clear(c) },
	} {
		t.Run(name, func(t *testing.T) {
			mustRefuse(t, d, forge(t, signing, nil, claims(change)))
		})
	}
}

func TestForgedTokensAreRefused(t *testing.T) {
	signer, private := newSigner(t)
	public := signer.Key(now.Add(-time.Hour))
	d := (access.Directory{}).WithKey(public)
	_, strangers := newSigner(t)
	var stranger jose.JSONWebKey
	if err := json.Unmarshal(strangers, &stranger); err != nil {
		t.Fatal(err)
	}
	disguised := stranger
	disguised.KeyID = public.ID()
	good := issue(t, signer, now)
	parts := strings.Split(good, ".")
	plain := claims(func(map[string]any) {})

	for name, token := range map[string]string{
		"empty":                        "",
		"dots":                         "..",
		"not base64":                   "a.b.c",
		"alg none":                     unsigned(t, map[string]any{"alg": "none", "kid": public.ID()}, plain),
		"alg None with our signature":  unsigned(t, map[string]any{"alg": "None", "kid": public.ID()}, plain) + parts[2],
		"no alg":                       unsigned(t, map[string]any{"kid": public.ID()}, plain) + parts[2],
		"HS256, public key as PEM":     hmac(t, publicPEM(t, public), public.ID(), plain),
		"HS256, public key as JWK":     hmac(t, publicJWK(t, public), public.ID(), plain),
		"an unknown key":               forge(t, jose.SigningKey{Algorithm: jose.ES256, Key: stranger}, nil, plain),
		"a stranger under our kid":     forge(t, jose.SigningKey{Algorithm: jose.ES256, Key: disguised}, nil, plain),
		"an embedded key":              forge(t, jose.SigningKey{Algorithm: jose.ES256, Key: stranger.Key}, &jose.SignerOptions{EmbedJWK: true}, plain),
		"an embedded key, our kid":     forge(t, jose.SigningKey{Algorithm: jose.ES256, Key: disguised}, &jose.SignerOptions{EmbedJWK: true}, plain),
		"a key behind a URL, our kid":  forge(t, jose.SigningKey{Algorithm: jose.ES256, Key: disguised}, (&jose.SignerOptions{}).WithHeader("jku", "https://example.org/jwks"), plain),
		"no kid":                       forge(t, jose.SigningKey{Algorithm: jose.ES256, Key: keyOf(t, private)}, nil, plain),
		"another curve":                forge(t, jose.SigningKey{Algorithm: jose.ES384, Key: p384(t, public.ID())}, nil, plain),
		"other claims, our signature":  parts[0] + "." + encode(t, plain) + "." + parts[2],
		"other header, our signature":  encode(t, map[string]any{"alg": "ES256", "kid": public.ID()}) + "." + parts[1] + "." + parts[2],
		"no signature":                 parts[0] + "." + parts[1] + ".",
		"a signature of zeros":         parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 64)),
		"a cut signature":              good[:len(good)-4],
		"something after it":           good + ".x",
		"space around it":              " " + good + " ",
		"a critical header":            forge(t, jose.SigningKey{Algorithm: jose.ES256, Key: keyWith(t, private, public.ID())}, (&jose.SignerOptions{}).WithHeader("crit", []string{"x"}).WithHeader("x", 1), plain),
		"JSON serialization":           flattened(t, parts),
		"a huge one":                   good + strings.Repeat("A", 1<<20),
		"huge claims under our key":    forge(t, jose.SigningKey{Algorithm: jose.ES256, Key: keyWith(t, private, public.ID())}, nil, claims(func(c map[string]any) { c["x"] = strings.Repeat("a", 5000) })),
		"five parts, as encryption is": strings.Join([]string{parts[0], parts[1], parts[2], parts[1], parts[2]}, "."),
	} {
		t.Run(name, func(t *testing.T) { mustRefuse(t, d, token) })
	}
	t.Run("by an empty directory", func(t *testing.T) { mustRefuse(t, access.Directory{}, good) })
}

func mustRefuse(t *testing.T, d access.Directory, token string) {
	t.Helper()
	got, err := d.Verify(token, now)
	if events.CodeOf(err) != events.Unauthenticated || got != (access.Claims{}) {
		t.Fatalf("got %v, %v; want an Unauthenticated error", got, err)
	}
	var refusal *events.Error
	if !errors.As(err, &refusal) || refusal.Message != "The access token is not valid." {
		t.Errorf("the caller gets %v", err)
	}
	if len(token) > 40 && strings.Contains(err.Error(), token[:40]) {
		t.Errorf("the error shows the access token: %v", err)
	}
}

func encode(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

func unsigned(t *testing.T, header, claims map[string]any) string {
	t.Helper()
	return encode(t, header) + "." + encode(t, claims) + "."
}

// hmac signs with HS256 and the bytes of the public key as the secret.
func hmac(t *testing.T, secret []byte, kid string, claims map[string]any) string {
	t.Helper()
	return forge(t, jose.SigningKey{Algorithm: jose.HS256, Key: jose.JSONWebKey{Key: secret, KeyID: kid}}, nil, claims)
}

func publicPEM(t *testing.T, k access.Key) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(k.JWK.Key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func publicJWK(t *testing.T, k access.Key) []byte {
	t.Helper()
	text, err := k.JWK.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func keyOf(t *testing.T, private []byte) any {
	t.Helper()
	var key jose.JSONWebKey
	if err := json.Unmarshal(private, &key); err != nil {
		t.Fatal(err)
	}
	return key.Key
}

func keyWith(t *testing.T, private []byte, kid string) jose.JSONWebKey {
	t.Helper()
	return jose.JSONWebKey{Key: keyOf(t, private), KeyID: kid}
}

func p384(t *testing.T, kid string) jose.JSONWebKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return jose.JSONWebKey{Key: key, KeyID: kid}
}

func edKey(t *testing.T) access.Key {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return access.Key{JWK: jose.JSONWebKey{Key: public, KeyID: "ed", Algorithm: string(jose.EdDSA)}, From: now}
}

// flattened is the token in the JSON serialization of RFC 7515, section 7.2.2.
func flattened(t *testing.T, parts []string) string {
	t.Helper()
	text, err := json.Marshal(map[string]string{"protected": parts[0], "payload": parts[1], "signature": parts[2]})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
