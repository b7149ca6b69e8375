package natsd

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"

	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/crypto/bcrypt"

	"github.com/seed-e88a4ece/signoff/events"
)

// Accounts of the server.
const (
	AccountApp    = "APP" // the stream and whoever of the service uses it
	AccountSystem = "SYS" // the server's own
)

const accounts = `
accounts {
  ` + AccountSystem + ` {}
  ` + AccountApp + ` { jetstream: enabled }
}
system_account: ` + AccountSystem

// Role is what a connection is for; it decides what it may do.
type Role string

// The roles. Each is one user with a password of its own.
const (
	Publisher Role = "publisher" // owns the stream; the only one that may publish events
	Reader    Role = "reader"    // reads the stream through consumers and by sequence
	Operator  Role = "operator"  // a person with the nats command line: looks, changes nothing stored
	System    Role = "system"    // the same person in account SYS: server reports
	Doors     Role = "doors"     // makes partners' consumers and answers their logins
)

var roles = []Role{Publisher, Reader, Operator, System, Doors}

// userPrefix keeps the users of roles apart from partners, who log in under
// their ids: those have no dot.
const userPrefix = "signoff."

// Credentials of a role.
type Credentials struct {
	User     string
	Password string
}

const (
	api    = "$JS.API."
	inbox  = "_INBOX.>"
	stream = events.Stream
)

// permissions of the roles in account APP. Whoever may create a consumer may
// have its messages delivered to any subject; so these roles keep apart parts
// of one service and its operator, not parties that distrust each other.
func permissions(role Role) *server.Permissions {
	switch role {
	case Publisher:
		return &server.Permissions{
			Publish:   allow(events.IngestWildcard, api+">"),
			Subscribe: allow(inbox),
		}
	case Reader:
		return &server.Permissions{
			Publish: allow(
				api+"INFO", api+"STREAM.NAMES", api+"STREAM.INFO."+stream, api+"STREAM.MSG.GET."+stream,
				api+"DIRECT.GET."+stream, api+"DIRECT.GET."+stream+".>",
				api+"CONSUMER.CREATE."+stream, api+"CONSUMER.CREATE."+stream+".>",
				api+"CONSUMER.INFO."+stream+".>", api+"CONSUMER.DELETE."+stream+".>", // ordered consumers replace themselves
				api+"CONSUMER.MSG.NEXT."+stream+".>", "$JS.ACK."+stream+".>", "$JS.FC."+stream+".>",
			),
			Subscribe: allow(inbox, events.StoredWildcard),
		}
	case Operator:
		return &server.Permissions{
			Publish: allow(
				api+"INFO", api+"STREAM.NAMES", api+"STREAM.LIST", api+"STREAM.INFO.>", api+"STREAM.MSG.GET.>", api+"DIRECT.GET.>",
				api+"CONSUMER.NAMES.>", api+"CONSUMER.LIST.>", api+"CONSUMER.INFO.>",
				api+"CONSUMER.CREATE.>", api+"CONSUMER.DURABLE.CREATE.>", api+"CONSUMER.DELETE.>", api+"CONSUMER.MSG.NEXT.>", "$JS.ACK.>", "$JS.FC.>",
			),
			Subscribe: allow(inbox, events.StoredWildcard),
		}
	case Doors:
		return &server.Permissions{
			Publish: allow(
				api+"STREAM.INFO."+stream, api+"CONSUMER.CREATE."+stream+".>", api+"CONSUMER.DELETE."+stream+".>",
				api+"CONSUMER.INFO."+stream+".>", api+"CONSUMER.LIST."+stream, server.InboxPrefix+">",
			),
			Subscribe: allow(inbox, server.AuthCalloutSubject),
		}
	default:
		return nil
	}
}

func allow(subjects ...string) *server.SubjectPermission {
	return &server.SubjectPermission{Allow: subjects}
}

func newCredentials() (map[Role]Credentials, error) {
	all := make(map[Role]Credentials)
	for _, role := range roles {
		secret := make([]byte, 32)
		if _, err := rand.Read(secret); err != nil {
			return nil, fmt.Errorf("make NATS password: %w", err)
		}
		all[role] = Credentials{User: userPrefix + string(role), Password: hex.EncodeToString(secret)}
	}
	return all, nil
}

// users gives the roles to the server, which keeps only a digest of their
// passwords. The cheapest is enough: they are 256 random bits.
func users(accounts []*server.Account, credentials map[Role]Credentials) ([]*server.User, error) {
	byName := make(map[string]*server.Account)
	for _, a := range accounts {
		byName[a.Name] = a
	}
	var all []*server.User
	for role, c := range credentials {
		digest, err := bcrypt.GenerateFromPassword([]byte(c.Password), bcrypt.MinCost)
		if err != nil {
			return nil, fmt.Errorf("digest NATS password: %w", err)
		}
		account := byName[AccountApp]
		if role == System {
			account = byName[AccountSystem]
		}
		all = append(all, &server.User{Username: c.User, Password: string(digest), Account: account, Permissions: permissions(role)})
	}
	return all, nil
}
