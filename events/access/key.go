package access

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/seed-e88a4ece/signoff/events"
)

// Key is a public key of access tokens, as an access.key.v1 event carries it. It is
// valid from its place in the log: a reader that has applied the event accepts access
// tokens that the key has signed, whatever the time in From. Access tokens that
// were issued at Until or later are refused. An Until that equals From revokes the
// key: none of its access tokens is accepted.
type Key struct {
	JWK   jose.JSONWebKey `json:"jwk"`            // public, ES256
	From  time.Time       `json:"from"`           // when it was announced; for display only
	Until time.Time       `json:"until,omitzero"` // zero: until another event of the key says so
}

// ID returns the key's id (kid), its RFC 7638 thumbprint.
func (k Key) ID() string { return k.JWK.KeyID }

// EventSubject returns the CloudEvents subject of the key's events.
func (k Key) EventSubject() string { return "Key/" + k.ID() }

// accepts reports whether the key may have signed an access token that was issued
// at t: always while Until is zero, else if t is before Until. A revoked key, whose
// Until equals From, accepts nothing.
//
// It does not compare t with From. From is the time of a clock that may have been
// ahead, and once that clock was set right all access tokens would be refused.
// The comparison is not needed: a key that is in the directory has been announced.
//
// Until and t are times of the same clock, that of the signer. Until is chosen
// later than the issue of every access token that is accepted when the key is
// retired. An access token with a later time of issue comes from a clock that was
// ahead and then set back, or from somebody who has the key and should not.
func (k Key) accepts(t time.Time) bool {
	return !k.Revoked() && (k.Until.IsZero() || t.Before(k.Until))
}

// Revoked reports whether none of the key's access tokens is accepted.
func (k Key) Revoked() bool { return !k.Until.IsZero() && k.Until.Equal(k.From) }

// decodeKey returns the key in the body of an access.key.v1 event.
func decodeKey(e events.Event) (Key, error) {
	var k Key
	if err := json.Unmarshal(e.Data, &k); err != nil {
		return Key{}, &events.Error{Code: events.Invalid, Message: "the body of an access event is not a key", Err: err}
	}
	if !wellFormed(k.JWK) || e.Subject != k.EventSubject() {
		return Key{}, events.Errorf(events.Invalid, "the body of an access event is not a public ES256 key, or not that of its subject %s", e.Subject)
	}
	return k, nil
}

// wellFormed reports whether the key is a public ES256 key whose id is its thumbprint.
func wellFormed(key jose.JSONWebKey) bool {
	public, ok := key.Key.(*ecdsa.PublicKey)
	if !ok || !key.Valid() || public.Curve != elliptic.P256() || key.Algorithm != string(jose.ES256) {
		return false
	}
	id, err := thumbprint(key)
	return err == nil && key.KeyID == id
}

// thumbprint returns the RFC 7638 thumbprint of the public part of the key.
func thumbprint(key jose.JSONWebKey) (string, error) {
	sum, err := key.Thumbprint(crypto.SHA256)
	return base64.RawURLEncoding.EncodeToString(sum), err
}
