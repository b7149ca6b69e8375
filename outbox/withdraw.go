package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir"
)

// Withdrawal says which signed report a PI withdraws, and why.
type Withdrawal struct {
	User        string // of the PI, who was authenticated by the caller
	ID          string // of the assessment
	Reason      string
	TraceParent string // as in SignOff
}

// Withdraw withdraws the version of an assessment that was signed last: the
// report is published once more, as entered in error and with the reason, and
// is available no longer. An earlier version does not come back; a higher one
// can be signed.
//
// The same withdrawal again gets the first answer. The error is NotFound,
// Forbidden as in SignOff, or a Conflict: nothing was signed, or the version
// was withdrawn by another PI or for another reason.
func (o *Outbox) Withdraw(ctx context.Context, wd Withdrawal) (answer Signed, err error) {
	if err := events.ValidReason(wd.Reason); err != nil {
		return Signed{}, err
	}
	wd.TraceParent = checkTraceParent(wd.TraceParent)
	err = o.update(ctx, "withdraw", func(w *work) (err error) {
		answer, err = w.withdraw(wd)
		return err
	})
	o.counters.withdrawn(err)
	return answer, err
}

func (w *work) withdraw(wd Withdrawal) (Signed, error) {
	c, err := w.load(wd.ID, wd.User)
	if err != nil {
		return Signed{}, err
	}
	if err := c.authorize(wd.User); err != nil {
		return Signed{}, err
	}
	if c.signed == 0 {
		return Signed{}, events.Errorf(events.Conflict, "assessment %s was never signed, so there is nothing to withdraw", c.id)
	}
	before, err := w.withdrawnBefore(c)
	if err != nil {
		return Signed{}, err
	}
	if before != nil {
		return w.repeatWithdrawal(c, wd, before)
	}
	return w.withdrawSigned(c, wd)
}

// withdrawn is a withdrawal on record.
type withdrawn struct {
	User   string `db:"user"`
	Reason string `db:"reason"`
	Time   string `db:"time"`
	Event  int64  `db:"event"`
}

func (w *work) withdrawnBefore(c *candidate) (*withdrawn, error) {
	var before withdrawn
	err := w.tx.Get(&before, `
		select user, reason, time, event
		from withdrawals
		where version = ?`, c.signed)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up withdrawal: %w", err)
	}
	return &before, nil
}

func (w *work) repeatWithdrawal(c *candidate, wd Withdrawal, before *withdrawn) (Signed, error) {
	if before.User != wd.User || before.Reason != wd.Reason {
		return Signed{}, events.Errorf(events.Conflict, "%s of assessment %s was withdrawn by %s at %s: %s",
			c.signedVersion, c.id, before.User, before.Time, before.Reason)
	}
	e, err := w.eventAt(before.Event)
	if err != nil {
		return Signed{}, err
	}
	return c.answer(e, c.signedVersion, c.signature), nil
}

func (w *work) withdrawSigned(c *candidate, wd Withdrawal) (Signed, error) {
	assessment, err := w.assessment(c.signed)
	if err != nil {
		return Signed{}, err
	}
	c.chain.trace = wd.TraceParent
	report := fhir.Report{Assessment: assessment, Signature: c.signature, Withdrawal: wd.Reason}
	e, row, err := c.chain.appendReport(events.ReportWithdrawn, c, report)
	if err != nil {
		return Signed{}, err
	}
	w.o.step("withdrawn")
	if err := w.noteWithdrawn(c, wd, e, row); err != nil {
		return Signed{}, err
	}
	return c.answer(e, c.signedVersion, c.signature), c.chain.close()
}

func (w *work) noteWithdrawn(c *candidate, wd Withdrawal, e events.Event, row int64) error {
	_, err := w.tx.Exec(`
		insert into withdrawals (version, user, name, reason, time, event)
		values (?, ?, ?, ?, ?, ?)`,
		c.signed, wd.User, c.signer, wd.Reason, events.FormatTime(e.Time), row)
	if err != nil {
		return fmt.Errorf("store withdrawal: %w", err)
	}
	_, err = w.tx.Exec(`
		update assessments
		set published = ?, available = 0
		where id = ?`, row, c.id)
	if err != nil {
		return fmt.Errorf("store state: %w", err)
	}
	return w.audit(entry{
		time: e.Time, actor: wd.User, action: actionWithdrawn, study: c.study, subject: c.id, version: c.signed,
		detail: struct {
			Reason string `json:"reason"`
			numberedDetail
		}{wd.Reason, numberedDetail{e.Sequence, e.ID}},
	})
}
