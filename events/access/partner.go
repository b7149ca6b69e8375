// Package access says who may see what. Partners, their grants and the public
// keys of tokens are events on the same log as the reports, so every reader
// folds the same state from it, in order with the reports, and asks nobody.
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
	Studies []string `json:"studies"` // study numbers (NFC), sorted, each once
	Secrets []Secret `json:"secrets"` // digests of the client secrets in force
	Enabled bool     `json:"enabled"` // false once removed, for ever
}

// Secret is the digest of a client secret: lower-case hex SHA-256. Secrets are
// 32 random bytes, so a plain digest reveals nothing.
type Secret struct {
	SHA256  string     `json:"sha256"`
	Expires *time.Time `json:"expires,omitempty"` // nil: in force until replaced
}

// DigestSecret returns the digest that is kept of a client secret.
func DigestSecret(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// Opens reports whether secret is one of the partner's at the time now. The
// comparison takes the same time whatever the secret.
func (p Partner) Opens(secret string, now time.Time) bool {
	digest := []byte(DigestSecret(secret))
	open := false
	for _, s := range p.Secrets {
		same := subtle.ConstantTimeCompare(digest, []byte(s.SHA256)) == 1
		open = open || same && (s.Expires == nil || now.Before(*s.Expires))
	}
	return open && p.Enabled
}

// SecretID names a client secret where it must not be shown: the start of its
// digest.
func SecretID(secret string) string { return idOfDigest(DigestSecret(secret)) }

func idOfDigest(digest string) string { return digest[:min(len(digest), 16)] }

// InForce reports whether a secret, named by its SecretID, is in force at the
// time now, and until when; zero means until it is replaced.
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

// Honours reports whether what a verified token says still holds at the time
// now: it is this partner's, and the secret it was issued for is in force.
func (p Partner) Honours(c Claims, now time.Time) bool {
	_, ok := p.InForce(c.Secret, now)
	return ok && c.Partner == p.ID
}

// Granted reports whether the partner may see the study.
func (p Partner) Granted(study string) bool {
	return p.Enabled && slices.Contains(p.Studies, study)
}

// EventSubject is the CloudEvents subject of the partner's events.
func (p Partner) EventSubject() string { return "Partner/" + p.ID }

func decodePartner(e events.Event) (Partner, error) {
	var p Partner
	if err := json.Unmarshal(e.Data, &p); err != nil {
		return Partner{}, &events.Error{Code: events.Invalid, Message: "an access event holds no partner", Err: err}
	}
	if !events.ValidPartnerID(p.ID) || e.Subject != p.EventSubject() {
		return Partner{}, events.Errorf(events.Invalid, "an access event holds another partner than its subject %s says", e.Subject)
	}
	return p, nil
}
