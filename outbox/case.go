package outbox

import (
	"database/sql"
	"errors"
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
)

// caseRow is what is stored of a case before a registration; zero where it is new.
type caseRow struct {
	Subject  string `db:"subject"`
	Revision int32  `db:"revision"` // the highest ever signed; 0 for none
}

// heldCase looks up the assessment's case. Once anything of it was signed, it
// refuses another subject.
func (tx *transaction) heldCase(study int64, a events.Assessment) (held caseRow, err error) {
	err = tx.Get(&held, `
		select subject, revision
		from cases
		where study = ? and number = ?`, study, a.Case.ID)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return held, nil
	case err != nil:
		return held, fmt.Errorf("look up case: %w", err)
	case held.Revision > 0 && held.Subject != a.Subject:
		return held, &events.Error{Code: events.Conflict, Field: "subject", Message: fmt.Sprintf(
			"case %d of study %s belongs to subject %s, not %s", a.Case.ID, a.Study, held.Subject, a.Subject)}
	}
	return held, nil
}

// bindCase creates the assessment's case. If there is a case of which nothing was
// signed, it gets the assessment's subject; what else waits in it for the former
// subject cannot be signed until it is registered again.
func (tx *transaction) bindCase(by string, study int64, held caseRow, a events.Assessment) error {
	if held.Subject == a.Subject {
		return nil
	}
	_, err := tx.Exec(`
		insert into cases (study, number, subject)
		values (?, ?, ?)
		on conflict (study, number) do update set subject = excluded.subject`, study, a.Case.ID, a.Subject)
	if err != nil {
		return fmt.Errorf("store case: %w", err)
	}
	if held.Subject == "" {
		return nil
	}
	return tx.Audit(ledger.Line{
		Actor: by, Action: actionCaseRebound, Study: a.Study, Subject: a.ID,
		Detail: caseReboundDetail{a.Case.ID, held.Subject, a.Subject},
	})
}

// caseReboundDetail is what the audit trail says of a case that changes hands.
type caseReboundDetail struct {
	Case int32  `json:"case"`
	From string `json:"from"` // subject
	To   string `json:"to"`
}

// bindAssessment creates the assessment in its case, or moves it there from
// the one it was registered in before, where nothing of it was signed.
func (tx *transaction) bindAssessment(by string, study int64, known *assessmentRow, a events.Assessment) error {
	if known == nil {
		_, err := tx.Exec(`
			insert into assessments (id, study, number)
			values (?, ?, ?)`, a.ID, study, a.Case.ID)
		if err != nil {
			return fmt.Errorf("create assessment: %w", err)
		}
		return nil
	}
	if known.in(study, a) {
		return nil
	}
	_, err := tx.Exec(`
		update assessments
		set study = ?, number = ?, visit = null
		where id = ?`, study, a.Case.ID, a.ID)
	if err != nil {
		return fmt.Errorf("move assessment: %w", err)
	}
	return tx.Audit(ledger.Line{
		Actor: by, Action: actionMoved, Study: known.Name, Subject: a.ID,
		Detail: movedDetail{known.Number, a.Study, a.Case.ID},
	})
}

// movedDetail is what the trail of the study before says of an assessment that
// leaves its case.
type movedDetail struct {
	From  int32  `json:"from"` // case
	Study string `json:"study"`
	To    int32  `json:"to"` // case of that study
}

// sameSubject refuses a version that waits for another subject than its case
// has: that of the registration that came last.
func (c *candidate) sameSubject() error {
	if c.assessment.Subject == c.subject {
		return nil
	}
	return &events.Error{Code: events.Conflict, Field: "subject", Message: fmt.Sprintf(
		"assessment %s waits for subject %s, but case %d of study %s was last registered for subject %s; register the one that is wrong again",
		c.id, c.assessment.Subject, c.number, c.study, c.subject)}
}
