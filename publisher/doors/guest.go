package doors

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
)

// guest is an enabled partner and what it may read.
type guest struct {
	access.Partner
	tokens []string // of its studies, sorted
}

// guests are the enabled partners, by id.
func guests(d access.Directory) map[string]guest {
	all := make(map[string]guest)
	for _, p := range d.Partners() {
		if p.Enabled && events.ValidPartnerID(p.ID) {
			all[p.ID] = newGuest(p)
		}
	}
	return all
}

func newGuest(p access.Partner) guest {
	g := guest{Partner: p, tokens: []string{}}
	for _, study := range p.Studies {
		if p.Granted(study) {
			g.tokens = append(g.tokens, events.StudyKey(study))
		}
	}
	slices.Sort(g.tokens)
	g.tokens = slices.Compact(g.tokens)
	return g
}

// both returns the tokens that the guest may read and that are in ready.
func (g guest) both(ready []string) []string {
	isReady := make(map[string]bool, len(ready))
	for _, t := range ready {
		isReady[t] = true
	}
	tokens := []string{}
	for _, t := range g.tokens {
		if isReady[t] {
			tokens = append(tokens, t)
		}
	}
	return tokens
}

// pass is what the name of a connection says about the login that opened it.
// It holds nothing secret.
type pass struct {
	partner string
	secret  string // SecretID of the client secret behind it
	grants  string // what it opened, as grantsOf has it
}

func (p pass) String() string { return p.partner + "." + p.secret + "." + p.grants }

func parsePass(user string) (pass, bool) {
	parts := strings.Split(user, ".")
	if len(parts) != 3 {
		return pass{}, false
	}
	return pass{parts[0], parts[1], parts[2]}, true
}

// grantsOf names a sorted set of study keys.
func grantsOf(tokens []string) string {
	sum := sha256.Sum256([]byte(strings.Join(tokens, " ")))
	return hex.EncodeToString(sum[:8])
}
