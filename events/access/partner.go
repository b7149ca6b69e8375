// Package access decides who may see which study, and how often one may try to sign
// in. Partners, their grants and the public keys of access tokens are events on the
// same log as the reports. So every reader computes the same Directory from the log,
// in order with the reports, and needs no other source. The package does no I/O.
//
// A partner authenticates with a client secret, of which only a digest is stored. For it
// the token endpoint issues an access token, a JWT that a key signs and that is valid for
// an hour at most. An access token ends earlier if its client secret does. A key is
// announced by its first event and retired by a later one that sets its Until.
package access

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
)

// Partner is the whole state of a partner, as an access.partner.v1 event
// carries it.
type Partner struct {
	ID      string   `json:"id"`
	Name    string   `json:"name,omitempty"`
	Studies []string `json:"studies"` // study ids (NFC), sorted, each once
	Secrets []Secret `json:"secrets"` // digests of the client secrets in force
	Enabled bool     `json:"enabled"` // false once removed; never true again
}

// Secret is the digest of a client secret. Client secrets are 32 random bytes, so
// that they cannot be found by trying, and a digest without salt suffices.
type Secret struct {
	SHA256  string     `json:"sha256"`            // in lower-case hex
	Expires *time.Time `json:"expires,omitempty"` // nil: in force until replaced
}

// DigestSecret returns the digest of a client secret, which is stored in place of the
// secret.
func DigestSecret(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// Opens reports whether secret is a client secret of the partner that is in force at
// the time now, and the partner was not removed. It takes the same time for every secret,
// so that the time reveals nothing about the stored ones.
func (p Partner) Opens(secret string, now time.Time) bool {
	digest := []byte(DigestSecret(secret))
	open := false
	for _, s := range p.Secrets {
		same := subtle.ConstantTimeCompare(digest, []byte(s.SHA256)) == 1
		open = open || same && (s.Expires == nil || now.Before(*s.Expires))
	}
	return open && p.Enabled
}

// SecretID returns the id of a client secret: the first 16 digits of its digest. It names
// the secret where the secret itself must not be shown.
func SecretID(secret string) string { return idOfDigest(DigestSecret(secret)) }

// idOfDigest returns the SecretID of the client secret with this digest.
func idOfDigest(digest string) string { return digest[:min(len(digest), 16)] }

// InForce reports whether the partner's client secret with this SecretID is in force at
// the time now, and until when. The zero time means until it is replaced.
func (p Partner) InForce(secretID string, now time.Time) (until time.Time, ok bool) {
	for _, s := range p.Secrets {
		switch {
		case !p.Enabled || secretID == "" || idOfDigest(s.SHA256) != secretID:
		case s.Expires == nil:
			return time.Time{}, true
		case now.Before(*s.Expires):
			return *s.Expires, true
		}
	}
	return time.Time{}, false
}

// Honours reports whether the claims of a verified access token are valid for this
// partner at the time now: they name this partner, and the client secret for which the
// access token was issued is in force. It does not check when the access token expires.
func (p Partner) Honours(c Claims, now time.Time) bool {
	_, ok := p.InForce(c.Secret, now)
	return ok && c.Partner == p.ID
}

// Granted reports whether the partner may see the study.
func (p Partner) Granted(study string) bool {
	return p.Enabled && slices.Contains(p.Studies, study)
}

// EventSubject returns the CloudEvents subject of the partner's events.
func (p Partner) EventSubject() string { return "Partner/" + p.ID }

// decodePartner returns the partner in the body of an access.partner.v1 event.
func decodePartner(e events.Event) (Partner, error) {
	var p Partner
	if err := json.Unmarshal(e.Data, &p); err != nil {
		return Partner{}, &events.Error{Code: events.Invalid, Message: "the body of an access event is not a partner", Err: err}
	}
	if !events.ValidPartnerID(p.ID) || e.Subject != p.EventSubject() {
		return Partner{}, events.Errorf(events.Invalid, "the partner in the body of an access event is not that of its subject %s", e.Subject)
	}
	return p, nil
}
