package tenancy

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"
)

// LoginWait is how long a server waits for the callout's answer before it refuses the
// login. Most clients stop waiting after 2 s and try again, whereas two refusals
// in a row make them close for good.
const LoginWait = 3 * time.Second

// SuspensionSubject is a subject of the service's account on which callouts learn
// which partners are suspended.
const SuspensionSubject = "signoff.doors.out"

// Permissions are the subjects that a connection may use. A subscription is "subject"
// or "subject queue".
type Permissions struct{ Publish, Subscribe []string }

// Permissions returns those of a connection of the account: what the account lets
// through, and inboxes. The server checks the subject that the account maps to; until
// it has the mapping, the one that was sent to. Both are permitted.
//
// A live subject may be used alone or in a queue group with the partner's id as the
// first part of its name. Queue groups are shared by all that receive the same subject,
// other partners too, and each event goes to one member only; the account cannot keep
// them apart.
func (a Account) Permissions() Permissions {
	p := Permissions{Publish: make([]string, 0, 2*len(a.Services)), Subscribe: []string{"_INBOX.>"}}
	for _, s := range a.Services {
		p.Publish = append(p.Publish, s.Local)
		if s.Import != s.Local {
			p.Publish = append(p.Publish, s.Import)
		}
	}
	partner := strings.TrimPrefix(a.Name, AccountPrefix)
	for _, s := range a.Streams {
		p.Subscribe = append(p.Subscribe, s, s+" "+partner, s+" "+partner+".>")
	}
	return p
}

// ConnectionName is the name of the connection that a login opens. It names what the
// login rested on, so that connections can be checked by whoever did not answer their logins.
// It holds nothing secret.
type ConnectionName struct {
	Partner string
	Secret  string // access.SecretID of the client secret behind the login
	Grants  string // GrantsID of the studies that it opened
}

func (n ConnectionName) String() string { return n.Partner + "." + n.Secret + "." + n.Grants }

// ParseConnectionName reports whether the name is one that a login gave.
func ParseConnectionName(name string) (n ConnectionName, ok bool) {
	parts := strings.Split(name, ".")
	if len(parts) != 3 {
		return ConnectionName{}, false
	}
	return ConnectionName{parts[0], parts[1], parts[2]}, true
}

// GrantsID returns a short name for a sorted set of study keys.
func GrantsID(keys []string) string {
	sum := sha256.Sum256([]byte(strings.Join(keys, " ")))
	return hex.EncodeToString(sum[:8])
}
