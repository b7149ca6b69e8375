// Package accountstest has for tests what takes two people in an installation: an
// operator who adds a PI, and the PI, who then chooses a password. It uses the same two
// methods, and leaves the same lines in the audit trail.
package accountstest

import (
	"context"
	"crypto/rand"

	"github.com/seed-e88a4ece/signoff/outbox/accounts"
)

// AddPI adds a PI with a one-time password and chooses the password in its place.
func AddPI(ctx context.Context, acc *accounts.Accounts, by, user, name string, studies []string, password string) error {
	oneTime := rand.Text()
	if err := acc.AddPI(ctx, by, user, name, studies, oneTime); err != nil {
		return err
	}
	return acc.ChoosePassword(ctx, user, oneTime, password, "local")
}
