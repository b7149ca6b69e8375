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

// answerWithin is how long a server keeps the way back open for an answer that
// does not come, except to a request that waits for events to happen.
const answerWithin = 10 * time.Second

// operatorJWT is what servers trust: an account counts if the signing key has
// signed it, and a user if a signing key of its account has.
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

// newAccount begins the claims of an account without JetStream and leaf nodes.
func newAccount(key, name string) *jwt.AccountClaims {
	c := jwt.NewAccountClaims(key)
	c.Name = name
	c.Limits.LeafNodeConn = 0
	return c
}

// systemJWT is the account in which servers are asked and accounts are pushed.
func (k *Keys) systemJWT(roles RoleKeys, issued int64) (string, error) {
	c := newAccount(k.System, AccountSystem)
	if err := k.scopes(c, roles); err != nil {
		return "", err
	}
	return encode(c, k.accounts, issued)
}

// authJWT is the account in which logins are answered. Servers ask about each of
// its users but the one that answers.
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

// appJWT is the account of the stream. It exports by wildcards, so that it does
// not change with partners; which of it a partner's account imports is decided
// by whoever signs that.
func (k *Keys) appJWT(roles RoleKeys, issued int64) (string, error) {
	c := newAccount(k.App, AccountApp)
	c.Limits.JetStreamLimits = jwt.JetStreamLimits{
		MemoryStorage: jwt.NoLimit, DiskStorage: jwt.NoLimit, Streams: jwt.NoLimit, Consumer: jwt.NoLimit, MaxAckPending: jwt.NoLimit,
	}
	a := tenancy.AccountOf("*", []string{"*"}, tenancy.Limits{})
	seen := make(map[string]bool)
	for _, s := range a.Services {
		// A consumer's name is one part of a subject, with a study or without.
		subject := strings.ReplaceAll(s.Subject, "*=*", "*")
		if seen[subject] {
			continue
		}
		seen[subject] = true
		e := &jwt.Export{Type: jwt.Service, Subject: jwt.Subject(subject), ResponseType: jwt.ResponseTypeStream}
		if !s.Streamed {
			e.ResponseType, e.ResponseThreshold = jwt.ResponseTypeSingleton, answerWithin
		}
		c.Exports.Add(e)
	}
	for _, subject := range a.Streams {
		c.Exports.Add(&jwt.Export{Type: jwt.Stream, Subject: jwt.Subject(subject)})
	}
	if err := k.scopes(c, roles); err != nil {
		return "", err
	}
	return encode(c, k.accounts, issued)
}

// partnerJWT is the account of a partner. One that allows no connections has no
// key that signs logins either.
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

// sentinelJWT is the user for whom servers take a client that shows no JWT. It
// may do nothing; servers ask about it, and do what is answered.
func (k *Keys) sentinelJWT(roles RoleKeys, issued int64) (string, error) {
	c := jwt.NewUserClaims(publicKey(nkeys.PrefixByteUser, k.Operator+"."+string(sentinel)))
	c.Name = string(sentinel)
	c.IssuerAccount = k.Auth
	c.SetScoped(true)
	return encode(c, roles[sentinel], issued)
}
