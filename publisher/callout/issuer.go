package callout

import (
	"fmt"

	"github.com/nats-io/nkeys"

	"github.com/seed-e88a4ece/signoff/events"
)

var errNoSeed = events.Errorf(events.Invalid, "the key that signs answers to logins is no seed of an account nkey")

// NewIssuer makes the seed of a key that signs answers to logins. Keep it
// secret: whoever has it can let anyone into any account.
func NewIssuer() (seed []byte, err error) {
	key, err := nkeys.CreateAccount()
	if err != nil {
		return nil, fmt.Errorf("make issuer of logins: %w", err)
	}
	return key.Seed()
}

// IssuerKey returns the public key of a seed, which the servers must know.
func IssuerKey(seed []byte) (string, error) {
	key, err := nkeys.FromSeed(seed)
	if err != nil {
		return "", errNoSeed // without the cause, which may show the seed
	}
	public, err := key.PublicKey()
	if err != nil || !nkeys.IsValidPublicAccountKey(public) {
		return "", errNoSeed
	}
	return public, nil
}
