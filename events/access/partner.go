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
// 32 random bytes, so a plain digest gives nothing away.
type Secret struct {
	SHA256  string     `json:"sha256"`
	Expires *time.Time `json:"expires,omitempty"` // nil: in force until replaced
}

// DigestSecret gives the digest that is kept of a client secret.
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
