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

// Authenticate returns the PI with this user name and password. Address is where
// the request comes from: an IP address, or "local".
//
// The error is Unauthenticated if the user is unknown or disabled or the password
// is wrong, with the same message and after the same time in all three cases. (A
// user whose hash has another cost than the present one takes another time until
// the next sign-in.) It is Throttled for 15 minutes after five failures in a row
// of that user from that address, and while too many passwords are checked. It is
// Internal if the stored hash cannot be checked. Failures are audited.
func (acc *Accounts) Authenticate(ctx context.Context, user, password, address string) (PI, error) {
	ctx = ledger.WithAddress(ctx, address)
	a := attempt{kind: kindUser, name: user, address: access.Place(address)}
	if !events.ValidUser(user) {
		a.name = "" // not anybody's, so it is not stored
	}
	if len(password) > maxPassword {
		password = "" // not anybody's
	}
	failures, err := acc.failures(ctx, a)
	if err != nil {
		return PI{}, err
	}
	p, err := acc.findPerson(ctx, user)
	if err != nil {
		return PI{}, err
	}
	tag := acc.passwords.tag(user, password, p.password)
	if p.disabled != "" || !acc.passwords.remembers(tag, acc.ledger.Now()) {
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

// findPerson returns the stored PI. For an unknown user it returns a person
// without a name whose hash no password matches, so that checking takes as long.
func (acc *Accounts) findPerson(ctx context.Context, user string) (person, error) {
	p, err := scanPerson(acc.ledger.DB.Reader.QueryRowContext(ctx, `select "user", name, password, disabled from people where "user" = ?`, user))
	if errors.Is(err, sql.ErrNoRows) {
		return person{password: acc.passwords.decoy}, nil
	}
	if err != nil {
		return p, fmt.Errorf("look up PI: %w", err)
	}
	return p, nil
}

// checkPassword computes the hash, for unknown and disabled users too, and records
// a failure. After a success it returns a hash of the present cost, if the stored
// one has another.
func (acc *Accounts) checkPassword(ctx context.Context, a attempt, p person, password string) (renewed string, err error) {
	done, err := acc.passwords.wait(ctx)
	if err != nil {
		return "", err
	}
	defer done()
	// Other attempts may have failed while this one waited for its turn.
	if _, err := acc.failures(ctx, a); err != nil {
		return "", err
	}
	matches, err := check(password, p.password)
	switch {
	case err != nil:
		return "", &events.Error{
			Code: events.Internal, Err: err,
			Message: fmt.Sprintf("the stored password of %s cannot be checked; set it anew with signoff pi password %[1]s", p.user),
		}
	case p.user == "":
		return "", acc.fail(ctx, a, "unknown user", wrongPassword)
	case !matches:
		return "", acc.fail(ctx, a, "wrong password", wrongPassword)
	case p.disabled != "":
		return "", acc.fail(ctx, a, "disabled", wrongPassword)
	}
	return renew(password, p.password), nil
}

// storeRenewed stores a hash of the present cost in place of the one that the
// password was checked by, and reports whether it did: not if the password was
// set anew meanwhile. An error is logged and does not fail the sign-in, because
// the next one tries again.
func (acc *Accounts) storeRenewed(ctx context.Context, p person, renewed string) (stored bool) {
	err := acc.ledger.Update(ctx, "renew the hash of a password", func(tx *ledger.Tx) error {
		stored = false
		now, err := getPerson(tx, p.user)
		if err != nil || now.password != p.password {
			return err
		}
		line, err := tx.AddLine(ledger.Line{Actor: p.user, Action: actionPIRehashed, Subject: p.user})
		if err != nil {
			return err
		}
		_, err = tx.Exec(`update people set password = ?, line = ? where "user" = ?`, renewed, line, p.user)
		stored = err == nil
		return err
	})
	if err != nil {
		acc.log.Warn("the hash of a password keeps its former cost", "user", p.user, "cause", err)
	}
	return stored && err == nil
}
