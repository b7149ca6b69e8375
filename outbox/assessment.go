package outbox

import (
	"database/sql"
	"errors"
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
)

// assessmentRow is what is stored of an assessment before a registration.
type assessmentRow struct {
	ID      string  `db:"id"`
	Waiting int64   `db:"waiting"` // versions.row, 0 for none
	Content string  `db:"content"` // of the waiting version
	Visit   *string `db:"visit"`
	Study   int64   `db:"study"`
	Number  int32   `db:"number"` // of the case
	Name    string  `db:"study_number"`

	Signed       int64  `db:"signed"`        // the version signed last; 0 for none
	CaseRevision int32  `db:"case_revision"` // of that version, like the rest
	Revision     int32  `db:"revision"`
	User         string `db:"user"`
	Time         string `db:"time"`
}

// known looks the assessment up by its id; nil where it is new. One that was
// signed stays in its study and case.
func (tx *transaction) known(study int64, a events.Assessment) (*assessmentRow, error) {
	var h assessmentRow
	err := tx.Get(&h, `
		select a.id, coalesce(a.waiting, 0) as waiting, coalesce(n.content, '') as content, a.visit,
			a.study, a.number, s.study as study_number,
			coalesce(a.signed, 0) as signed, coalesce(v.case_revision, 0) as case_revision, coalesce(v.revision, 0) as revision,
			coalesce(g."user", '') as "user", coalesce(g.time, '') as time
		from assessments a
		join studies s on s.row = a.study
		left join versions n on n.row = a.waiting
		left join versions v on v.row = a.signed
		left join signatures g on g.version = a.signed
		where a.id = +?`, a.ID)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("look up assessment: %w", err)
	case h.Signed != 0 && !h.in(study, a):
		return nil, &events.Error{Code: events.Conflict, Field: "id", Message: fmt.Sprintf(
			"assessment %s belongs to case %d of study %s", a.ID, h.Number, h.Name)}
	}
	return &h, nil
}

// in reports whether that is where the assessment is held.
func (h *assessmentRow) in(study int64, a events.Assessment) bool {
	return h.Study == study && h.Number == a.Case.ID
}

// sameVersion reports whether the very same version waits or is signed. It
// refuses other content under a pair that is signed.
func (tx *transaction) sameVersion(known *assessmentRow, s submission) (bool, error) {
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
	err := tx.Get(&signed, `
		select v.content, g."user", g.time
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

// overtaken refuses a version that could never be signed, because the
// assessment or the case is beyond it: it would wait for ever.
func (tx *transaction) overtaken(study int64, held caseRow, known *assessmentRow, a events.Assessment) error {
	c := &candidate{id: a.ID, number: a.Case.ID, caseRevision: held.Revision, studyRow: study}
	if known != nil && known.Signed != 0 {
		c.signed = known.Signed
		c.signedVersion = events.Version{CaseRevision: known.CaseRevision, Revision: known.Revision}
		c.signature.User = known.User
		var err error
		if c.signature.Time, err = events.ParseTime(known.Time); err != nil {
			return fmt.Errorf("load signature: %w", err)
		}
	}
	return tx.signable(c, a.Version())
}
