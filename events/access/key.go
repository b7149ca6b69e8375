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

// Key is a public key of tokens, as an access.key.v1 event carries it. Tokens
// issued between From and Until are accepted.
type Key struct {
	JWK   jose.JSONWebKey `json:"jwk"` // public, ES256
	From  time.Time       `json:"from"`
	Until time.Time       `json:"until,omitzero"` // zero: until another event of the key says so
}

// ID is the key's id (kid): the RFC 7638 thumbprint.
func (k Key) ID() string { return k.JWK.KeyID }

// EventSubject is the CloudEvents subject of the key's events.
func (k Key) EventSubject() string { return "Key/" + k.ID() }

// InForce reports whether the key was in force at the time t: a token issued
// then is accepted.
func (k Key) InForce(t time.Time) bool {
	return !t.Before(k.From) && (k.Until.IsZero() || t.Before(k.Until))
}

// accepts reports whether a token issued at the time t, by a clock that may be
// a little behind and in whole seconds, can be of the time when the key was in
// force. A key that ends before it begins never was.
func (k Key) accepts(t time.Time) bool {
	began := !t.Add(leeway).Before(k.From)
	ended := !k.Until.IsZero() && (!t.Before(k.Until) || !k.From.Before(k.Until))
	return began && !ended
}

func decodeKey(e events.Event) (Key, error) {
	var k Key
	if err := json.Unmarshal(e.Data, &k); err != nil {
		return Key{}, &events.Error{Code: events.Invalid, Message: "an access event holds no key", Err: err}
	}
	if !isOurs(k.JWK) || e.Subject != k.EventSubject() {
		return Key{}, events.Errorf(events.Invalid, "an access event holds no public ES256 key, or another than its subject %s says", e.Subject)
	}
	return k, nil
}

// isOurs reports whether the key is a public ES256 key named by its thumbprint.
func isOurs(key jose.JSONWebKey) bool {
	public, ok := key.Key.(*ecdsa.PublicKey)
	if !ok || !key.Valid() || public.Curve != elliptic.P256() || key.Algorithm != string(jose.ES256) {
		return false
	}
	id, err := thumbprint(key)
	return err == nil && key.KeyID == id
}

// thumbprint is the RFC 7638 thumbprint of the public part of the key.
func thumbprint(key jose.JSONWebKey) (string, error) {
	sum, err := key.Thumbprint(crypto.SHA256)
	return base64.RawURLEncoding.EncodeToString(sum), err
}
