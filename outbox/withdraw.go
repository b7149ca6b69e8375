package outbox

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
	"github.com/seed-e88a4ece/signoff/outbox/internal/stored"
)

// Withdrawal is a request of a PI to withdraw a signed report. It is a signature.
type Withdrawal struct {
	User        string // of the PI, who was authenticated by the caller
	ID          string // of the assessment
	Meaning     string // of the signature by which it is withdrawn (21 CFR 11.50)
	Reason      string
	TraceParent string // as in SignOff
	Credential  string // as in SignOff

	// Registration, if not 0, is Version.Registration of the version to be withdrawn.
	// If another version was signed last, Withdraw returns a Conflict.
	Registration int64

	// Tag, if not empty, is review.Case.Tag of the assessment that the PI has seen. If it
	// has another one by now, and was not withdrawn, Withdraw returns a Stale Error.
	Tag string

	Channel string // as in SignOff
}

// Withdraw withdraws the version of an assessment that was signed last. The report is
// published once more, with the status entered-in-error, the reason, and the signature
// of the withdrawal beside that of the sign-off. Then it is no longer available. No
// earlier version becomes available again; a higher one can be signed.
//
// For the same withdrawal again, Withdraw returns the first answer. The error is
// NotFound, Forbidden as in SignOff, or a Conflict: nothing was signed, another
// version than the one meant was signed last, or the version was withdrawn by
// another PI, with another meaning or for another reason. A refusal is audited.
func (o *Outbox) Withdraw(ctx context.Context, wd Withdrawal) (answer Signed, err error) {
	wd.TraceParent = checkTraceParent(wd.TraceParent)
	if err = cmp.Or(events.ValidMeaning(wd.Meaning), events.ValidReason(wd.Reason)); err == nil {
		err = o.update(ctx, "withdraw", func(tx *transaction) (err error) {
			answer, err = tx.withdraw(wd)
			return err
		})
	}
	o.counters.withdrawn(err)
	if err != nil {
		err = o.RecordRefusedWithdrawal(ctx, wd, err)
	}
	return answer, err
}

// withdraw checks the request and withdraws the version signed last. If that was
// withdrawn before, it returns the first answer.
func (tx *transaction) withdraw(wd Withdrawal) (Signed, error) {
	c, err := tx.load(wd.ID, wd.User)
	if err != nil {
		return Signed{}, err
	}
	if err := c.authorize(wd.User, wd.Credential); err != nil {
		return Signed{}, err
	}
	if c.signed == 0 {
		return Signed{}, events.Errorf(events.Conflict, "assessment %s was never signed, so there is nothing to withdraw", c.id)
	}
	if wd.Registration != 0 && wd.Registration != c.signed {
		return Signed{}, events.Errorf(events.Conflict, "another version of assessment %s than the one to be withdrawn was signed last: %s; look at it and withdraw again",
			c.id, c.whatWasSigned())
	}
	before, err := tx.findWithdrawal(c)
	if err != nil {
		return Signed{}, err
	}
	if before != nil {
		return tx.firstWithdrawalAnswer(c, wd, before)
	}
	if err := tx.checkTag(wd.Tag, c.id); err != nil {
		return Signed{}, err
	}
	return tx.withdrawSigned(c, wd)
}

// withdrawalRow is a stored withdrawal. Its meaning is empty where it was stored
// before withdrawals were signatures.
type withdrawalRow struct {
	user, name, meaning, reason, time string
	event                             int64 // events.row
}

// findWithdrawal returns the withdrawal of the candidate's signed version; nil
// where there is none.
func (tx *transaction) findWithdrawal(c *candidate) (*withdrawalRow, error) {
	var before withdrawalRow
	err := tx.QueryRow(`
		select "user", name, meaning, reason, time, event
		from withdrawals
		where version = ?`, c.signed).Scan(&before.user, &before.name, &before.meaning, &before.reason, &before.time, &before.event)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up withdrawal: %w", err)
	}
	return &before, nil
}

