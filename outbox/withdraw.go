package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
)

// Withdrawal is a request of a PI to withdraw a signed report.
type Withdrawal struct {
	User        string // of the PI, who was authenticated by the caller
	ID          string // of the assessment
	Reason      string
	TraceParent string // as in SignOff
}

// Withdraw withdraws the version of an assessment that was signed last: the
// report is published once more, with the status entered-in-error and the
// reason, and is no longer available. An earlier version does not come back; a higher one
// can be signed.
//
// For the same withdrawal again, Withdraw returns the first answer. The error is
// NotFound, Forbidden as in SignOff, or a Conflict: nothing was signed, or the
// version was withdrawn by another PI or for another reason.
func (o *Outbox) Withdraw(ctx context.Context, wd Withdrawal) (answer Signed, err error) {
	if err := events.ValidReason(wd.Reason); err != nil {
		return Signed{}, err
	}
	wd.TraceParent = checkTraceParent(wd.TraceParent)
	err = o.update(ctx, "withdraw", func(tx *transaction) (err error) {
		answer, err = tx.withdraw(wd)
		return err
	})
	o.counters.withdrawn(err)
	return answer, err
}

func (tx *transaction) withdraw(wd Withdrawal) (Signed, error) {
	c, err := tx.load(wd.ID, wd.User)
	if err != nil {
		return Signed{}, err
	}
	if err := c.authorize(wd.User); err != nil {
		return Signed{}, err
	}
	if c.signed == 0 {
		return Signed{}, events.Errorf(events.Conflict, "assessment %s was never signed, so there is nothing to withdraw", c.id)
	}
	before, err := tx.findWithdrawal(c)
	if err != nil {
		return Signed{}, err
	}
	if before != nil {
		return tx.repeatWithdrawal(c, wd, before)
	}
	return tx.withdrawSigned(c, wd)
}

// withdrawalRow is a stored withdrawal.
type withdrawalRow struct {
	user, reason, time string
	event              int64 // events.row
}

// findWithdrawal returns the withdrawal of the candidate's signed version; nil
// where there is none.
func (tx *transaction) findWithdrawal(c *candidate) (*withdrawalRow, error) {
	var before withdrawalRow
	err := tx.QueryRow(`
		select "user", reason, time, event
		from withdrawals
		where version = ?`, c.signed).Scan(&before.user, &before.reason, &before.time, &before.event)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up withdrawal: %w", err)
	}
	return &before, nil
}

func (tx *transaction) repeatWithdrawal(c *candidate, wd Withdrawal, before *withdrawalRow) (Signed, error) {
	if before.user != wd.User || before.reason != wd.Reason {
		return Signed{}, events.Errorf(events.Conflict, "%s of assessment %s was withdrawn by %s at %s: %s",
			c.signedVersion, c.id, before.user, before.time, before.reason)
	}
	e, err := tx.EventAt(before.event)
	if err != nil {
		return Signed{}, err
	}
	return c.answer(e, c.signedVersion, c.signature), nil
}

func (tx *transaction) withdrawSigned(c *candidate, wd Withdrawal) (Signed, error) {
	assessment, err := tx.assessment(c.signed)
	if err != nil {
		return Signed{}, err
	}
	c.chain.TraceParent = wd.TraceParent
	report := fhir.Report{Assessment: assessment, Signature: c.signature, Withdrawal: wd.Reason}
	e, row, err := appendReport(c.chain, events.ReportWithdrawn, c, report)
	if err != nil {
		return Signed{}, err
	}
	tx.o.step("withdrawn")
	if err := tx.storeWithdrawn(c, wd, e, row); err != nil {
		return Signed{}, err
	}
	return c.answer(e, c.signedVersion, c.signature), c.chain.Close()
}

func (tx *transaction) storeWithdrawn(c *candidate, wd Withdrawal, e events.Event, row int64) error {
	_, err := tx.Exec(`
		insert into withdrawals (version, "user", name, reason, time, event)
		values (?, ?, ?, ?, ?, ?)`,
		c.signed, wd.User, c.signer, wd.Reason, events.FormatTime(e.Time), row)
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
			Reason string `json:"reason"`
			numberedDetail
		}{wd.Reason, numberedDetail{e.Number, e.ID}},
	})
}
