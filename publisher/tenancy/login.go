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
// through, and inboxes. A server checks the subject to which the account maps a request.
// Before it has stored the mapping, it checks the subject that the partner sent to. Both
// are permitted.
//
// A live subject may be subscribed to alone, or in a queue group whose name starts with the
// partner's id. Partners that receive the same subject would share a queue group of the same
// name, and each event goes to one member only. The account cannot keep groups apart.
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

// ConnectionName is the name of the connection that a login opens. It names the client
// secret and the studies of the login. So a process that did not answer the login can check
// the connection. It holds nothing secret.
type ConnectionName struct {
	Partner string
	Secret  string // access.SecretID of the client secret behind the login
	Grants  string // GrantsID of the login
}

func (n ConnectionName) String() string { return n.Partner + "." + n.Secret + "." + n.Grants }

// ParseConnectionName returns the parts of a ConnectionName. Ok is false if the name does not
// have three parts: no login set it.
func ParseConnectionName(name string) (n ConnectionName, ok bool) {
	parts := strings.Split(name, ".")
	if len(parts) != 3 {
		return ConnectionName{}, false
	}
	return ConnectionName{parts[0], parts[1], parts[2]}, true
}

// GrantsID returns a digest of what a login depends on besides the client secret, to compare
// logins by: the sorted keys of the studies, and the sorted ids of the token keys that are
// revoked. With another token key revoked, no connection has the digest of a present login:
// any may have been opened with an access token of that key.
func GrantsID(keys, revoked []string) string {
	text := strings.Join(keys, " ")
	if len(revoked) > 0 {
		text += "\n" + strings.Join(revoked, " ")
	}
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}
