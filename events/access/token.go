package access

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/seed-e88a4ece/signoff/events"
)

// What every token of ours says, and what is demanded of one that comes back.
const (
	Audience = "crit"             // the API the token is for
	Scope    = "full"             // the only scope there is
	Lifetime = 3600 * time.Second // from issue to expiry
	leeway   = 5 * time.Second    // between the clocks of issuer and reader
	maxToken = 4096               // bytes; ours have about 400
)

// Claims are what a verified token says.
type Claims struct {
	Partner string
	Secret  string // SecretID of the client secret it was issued for
	KeyID   string
	Issued  time.Time
	Expires time.Time
}

// tokenClaims is the token's payload (RFC 7519), with the scope of RFC 8693.
type tokenClaims struct {
	jwt.Claims
	Scope  string `json:"scope"`
	Secret string `json:"secret_id,omitempty"` // a claim of our own: what a lost secret has opened ends with it
}

// Signer issues tokens with one private key.
type Signer struct {
	key    jose.JSONWebKey
	signer jose.Signer
}

// NewKey makes a private ES256 key as the JSON of a JWK. Keep it secret.
func NewKey() ([]byte, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	key := jose.JSONWebKey{Key: private, Algorithm: string(jose.ES256), Use: "sig"}
	if key.KeyID, err = thumbprint(key); err != nil {
		return nil, err
	}
	return json.Marshal(key)
}

// NewSigner makes a signer from what NewKey gave.
func NewSigner(privateJWK []byte) (*Signer, error) {
	var key jose.JSONWebKey
	if err := json.Unmarshal(privateJWK, &key); err != nil {
		return nil, errors.New("the token key file holds no JWK")
	}
	if key.IsPublic() || !key.Valid() || !isOurs(key.Public()) {
		return nil, errors.New("the token key file holds no private ES256 key")
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, err
	}
	return &Signer{key: key, signer: signer}, nil
}

// Key returns the signer's public key, as announced at the time from.
func (s *Signer) Key(from time.Time) Key { return Key{JWK: s.key.Public(), From: from.UTC()} }

// Issue makes a token for a partner that showed its client secret. Id is the
// token's unique jti; issuer is the public URL of the token endpoint.
func (s *Signer) Issue(id, issuer, partner, secret string, now time.Time) (string, error) {
	return jwt.Signed(s.signer).Claims(tokenClaims{
		Claims: jwt.Claims{
			ID: id, Issuer: issuer, Subject: partner, Audience: jwt.Audience{Audience},
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(Lifetime)),
		},
		Scope: Scope, Secret: SecretID(secret),
	}).Serialize()
}

// Verify checks a token against the directory's keys and returns what it says.
// The error's code is Expired or Unauthenticated. It does not ask whether the
// partner still honours them: that may change while the token lives.
func (d Directory) Verify(token string, now time.Time) (Claims, error) {
	o, err := d.open(token)
	if err != nil {
		return Claims{}, notValid(err)
	}
	return o.at(now)
}

// opened is a token that the key has signed. When it is good is not asked yet.
type opened struct {
	claims tokenClaims
	key    Key
}

func (d Directory) open(token string) (opened, error) {
	if len(token) > maxToken {
		return opened{}, errors.New("too long")
	}
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256})
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

// at returns what the token says if it is good at the time now.
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

func notValid(err error) error {
	return &events.Error{Code: events.Unauthenticated, Message: "The access token is not valid.", Err: err}
}

// check says why the claims of a token that the key has signed are not good at
// the time now; that they have run out is not asked here.
func (c tokenClaims) check(key Key, now time.Time) error {
	if c.Expiry == nil || c.IssuedAt == nil || c.Subject == "" || c.Scope != Scope || !slices.Contains(c.Audience, Audience) {
		return errors.New("claims missing or not for this API")
	}
	// A token that says it was issued in the future is refused, although it may
	// be of our own clock that was ahead: it would live until that time and its
	// hour after it, which is longer than tokens live. Its owner gets another.
	issued, soon := c.IssuedAt.Time(), now.Add(leeway)
	if issued.After(soon) || c.NotBefore != nil && c.NotBefore.Time().After(soon) {
		return errors.New("not yet in force")
	}
	if c.Expiry.Time().Sub(issued) > Lifetime {
		return errors.New("in force for longer than tokens live")
	}
	if !key.accepts(issued) {
		return errors.New("issued after its key was retired")
	}
	return nil
}
