package accounts

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
)

const wrongPassword = "The user name or the password is wrong."

// Authenticate returns the PI whose user name and password these are. Address
// says where the request comes from: an IP address, or "local".
//
// The error is Unauthenticated, with the same message and after the same time
// whether the user is unknown, disabled or the password wrong (after a change of
// the cost of hashes only once the user has signed in again); or Throttled,
// after five failures in a row for 15 minutes for that user from that address,
// and where too many check at once. It is Internal if the password that is
// stored cannot be checked. Failures are audited.
func (acc *Accounts) Authenticate(ctx context.Context, user, password, address string) (PI, error) {
	a := attempt{kind: kindUser, name: user, address: access.Place(address)}
	if !events.ValidUser(user) {
		a.name = "" // nobody's; not worth keeping
	}
	if len(password) > maxPassword {
		password = "" // nobody's
	}
	failures, err := acc.failures(ctx, a)
	if err != nil {
		return PI{}, err
	}
	p, err := acc.findPerson(ctx, user)
	if err != nil {
		return PI{}, err
	}
	tag := acc.passwords.tag(user, password, p.Password)
	if p.Disabled != "" || !acc.passwords.remembers(tag, acc.ledger.Now()) {
		renewed, err := acc.checkPassword(ctx, a, p, password)
		if err != nil {
			return PI{}, err
		}
		if renewed != "" && acc.storeRenewed(ctx, p, renewed) {
			tag = acc.passwords.tag(user, password, renewed)
		}
		acc.passwords.remember(tag, acc.ledger.Now())
	}
	if failures > 0 {
		if err := acc.forgetFailures(ctx, a); err != nil {
			return PI{}, err
		}
	}
	return acc.describe(ctx, p)
}

// findPerson returns the stored PI, or one whom no password opens.
func (acc *Accounts) findPerson(ctx context.Context, user string) (p person, err error) {
	err = acc.ledger.DB.Reader.GetContext(ctx, &p, `select "user", name, password, disabled from people where "user" = ?`, user)
	if errors.Is(err, sql.ErrNoRows) {
		return person{Password: acc.passwords.decoy}, nil
	}
	if err != nil {
		return p, fmt.Errorf("look up PI: %w", err)
	}
	return p, nil
}

// checkPassword computes the hash, whoever asks, and records a failure. After a
// success it returns a hash of the present cost, if the stored one is of
// another.
func (acc *Accounts) checkPassword(ctx context.Context, a attempt, p person, password string) (renewed string, err error) {
	done, err := acc.passwords.wait(ctx)
	if err != nil {
		return "", err
	}
	defer done()
	// Those who asked at the same time may have failed in the meantime.
	if _, err := acc.failures(ctx, a); err != nil {
		return "", err
	}
	opens, err := check(password, p.Password)
	switch {
	case err != nil:
		return "", &events.Error{
			Code: events.Internal, Err: err,
			Message: fmt.Sprintf("the stored password of %s cannot be checked; set it anew with signoff pi password %[1]s", p.User),
		}
	case p.User == "":
		return "", acc.fail(ctx, a, "unknown user", wrongPassword)
	case !opens:
		return "", acc.fail(ctx, a, "wrong password", wrongPassword)
	case p.Disabled != "":
		return "", acc.fail(ctx, a, "disabled", wrongPassword)
	}
	return renew(password, p.Password), nil
}

// storeRenewed puts a hash of the present cost in place of the one that a
// password was checked by, and reports whether it did. It does not where the
// password was set anew meanwhile. A failure is logged and fails no sign-in:
// the next one tries again.
func (acc *Accounts) storeRenewed(ctx context.Context, p person, renewed string) (stored bool) {
	err := acc.ledger.Update(ctx, "renew the hash of a password", func(tx *ledger.Tx) error {
		stored = false
		result, err := tx.Exec(`update people set password = ? where "user" = ? and password = ?`, renewed, p.User, p.Password)
		if err != nil {
			return err
		}
		if !ledger.ChangedOne(result) {
			return nil
		}
		stored = true
		return tx.Audit(ledger.Line{Actor: p.User, Action: actionPIRehashed, Subject: p.User})
	})
	if err != nil {
		acc.log.Warn("the hash of a password keeps its former cost", "user", p.User, "cause", err)
	}
	return stored && err == nil
}
