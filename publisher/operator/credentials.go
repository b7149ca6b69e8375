package operator

import (
	"crypto/sha256"
	"fmt"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/seed-e88a4ece/signoff/events"
)

// user returns the key of a role's user. It is computed from the key of the role.
// So credentials that are written again are the same.
func (r RoleKeys) user(role Role) (nkeys.KeyPair, error) {
	pair, ok := r[role]
	if !ok {
		return nil, events.Errorf(events.Invalid, "%q is not a role of the NATS server", role)
	}
	seed, err := pair.Seed()
	if err != nil {
		return nil, fmt.Errorf("read the key of role %s: %w", role, err)
	}
	digest := sha256.Sum256(append([]byte("user "), seed...))
	user, err := nkeys.FromRawSeed(nkeys.PrefixByteUser, digest[:])
	if err != nil {
		return nil, fmt.Errorf("make the user of role %s: %w", role, err)
	}
	return user, nil
}

// firstIssue is the time of issue of JWTs that never change for the same keys: those
// of the operator and of users. The permissions of a role's users are in its account.
const firstIssue = 1

// userJWT returns the JWT of a role's user and the user's key.
func (k *Keys) userJWT(roles RoleKeys, role Role) (string, nkeys.KeyPair, error) {
	user, err := roles.user(role)
	if err != nil {
		return "", nil, err
	}
	key, err := user.PublicKey()
	if err != nil {
		return "", nil, fmt.Errorf("read the key of role %s: %w", role, err)
	}
	c := jwt.NewUserClaims(key)
	c.Name = "signoff." + string(role)
	c.IssuerAccount = k.account(role)
	c.SetScoped(true)
	text, err := encode(c, roles[role], firstIssue)
	return text, user, err
}

// Credentials returns the content of a credentials file (.creds) with which a role
// logs in.
func (k *Keys) Credentials(roles RoleKeys, role Role) ([]byte, error) {
	text, user, err := k.userJWT(roles, role)
	if err != nil {
		return nil, err
	}
	seed, err := user.Seed()
	if err != nil {
		return nil, fmt.Errorf("read the key of role %s: %w", role, err)
	}
	return jwt.FormatUserConfig(text, seed)
}

// Login returns the option with which a connection logs in as a role.
func (k *Keys) Login(roles RoleKeys, role Role) (nats.Option, error) {
	text, user, err := k.userJWT(roles, role)
	if err != nil {
		return nil, err
	}
	return nats.UserJWT(func() (string, error) { return text, nil }, user.Sign), nil
}
