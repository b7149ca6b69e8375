package operator

import (
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// answerWithin is how long a server keeps the route for an answer to a request between
// accounts. It does not apply to requests for events: they wait until events happen.
const answerWithin = 10 * time.Second

// operatorJWT returns the JWT of the operator, which servers trust. A server accepts an
// account that the operator's signing key has signed, and a user that a signing key of
// its account has signed.
func (k *Keys) operatorJWT(issued int64) (string, error) {
	signing, err := k.accounts.PublicKey()
	if err != nil {
		return "", fmt.Errorf("read the key that signs accounts: %w", err)
	}
	c := jwt.NewOperatorClaims(k.Operator)
	c.Name = "signoff"
	c.SystemAccount = k.System
	c.StrictSigningKeyUsage = true
	c.SigningKeys.Add(signing)
	return encode(c, k.operator, issued)
}

// newAccount returns the claims of an account without JetStream and leaf nodes.
func newAccount(key, name string) *jwt.AccountClaims {
	c := jwt.NewAccountClaims(key)
	c.Name = name
	c.Limits.LeafNodeConn = 0
	return c
}

// systemJWT returns account SYS, in which servers are asked and accounts are pushed.
func (k *Keys) systemJWT(roles RoleKeys, issued int64) (string, error) {
	c := newAccount(k.System, AccountSystem)
	if err := k.scopes(c, roles); err != nil {
		return "", err
	}
	return encode(c, k.accounts, issued)
}

// authJWT returns account AUTH. Servers ask about the login of each of its users,
// except that of role Callout, which answers.
func (k *Keys) authJWT(roles RoleKeys, issued int64) (string, error) {
	answering, err := roles.user(Callout)
	if err != nil {
		return "", err
	}
	user, err := answering.PublicKey()
	if err != nil {
		return "", fmt.Errorf("read the key of role %s: %w", Callout, err)
	}
	answers, err := k.answers.PublicKey()
	if err != nil {
		return "", fmt.Errorf("read the key that signs answers to logins: %w", err)
	}
	c := newAccount(k.Auth, AccountAuth)
	c.SigningKeys.Add(answers)
	c.Authorization.AuthUsers.Add(user)
	c.Authorization.AllowedAccounts.Add(jwt.AnyAccount)
	if err := k.scopes(c, roles); err != nil {
		return "", err
	}
	return encode(c, k.accounts, issued)
}

// appJWT returns account APP, which has the stream. Its exports have wildcards in place
// of partners and studies, so that it does not change with them. What of it a partner
// reaches is decided by the imports of the partner's account.
func (k *Keys) appJWT(roles RoleKeys, issued int64) (string, error) {
	c := newAccount(k.App, AccountApp)
	c.Limits.JetStreamLimits = jwt.JetStreamLimits{
		MemoryStorage: jwt.NoLimit, DiskStorage: jwt.NoLimit, Streams: jwt.NoLimit, Consumer: jwt.NoLimit, MaxAckPending: jwt.NoLimit,
	}
	partners := tenancy.AccountOf("*", []string{"*"}, tenancy.Limits{})
	exported := make(map[string]bool)
	for _, s := range append(partners.Services, readServices...) {
		// A consumer's name is one part of a subject, with a study or without.
		subject := strings.ReplaceAll(s.Subject, "*=*", "*")
		if exported[subject] {
			continue
		}
		exported[subject] = true
		e := &jwt.Export{Type: jwt.Service, Subject: jwt.Subject(subject), ResponseType: jwt.ResponseTypeStream}
		if !s.Streamed {
			e.ResponseType, e.ResponseThreshold = jwt.ResponseTypeSingleton, answerWithin
		}
		c.Exports.Add(e)
	}
	for _, subject := range readStreams {
		c.Exports.Add(&jwt.Export{Type: jwt.Stream, Subject: jwt.Subject(subject)})
	}
	if err := k.scopes(c, roles); err != nil {
		return "", err
	}
	return encode(c, k.accounts, issued)
}

// readServices are the requests that account READ imports from APP. None of them changes
// anything. The answer to a direct get of several messages is several messages.
var readServices = []tenancy.Service{
	{Subject: api + "INFO"},
	{Subject: api + "STREAM.NAMES"},
	{Subject: api + "STREAM.LIST"},
	{Subject: api + "STREAM.INFO." + stream},
	{Subject: api + "STREAM.MSG.GET." + stream},
	{Subject: api + "DIRECT.GET." + stream, Streamed: true},
	{Subject: api + "DIRECT.GET." + stream + ".>", Streamed: true},
	{Subject: api + "CONSUMER.NAMES." + stream},
	{Subject: api + "CONSUMER.LIST." + stream},
	{Subject: api + "CONSUMER.INFO." + stream + ".*"},
}

// readStreams are the live subjects that account READ imports from APP: all. Those of
// partners are among them.
var readStreams = append(tenancy.AccountOf("*", []string{"*"}, tenancy.Limits{}).Streams, events.AccessSubject)

// readJWT returns account READ, whose users read the stream. It has no JetStream, and
// imports only requests that change nothing. A server sends the answer to an imported
// request to a subject of its own in APP, and from there to the reply subject in READ. So
// the answer reaches no subscriber in APP or in the account of a partner, whatever the
// reply subject is.
func (k *Keys) readJWT(roles RoleKeys, issued int64) (string, error) {
	c := newAccount(k.Read, AccountRead)
	c.Limits.Exports = 0
	for _, s := range readServices {
		c.Imports.Add(&jwt.Import{Type: jwt.Service, Account: k.App, Subject: jwt.Subject(s.Subject), LocalSubject: jwt.RenamingSubject(s.Subject)})
	}
	for _, subject := range readStreams {
		c.Imports.Add(&jwt.Import{Type: jwt.Stream, Account: k.App, Subject: jwt.Subject(subject)})
	}
	if err := k.scopes(c, roles); err != nil {
		return "", err
	}
	return encode(c, k.accounts, issued)
}

// partnerJWT returns the account of a partner. An account that allows no connections
// is closed: it has no imports, and no key with which logins to it could be signed.
func (k *Keys) partnerJWT(a tenancy.Account, issued int64) (string, error) {
	id, ok := strings.CutPrefix(a.Name, tenancy.AccountPrefix)
	if !ok || !events.ValidPartnerID(id) {
		return "", events.Errorf(events.Invalid, "%q is not the account of a partner", a.Name)
	}
	c := newAccount(k.PartnerAccount(id), a.Name)
	c.Limits.Conn = int64(a.Limits.Connections)
	c.Limits.Subs = int64(a.Limits.Subscriptions)
	c.Limits.Payload = int64(a.Limits.Payload)
	c.Limits.Exports, c.Limits.DisallowBearer = 0, true
	if a.Limits.Connections == 0 {
		c.Limits.Imports = 0
		return encode(c, k.accounts, issued)
	}
	logins, err := k.login.PublicKey()
	if err != nil {
		return "", fmt.Errorf("read the key that signs logins: %w", err)
	}
	c.SigningKeys.Add(logins)
	for _, s := range a.Services {
		c.Imports.Add(&jwt.Import{
			Type: jwt.Service, Account: k.App, Subject: jwt.Subject(s.Subject), LocalSubject: jwt.RenamingSubject(s.Import),
		})
	}
	if a.Mapping != (tenancy.Mapping{}) {
		c.AddMapping(jwt.Subject(a.Mapping.From), jwt.WeightedMapping{Subject: jwt.Subject(a.Mapping.To), Weight: 100})
	}
	for _, subject := range a.Streams {
		c.Imports.Add(&jwt.Import{Type: jwt.Stream, Account: k.App, Subject: jwt.Subject(subject)})
	}
	return encode(c, k.accounts, issued)
}

// sentinelJWT returns the JWT of the sentinel.
func (k *Keys) sentinelJWT(roles RoleKeys, issued int64) (string, error) {
	c := jwt.NewUserClaims(publicKey(nkeys.PrefixByteUser, k.Operator+"."+string(sentinel)))
	c.Name = string(sentinel)
	c.IssuerAccount = k.Auth
	c.SetScoped(true)
	return encode(c, roles[sentinel], issued)
}
