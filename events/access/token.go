package access

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/seed-e88a4ece/signoff/events"
)

// The claims and limits of access tokens.
const (
	Audience = "crit"             // the API that access tokens are for
	Scope    = "full"             // the only scope
	Lifetime = 3600 * time.Second // from issue to expiry
	leeway   = 5 * time.Second    // the clocks of issuer and reader may differ by so much
	maxToken = 4096               // bytes; those that Issue returns have about 400
)

// Claims are the claims of a verified access token.
type Claims struct {
	Partner string
	Secret  string // SecretID of the client secret for which it was issued
	KeyID   string
	Issued  time.Time
	Expires time.Time
}

// tokenClaims is the payload of an access token (RFC 7519), with the scope of RFC 8693.
type tokenClaims struct {
	jwt.Claims
	Scope  string `json:"scope"`
	Secret string `json:"secret_id,omitempty"` // SecretID; no registered claim. An access token is valid only while this secret is
}

// Signer issues access tokens with one private key.
type Signer struct {
	key    jose.JSONWebKey
	signer jose.Signer
}

// NewKey returns a new private ES256 key as the JSON of a JWK. Keep it secret. Its id does
// not begin with a hyphen, so that a command line does not take it for a flag.
func NewKey() ([]byte, error) {
	for {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		key := jose.JSONWebKey{Key: private, Algorithm: string(jose.ES256), Use: "sig"}
		if key.KeyID, err = thumbprint(key); err != nil {
			return nil, err
		}
		if !strings.HasPrefix(key.KeyID, "-") { // one of 64 does
			return json.Marshal(key)
		}
	}
}

// NewSigner returns a Signer with a key that NewKey has returned.
func NewSigner(privateJWK []byte) (*Signer, error) {
	var key jose.JSONWebKey
	if err := json.Unmarshal(privateJWK, &key); err != nil {
		return nil, errors.New("the key file does not contain a JWK")
	}
	if key.IsPublic() || !key.Valid() || !wellFormed(key.Public()) {
		return nil, errors.New("the key file does not contain a private ES256 key")
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, err
	}
	return &Signer{key: key, signer: signer}, nil
}

// Key returns the signer's public key, announced at the time from.
func (s *Signer) Key(from time.Time) Key { return Key{JWK: s.key.Public(), From: from.UTC()} }

// Issue returns a new access token for a partner that has shown its client secret.
// Id is its unique jti; issuer is the public URL of the token endpoint.
func (s *Signer) Issue(id, issuer, partner, secret string, now time.Time) (string, error) {
	return jwt.Signed(s.signer).Claims(tokenClaims{
		Claims: jwt.Claims{
			ID: id, Issuer: issuer, Subject: partner, Audience: jwt.Audience{Audience},
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(Lifetime)),
		},
		Scope: Scope, Secret: SecretID(secret),
	}).Serialize()
}

// Verify checks an access token with the directory's keys and returns its claims. It does
// not check who issued it; a Verifier does. The error's code is Expired or Unauthenticated.
// Whether the claims are still valid is
// what Partner.Honours reports: that may change before the access token expires.
func (d Directory) Verify(accessToken string, now time.Time) (Claims, error) {
	o, err := d.open(accessToken)
	if err != nil {
		return Claims{}, notValid(err)
	}
	return o.at(now)
}

// opened is an access token whose signature was verified with the key. Its claims are not
// checked yet; it may have expired.
type opened struct {
	claims tokenClaims
	key    Key
}

// open verifies the signature of an access token with the directory's key that it names.
// It does not check the claims.
func (d Directory) open(accessToken string) (opened, error) {
	if len(accessToken) > maxToken {
		return opened{}, errors.New("too long")
	}
	parsed, err := jwt.ParseSigned(accessToken, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return opened{}, err
	}
	key, ok := d.Key(parsed.Headers[0].KeyID)
	if !ok {
		return opened{}, errors.New("unknown key")
	}
	var c tokenClaims
	if err := parsed.Claims(key.JWK, &c); err != nil {
		return opened{}, err
	}
	return opened{claims: c, key: key}, nil
}

// at checks the claims and returns them if the access token is valid at the time now.
func (o opened) at(now time.Time) (Claims, error) {
	c := o.claims
	if err := c.check(o.key, now); err != nil {
		return Claims{}, notValid(err)
	}
	expires := c.Expiry.Time()
	if !now.Before(expires.Add(leeway)) {
		return Claims{}, events.Errorf(events.Expired, "The access token has expired.")
	}
	return Claims{Partner: c.Subject, Secret: c.Secret, KeyID: o.key.ID(), Issued: c.IssuedAt.Time(), Expires: expires}, nil
}

// notValid returns the error for an access token that is not valid; err, the reason,
// is not shown to the caller.
func notValid(err error) error {
	return &events.Error{Code: events.Unauthenticated, Message: "The access token is not valid.", Err: err}
}

// check returns an error unless the claims of an access token are valid at the time now.
// Key is the key that has signed it. Whether the access token has expired is not checked,
// because that is another error.
func (c tokenClaims) check(key Key, now time.Time) error {
	if c.Expiry == nil || c.IssuedAt == nil || c.Subject == "" || c.Scope != Scope || !slices.Contains(c.Audience, Audience) {
		return errors.New("claims missing or not for this API")
	}
	// An access token with a time of issue in the future is refused, although it may
	// come from our own clock, which was ahead. It would be valid until an hour after
	// that time, which is longer than an access token may be. Its owner gets another.
	issued, soon := c.IssuedAt.Time(), now.Add(leeway)
	if issued.After(soon) || c.NotBefore != nil && c.NotBefore.Time().After(soon) {
		return errors.New("not yet in force")
	}
	if c.Expiry.Time().Sub(issued) > Lifetime {
		return errors.New("valid for longer than access tokens are")
	}
	if !key.accepts(issued) {
		return errors.New("issued after its key was retired")
	}
	return nil
}