// firstWithdrawalAnswer returns again the answer to the withdrawal that is stored, which
// is before. The error is a Conflict if the request differs from it. A stored withdrawal
// without a meaning matches any meaning.
func (tx *transaction) firstWithdrawalAnswer(c *candidate, wd Withdrawal, before *withdrawalRow) (Signed, error) {
	if before.user != wd.User || before.reason != wd.Reason || before.meaning != wd.Meaning && before.meaning != "" {
		return Signed{}, events.Errorf(events.Conflict, "%s of assessment %s was withdrawn by %s at %s: %s",
			c.signedVersion, c.id, before.user, before.time, before.reason)
	}
	e, err := tx.EventAt(before.event)
	if err != nil {
		return Signed{}, err
	}
	signature := events.Signature{User: before.user, Name: before.name, Meaning: before.meaning}
	if signature.Time, err = events.ParseTime(before.time); err != nil {
		return Signed{}, fmt.Errorf("read withdrawal: %w", err)
	}
	return c.withdrawalAnswer(e, signature), nil
}

func (c *candidate) withdrawalAnswer(e events.Event, signature events.Signature) Signed {
	answer := c.answer(e, c.signedVersion, c.signature)
	answer.Withdrawal = &signature
	return answer
}

// withdrawSigned appends the event of the withdrawal and stores its signature. The
// version must not be withdrawn yet.
func (tx *transaction) withdrawSigned(c *candidate, wd Withdrawal) (Signed, error) {
	if err := tx.checkTime(); err != nil {
		return Signed{}, err
	}
	content, err := tx.content(c.signed)
	if err != nil {
		return Signed{}, err
	}
	assessment, err := stored.Decode(content)
	if err != nil {
		return Signed{}, err
	}
	c.chain.TraceParent = wd.TraceParent
	_, moment := c.chain.Next()
	signature := events.Signature{User: wd.User, Name: c.signer, Meaning: wd.Meaning, Time: moment}
	report := fhir.Report{
		Assessment: assessment, Signature: c.signature,
		Withdrawal: &fhir.Withdrawal{Signature: signature, Reason: wd.Reason},
	}
	e, row, err := appendReport(c.chain, events.ReportWithdrawn, c, report)
	if err != nil {
		return Signed{}, err
	}
	tx.o.step("withdrawn")
	if err := tx.storeWithdrawn(c, wd, signature, e, row); err != nil {
		return Signed{}, err
	}
	return c.withdrawalAnswer(e, signature), c.chain.Close()
}

// storeWithdrawn stores the withdrawal with its line in the audit trail, and makes the
// report unavailable. Row is the events.row of e.
func (tx *transaction) storeWithdrawn(c *candidate, wd Withdrawal, signature events.Signature, e events.Event, row int64) error {
	_, err := tx.Exec(`
		insert into withdrawals (version, "user", name, meaning, reason, time, event)
		values (?, ?, ?, ?, ?, ?, ?)`,
		c.signed, wd.User, c.signer, wd.Meaning, wd.Reason, events.FormatTime(e.Time), row)
	if err != nil {
		return fmt.Errorf("store withdrawal: %w", err)
	}
	_, err = tx.Exec(`
		update assessments
		set published = ?, available = 0
		where id = ?`, row, c.id)
	if err != nil {
		return fmt.Errorf("store state: %w", err)
	}
	return tx.Audit(ledger.Line{
		Time: e.Time, Actor: wd.User, Action: actionWithdrawn, Study: c.study, Subject: c.id, Version: c.signed,
		Detail: struct {
			Meaning string `json:"meaning"`
			Reason  string `json:"reason"`
			numberedDetail
			Reset   string `json:"passwordReset,omitempty"`
			Channel string `json:"channel,omitempty"`
		}{wd.Meaning, wd.Reason, numberedDetail{e.Number, e.ID}, c.resetBefore(signature), wd.Channel},
	})
}
