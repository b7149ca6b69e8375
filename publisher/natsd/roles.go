package natsd

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// Accounts of the server.
const (
	AccountApp    = "APP" // the stream and whoever of the service uses it
	AccountSystem = "SYS" // the server's own
)

// Role is what a connection is for; it decides what it may do.
type Role string

// The roles. Each is one user with a password of its own.
const (
	Publisher Role = "publisher" // owns the stream; the only one that may publish events
	Reader    Role = "reader"    // reads the stream through consumers and by sequence
	Operator  Role = "operator"  // a person with the nats command line: reads, and changes nothing stored
	System    Role = "system"    // the same person in account SYS: server reports
	Partners  Role = "doors"     // creates partners' consumers and answers their logins
	Keeper    Role = "keeper"    // in account SYS: finds and closes partners' connections
)

var roles = []Role{Publisher, Reader, Operator, System, Partners, Keeper}

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

// account is the one that a role's user is in.
func (r Role) account() string {
	if r == System || r == Keeper {
		return AccountSystem
	}
	return AccountApp
}

// permissions of the roles, nil for all that their account allows. Whoever may
// create a consumer may have its messages delivered to any subject; so these
// roles keep apart parts of one service and its operator, not parties that
// distrust each other.
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
	case Partners:
		return &server.Permissions{
			Publish: allow(
				api+"STREAM.INFO."+stream, api+"CONSUMER.CREATE."+stream+".>", api+"CONSUMER.DELETE."+stream+".>",
				api+"CONSUMER.INFO."+stream+".>", api+"CONSUMER.NAMES."+stream, server.InboxPrefix+">", tenancy.SuspensionSubject,
			),
			Subscribe: allow(append(tenancy.RequestSubjects(), inbox, server.AuthCalloutSubject, tenancy.SuspensionSubject)...),
		}
	case Keeper:
		return &server.Permissions{
			Publish: allow(
				"$SYS.REQ.SERVER.PING.STATSZ", "$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.SERVER.*.KICK",
				"$SYS.REQ.ACCOUNT.*.INFO", "$SYS.REQ.ACCOUNT.*.SUBSZ", "$SYS.REQ.ACCOUNT.PING.STATZ",
			),
			Subscribe: allow(inbox),
		}
	default:
		return nil
	}
}

func allow(subjects ...string) *server.SubjectPermission {
	return &server.SubjectPermission{Allow: subjects}
}

// NewCredentials returns a password of 256 random bits for each role.
func NewCredentials() (map[Role]Credentials, error) {
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
