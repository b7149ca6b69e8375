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

// Key is a public key of tokens, as an access.key.v1 event carries it. It is
// valid from its place in the log: who holds the event accepts tokens that the
// key has signed, whenever the clock of who announced it said that was. Tokens
// issued from Until on are refused. An Until that equals From revokes the key:
// none of its tokens is accepted.
type Key struct {
	JWK   jose.JSONWebKey `json:"jwk"`            // public, ES256
	From  time.Time       `json:"from"`           // when it was announced, for people to read
	Until time.Time       `json:"until,omitzero"` // zero: until another event of the key says so
}

// ID is the key's id (kid): the RFC 7638 thumbprint.
func (k Key) ID() string { return k.JWK.KeyID }

// EventSubject is the CloudEvents subject of the key's events.
func (k Key) EventSubject() string { return "Key/" + k.ID() }

// accepts reports whether a token that the key has signed counts, which says
// that it was issued at the time t.
//
// From is not asked. It is the time of a clock that may have been ahead, and
// then all tokens would be refused once that clock is right. Nothing is lost: a
// key that is in the directory has been announced.
//
// Until and t are both of the clock that signs. Who retires a key chooses an
// Until that is later than any token that is accepted at that moment. A token
// that says it was issued later comes from a clock that was ahead and then set
// back, or from somebody who has the key and should not.
func (k Key) accepts(t time.Time) bool {
	return k.Until.IsZero() || t.Before(k.Until) && !k.Until.Equal(k.From)
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
