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

// Role is what a connection is for; it decides what the connection may do.
type Role string

// The roles. Each has users of its own, whose JWTs a key of the role has signed. The
// value of a role names its files: ROLE.nk with the key, ROLE.creds with credentials.
// So "doors", the value of Partners, stays: installations have files of that name.
const (
	Publisher Role = "publisher" // owns the stream; the only one that may publish events
	Reader    Role = "reader"    // in account READ: reads the stream
	Operator  Role = "operator"  // in account READ: a person with the nats command line, who reads stream and consumers
	Partners  Role = "doors"     // makes partners' consumers
	System    Role = "system"    // the same person in account SYS: server reports
	Keeper    Role = "keeper"    // in account SYS: pushes accounts, finds and closes partners' connections
	Callout   Role = "callout"   // in account AUTH: answers logins
	sentinel  Role = "sentinel"  // in account AUTH: the user of a client that shows no user JWT; may do nothing
)

// Roles are the roles that have credentials: all but the sentinel.
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
	case Reader, Operator:
		return k.Read
	default:
		return k.App
	}
}

// permissions returns the subjects that users of a role may publish and subscribe
// to. Whoever may create a consumer may have its messages delivered to any subject.
// So these roles separate parts of one service and the people who operate it, not
// parties that distrust each other.
func permissions(role Role) jwt.Permissions {
	switch role {
	case Publisher:
		return allow([]string{events.IngestWildcard, api + ">"}, inbox)
	case Reader:
		return allow([]string{
			api + "STREAM.INFO." + stream, api + "STREAM.MSG.GET." + stream, api + "DIRECT.GET." + stream,
		}, inbox, events.StoredWildcard)
	case Operator:
		publish := make([]string, len(readServices))
		for i, s := range readServices {
			publish[i] = s.Subject
		}
		return allow(publish, inbox, events.StoredWildcard)
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
	default: // the sentinel
		return jwt.Permissions{Pub: jwt.Permission{Deny: jwt.StringList{">"}}, Sub: jwt.Permission{Deny: jwt.StringList{">"}}}
	}
}

// reports returns the subjects on which servers are asked for reports about
// themselves. No request to one of them changes a server or an account.
func reports() []string {
	subjects := []string{"$SYS.REQ.SERVER.PING"}
	for _, name := range []string{"IDZ", "STATSZ", "VARZ", "SUBSZ", "CONNZ", "ROUTEZ", "GATEWAYZ", "LEAFZ", "ACCOUNTZ", "JSZ", "HEALTHZ", "EXPVARZ", "RAFTZ"} {
		subjects = append(subjects, "$SYS.REQ.SERVER.*."+name) // PING in place of a server's id asks all
	}
	return append(subjects, pingTraffic)
}

// allow returns permissions for these subjects and no others.
func allow(publish []string, subscribe ...string) jwt.Permissions {
	return jwt.Permissions{Pub: jwt.Permission{Allow: publish}, Sub: jwt.Permission{Allow: subscribe}}
}

// RoleKeys are the keys that sign the users of the roles. An account lists the
// public half of each key together with the permissions of the role. So the
// permissions can be changed without new credentials.
type RoleKeys map[Role]nkeys.KeyPair

// NewRoleKeys makes role keys in memory only. They are for the embedded server, whose
// accounts list new role keys after each start. Credentials that the former keys
// signed stop working then.
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

// RoleKeys reads the role keys from the key directory. It makes and stores each one
// that is missing.
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

// scopes adds to the claims of an account the keys of the roles in it, each with the
// permissions of the role.
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
		scope.Template.BearerToken = role == sentinel // nobody has the sentinel's private key to sign a nonce with
		c.SigningKeys.AddScopedSigner(scope)
	}
	return nil
}
