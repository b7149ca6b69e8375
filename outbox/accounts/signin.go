package accounts

import (
	"context"
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
)

const wrongPassword = "The user name or the password is wrong."

// Authenticate returns the PI with this user name and password, and records the
// sign-in. Address is where the request comes from: an IP address, or "local". For 15
// minutes after a success the same password is not checked again. It is then recorded
// only if there are failures from that address, which it ends.
//
// The error is Unauthenticated if the user is unknown or disabled or the password
// is wrong, with the same message and after the same time in all three cases. Its
// RetryAfter is set if the user is locked from now on. (A user whose hash has another
// cost than the present one takes another time until the next sign-in.) It is Forbidden
// for a one-time password, which opens only ChoosePassword. It is Throttled for 15
// minutes after five failures in a row of that user from that address, and while too
// many passwords are checked. It is Internal if the stored hash cannot be checked.
// Failures are audited.
func (acc *Accounts) Authenticate(ctx context.Context, user, password, address string) (PI, error) {
	ctx = ledger.WithAddress(ctx, address)
	a, p, failures, err := acc.identify(ctx, user, address)
	if err != nil {
		return PI{}, err
	}
	tag := acc.passwords.tag(user, password, p.password)
	remembered := p.Disabled == "" && acc.passwords.remembers(tag, acc.ledger.Now())
	if !remembered {
		renewed, err := acc.checkPassword(ctx, a, p, password)
		if err != nil {
			return PI{}, err
		}
		if p.OneTime != "" { // never remembered, so it always gets here
			return PI{}, acc.refuse(ctx, a, "one-time password", events.Errorf(events.Forbidden,
				"this password of %s is only for choosing another one: signoff pi password %[1]s", p.user))
		}
		if renewed != "" && acc.storeRenewed(ctx, p, renewed) {
			tag = acc.passwords.tag(user, password, renewed)
		}
	}
	if !remembered || failures > 0 {
		if err := acc.recordSignIn(ctx, a); err != nil {
			return PI{}, err
		}
	}
	if !remembered { // only after the sign-in was recorded, so that an unrecorded one is checked again
		acc.passwords.remember(tag, acc.ledger.Now())
	}
	return p.describe()
}

// identify returns the attempt, the stored PI, and how many times in a row that user
// failed to sign in from that address. For an unknown user it returns a person without a
// name whose hash no password matches, so that checking takes as long. The error is
// Throttled while the user is locked for the address.
//
// It reads all that a request with a remembered password needs in one statement.
func (acc *Accounts) identify(ctx context.Context, user, address string) (a attempt, p person, failures int, err error) {
	a = attempt{kind: kindUser, name: user, address: access.Place(address), from: address}
	if !events.ValidUser(user) {
		a.name = "" // nobody has a malformed name, and it is not to be stored
	}
	var wrong access.WrongAttempts
	// With a context that can end, each query has goroutines that wait for that. They
	// would cost more than these few rows do.
	err = database.Each(context.WithoutCancel(ctx), acc.ledger.DB.Reader, func(row database.Row) error {
		var last string
		if err := p.scan(row, &wrong.Count, &last); err != nil || last == "" {
			return err
		}
		wrong.Last, err = events.ParseTime(last)
		return err
	}, `
		select `+personColumns+`, coalesce(f.count, 0), coalesce(f.time, '')
		from (select 1) one
		left join failures f on f.kind = +? and f.name = +? and f.address = +?
		left join people p on p."user" = +?`+joinPerson+`
		order by g.study`, a.kind, a.name, a.address, user)
	if err != nil {
		return a, p, 0, fmt.Errorf("look up PI: %w", err)
	}
	if a.known = p.user != ""; !a.known {
		p = person{password: acc.passwords.decoy}
	}
	failures, err = acc.locked(a, wrong)
	return a, p, failures, err
}

// recordSignIn stores the time and address of a sign-in, and forgets the failures in a
// row before it.
func (acc *Accounts) recordSignIn(ctx context.Context, a attempt) error {
	return acc.ledger.Update(ctx, "record sign-in", func(tx *ledger.Tx) error {
		_, err := tx.Exec(`
			insert into sign_ins ("user", time, address)
			values (?, ?, ?)
			on conflict ("user") do update
			set time = excluded.time, address = excluded.address`, a.name, events.FormatTime(tx.Now), a.address)
		if err != nil {
			return err
		}
		return forgetFailures(tx, a)
	})
}

// refuse audits that the right password was refused, and returns the refusal. The
// attempt does not add to the failures in a row, because nothing was guessed.
func (acc *Accounts) refuse(ctx context.Context, a attempt, reason string, refusal error) error {
	err := acc.ledger.Update(ctx, "record failed sign-in", func(tx *ledger.Tx) error {
		return recordInQuarterHour(tx, a.group(), quarterHour{tried: a.name, reason: reason, from: a.from, count: 1, last: tx.Now})
	})
	if err != nil {
		return err
	}
	acc.failed.WithLabelValues(a.kind, "refused").Inc()
	return refusal
}

// checkPassword returns an error unless the password is that of p and p is not disabled.
// It computes the hash for unknown and disabled users too, so that all take as long, and
// records a failure. After a success it returns a hash of the present cost if the stored
// one has another cost, or else an empty string.
func (acc *Accounts) checkPassword(ctx context.Context, a attempt, p person, password string) (renewed string, err error) {
	done, err := acc.passwords.wait(ctx)
	if err != nil {
		return "", err
	}
	defer done()
	// Other attempts may have failed while this one waited for its turn.
	if _, err := acc.lockedFailures(ctx, a); err != nil {
		return "", err
	}
	matches, err := check(password, p.password)
	switch {
	case err != nil:
		return "", &events.Error{
			Code: events.Internal, Err: err,
			Message: fmt.Sprintf("the stored password of %s cannot be checked; have the operator set a one-time password with signoff pi reset %[1]s", p.user),
		}
	case p.user == "":
		return "", acc.fail(ctx, a, "unknown user")
	case !matches:
		return "", acc.fail(ctx, a, "wrong password")
	case p.Disabled != "":
		return "", acc.fail(ctx, a, "disabled")
	}
	return renew(password, p.password), nil
}

// storeRenewed stores a hash of the present cost in place of the one that the password
// was checked with, and reports whether it did. It does not if the password was replaced
// meanwhile. An error is logged and does not fail the sign-in, because the next sign-in
// tries again.
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
