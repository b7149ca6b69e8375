package operator

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// Role is what a connection is for; it decides what it may do.
type Role string

// The roles. Each has users of its own, whom a key of the role has signed.
const (
	Publisher Role = "publisher" // owns the stream; the only one that may publish events
	Reader    Role = "reader"    // reads the stream through consumers and by sequence
	Operator  Role = "operator"  // a person with the nats command line: looks, changes nothing stored
	Partners  Role = "doors"     // makes partners' consumers
	System    Role = "system"    // the same person in account SYS: server reports
	Keeper    Role = "keeper"    // in account SYS: pushes accounts, finds and closes partners' connections
	Callout   Role = "callout"   // in account AUTH: answers logins
	sentinel  Role = "sentinel"  // in account AUTH: whoever connects without a JWT; may do nothing
)

// Roles are the roles that have credentials.
var Roles = []Role{Publisher, Reader, Operator, Partners, System, Keeper, Callout}

const (
	api    = "$JS.API."
	inbox  = "_INBOX.>"
	stream = events.Stream

	loginRequests = "$SYS.REQ.USER.AUTH" // where the servers ask about logins
	loginAnswers  = "$SYS._INBOX.>"      // where they expect the answers
)

// account returns the public key of the account that the role's users are in.
func (k *Keys) account(r Role) string {
	switch r {
	case System, Keeper:
		return k.System
	case Callout, sentinel:
		return k.Auth
	default:
		return k.App
	}
}

// permissions of the roles. Whoever may create a consumer may have its messages
// delivered to any subject; so these roles keep apart parts of one service and
// its operator, not parties that distrust each other.
func permissions(role Role) jwt.Permissions {
	switch role {
	case Publisher:
		return allow([]string{events.IngestWildcard, api + ">"}, inbox)
	case Reader:
		return allow([]string{
			api + "INFO", api + "STREAM.NAMES", api + "STREAM.INFO." + stream, api + "STREAM.MSG.GET." + stream,
			api + "DIRECT.GET." + stream, api + "DIRECT.GET." + stream + ".>",
			api + "CONSUMER.CREATE." + stream, api + "CONSUMER.CREATE." + stream + ".>",
			api + "CONSUMER.INFO." + stream + ".>", api + "CONSUMER.DELETE." + stream + ".>", // ordered consumers replace themselves
			api + "CONSUMER.MSG.NEXT." + stream + ".>", "$JS.ACK." + stream + ".>", "$JS.FC." + stream + ".>",
		}, inbox, events.StoredWildcard)
	case Operator:
		return allow([]string{
			api + "INFO", api + "STREAM.NAMES", api + "STREAM.LIST", api + "STREAM.INFO.>", api + "STREAM.MSG.GET.>", api + "DIRECT.GET.>",
			api + "CONSUMER.NAMES.>", api + "CONSUMER.LIST.>", api + "CONSUMER.INFO.>",
			api + "CONSUMER.CREATE.>", api + "CONSUMER.DURABLE.CREATE.>", api + "CONSUMER.DELETE.>", api + "CONSUMER.MSG.NEXT.>", "$JS.ACK.>", "$JS.FC.>",
		}, inbox, events.StoredWildcard)
	case Partners:
		return allow([]string{
			api + "STREAM.INFO." + stream, api + "CONSUMER.CREATE." + stream + ".>", api + "CONSUMER.DELETE." + stream + ".>",
			api + "CONSUMER.INFO." + stream + ".>", api + "CONSUMER.NAMES." + stream, tenancy.SuspensionSubject,
		}, append(tenancy.RequestSubjects(), inbox, tenancy.SuspensionSubject)...)
	case System:
		return allow(reports(), inbox)
	case Keeper:
		return allow([]string{
			pingServers, fmt.Sprintf(listConnections, "*"), pingTraffic, fmt.Sprintf(kick, "*"), pushAccount, fmt.Sprintf(lookUpAccount, "*"),
		}, inbox)
	case Callout:
		return allow([]string{loginAnswers}, loginRequests)
	default:
		return jwt.Permissions{Pub: jwt.Permission{Deny: jwt.StringList{">"}}, Sub: jwt.Permission{Deny: jwt.StringList{">"}}}
	}
}

// reports are the subjects of reports that servers make of themselves. Subjects
// with which a server or an account is changed are not among them.
func reports() []string {
	subjects := []string{"$SYS.REQ.SERVER.PING"}
	for _, name := range []string{"IDZ", "STATSZ", "VARZ", "SUBSZ", "CONNZ", "ROUTEZ", "GATEWAYZ", "LEAFZ", "ACCOUNTZ", "JSZ", "HEALTHZ", "EXPVARZ", "RAFTZ"} {
		subjects = append(subjects, "$SYS.REQ.SERVER.*."+name) // PING in place of a server's id asks all
	}
	return append(subjects, pingTraffic)
}

func allow(publish []string, subscribe ...string) jwt.Permissions {
	return jwt.Permissions{Pub: jwt.Permission{Allow: publish}, Sub: jwt.Permission{Allow: subscribe}}
}

// RoleKeys are the keys that sign users of the roles. What a role may do stands
// in the account, beside the public half of its key: it can be changed without
// new credentials.
type RoleKeys map[Role]nkeys.KeyPair

// NewRoleKeys makes role keys in memory, for a server that needs none after its end,
// such as the embedded one. Credentials that they sign stop working as soon as the
// accounts list other role keys, as after the next start.
func NewRoleKeys() (RoleKeys, error) {
	all := make(RoleKeys)
	for _, role := range append(Roles, sentinel) {
		pair, err := nkeys.CreateAccount()
		if err != nil {
			return nil, fmt.Errorf("make a key: %w", err)
		}
		all[role] = pair
	}
	return all, nil
}

// RoleKeys returns the keys that are stored beside the others. One that is
// missing is made anew; that is how it is changed.
func (k *Keys) RoleKeys() (RoleKeys, error) {
	dir := filepath.Join(k.dir, rolesDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the key directory: %w", err)
	}
	all := make(RoleKeys)
	for _, role := range append(Roles, sentinel) {
		path := filepath.Join(dir, string(role)+".nk")
		pair, err := readKey(path, nkeys.PrefixByteAccount)
		if errors.Is(err, fs.ErrNotExist) {
			if pair, err = nkeys.CreateAccount(); err == nil {
				err = writeKey(path, pair)
			}
		}
		if err != nil {
			return nil, err
		}
		all[role] = pair
	}
	return all, nil
}

// scopes adds the roles of an account to its claims.
func (k *Keys) scopes(c *jwt.AccountClaims, all RoleKeys) error {
	for role, pair := range all {
		if k.account(role) != c.Subject {
			continue
		}
		key, err := pair.PublicKey()
		if err != nil {
			return fmt.Errorf("read the key of role %s: %w", role, err)
		}
		scope := jwt.NewUserScope()
		scope.Key, scope.Role = key, string(role)
		scope.Template.Permissions = permissions(role)
		scope.Template.BearerToken = role == sentinel
		c.SigningKeys.AddScopedSigner(scope)
	}
	return nil
}
