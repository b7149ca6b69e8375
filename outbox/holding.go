package outbox

import (
	"database/sql"
	"errors"
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
)

// checkCase refuses an assessment whose case belongs to another subject.
func (w *work) checkCase(study int64, a events.Assessment) error {
	var subject string
	err := w.tx.QueryRow(`
		select subject
		from cases
		where study = ? and number = ?`, study, a.Case.ID).Scan(&subject)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return fmt.Errorf("look up case: %w", err)
	case subject != a.Subject:
		return &events.Error{Code: events.Conflict, Field: "subject", Message: fmt.Sprintf(
			"case %d of study %s belongs to subject %s, not %s", a.Case.ID, a.Study, subject, a.Subject)}
	}
	return nil
}

// holding is what is held of an assessment before a registration.
type holding struct {
	ID      string  `db:"id"`
	Waiting int64   `db:"waiting"` // versions.row, 0 for none
	Content string  `db:"content"` // of the waiting version
	Visit   *string `db:"visit"`
	Study   int64   `db:"study"`
	Number  int32   `db:"number"`
	Name    string  `db:"study_number"`
}

// known looks the assessment up by its id; nil where it is new.
func (w *work) known(study int64, a events.Assessment) (*holding, error) {
	var h holding
	err := w.tx.Get(&h, `
		select a.id, coalesce(a.waiting, 0) as waiting, coalesce(v.content, '') as content, a.visit,
			a.study, a.number, s.study as study_number
		from assessments a
		join studies s on s.row = a.study
		left join versions v on v.row = a.waiting
		where a.id = +?`, a.ID)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("look up assessment: %w", err)
	case h.Study != study || h.Number != a.Case.ID:
		return nil, &events.Error{Code: events.Conflict, Field: "id", Message: fmt.Sprintf(
			"assessment %s belongs to case %d of study %s", a.ID, h.Number, h.Name)}
	}
	return &h, nil
}

// sameVersion reports whether the very same version waits or is signed. It
// refuses other content under a pair that is signed.
func (w *work) sameVersion(known *holding, s submission) (bool, error) {
	if known == nil {
		return false, nil
	}
	if known.Waiting != 0 && known.Content == s.content {
		return true, nil
	}
	pair := s.assessment.Version()
	var signed struct {
		Content string `db:"content"`
		User    string `db:"user"`
		Time    string `db:"time"`
	}
	err := w.tx.Get(&signed, `
		select v.content, g.user, g.time
		from versions v
		join signatures g on g.version = v.row
		where v.assessment = +? and v.case_revision = +? and v.revision = +?`,
		known.ID, pair.CaseRevision, pair.Revision)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("look up signed version: %w", err)
	case signed.Content != s.content:
		return false, events.Errorf(events.Conflict,
			"%s of assessment %s was signed with other content by %s at %s; register a higher revision",
			pair, known.ID, signed.User, signed.Time)
	}
	return true, nil
}
