package outbox

import (
	"database/sql"
	"errors"
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
)

// assessmentRow is a stored assessment, as a registration finds it.
type assessmentRow struct {
	id         string
	waiting    int64  // versions.row, 0 for none
	content    string // of the waiting version
	visit      string // as JSON; empty for none
	study      int64  // studies.row
	studyID    string
	caseNumber int32

	signed        int64          // versions.row of the version signed last; 0 for none
	signedVersion events.Version // its revisions
	user          string         // who signed it
	time          string         // when it was signed
}

// findAssessment returns the stored assessment with a's id, or nil if there is
// none. The error is a Conflict if a version of it was signed in another study or
// case than a's.
func (tx *transaction) findAssessment(study int64, a events.Assessment) (*assessmentRow, error) {
	var r assessmentRow
	err := tx.QueryRow(`
		select a.id, coalesce(a.waiting, 0), coalesce(n.content, ''), coalesce(a.visit, ''),
			a.study, s.study, a.number,
			coalesce(a.signed, 0), coalesce(v.case_revision, 0), coalesce(v.revision, 0),
			coalesce(g."user", ''), coalesce(g.time, '')
		from assessments a
		join studies s on s.row = a.study
		left join versions n on n.row = a.waiting
		left join versions v on v.row = a.signed
		left join signatures g on g.version = a.signed
		where a.id = +?`, a.ID).
		Scan(&r.id, &r.waiting, &r.content, &r.visit, &r.study, &r.studyID, &r.caseNumber,
			&r.signed, &r.signedVersion.CaseRevision, &r.signedVersion.Revision, &r.user, &r.time)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("look up assessment: %w", err)
	case r.signed != 0 && !r.in(study, a):
		return nil, &events.Error{Code: events.Conflict, Field: "id", Message: fmt.Sprintf(
			"assessment %s belongs to case %d of study %s", a.ID, r.caseNumber, r.studyID)}
	}
	return &r, nil
}

// in reports whether the assessment is stored in this study and in a's case.
func (r *assessmentRow) in(study int64, a events.Assessment) bool {
	return r.study == study && r.caseNumber == a.Case.ID
}

// sameVersion reports whether the same version, with the same content, waits or was
// signed. The error is a Conflict if the version was signed with other content.
func (tx *transaction) sameVersion(stored *assessmentRow, s submission) (bool, error) {
	if stored == nil {
		return false, nil
	}
	if stored.waiting != 0 && stored.content == s.content {
		return true, nil
	}
	pair := s.assessment.Version()
	var content, user, time string
	err := tx.QueryRow(`
		select v.content, g."user", g.time
		from versions v
		join signatures g on g.version = v.row
		where v.assessment = +? and v.case_revision = +? and v.revision = +?`,
		stored.id, pair.CaseRevision, pair.Revision).Scan(&content, &user, &time)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("look up signed version: %w", err)
	case content != s.content:
		return false, events.Errorf(events.Conflict,
			"%s of assessment %s was signed with other content by %s at %s; register a higher revision",
			pair, stored.id, user, time)
	}
	return true, nil
}

// refuseOutdated returns a Conflict if a's version could never be signed, because of
// what was signed already; see signable.
func (tx *transaction) refuseOutdated(study int64, inCase caseRow, stored *assessmentRow, a events.Assessment) error {
	c := &candidate{id: a.ID, number: a.Case.ID, caseRevision: inCase.revision, studyRow: study}
	if stored != nil && stored.signed != 0 {
		c.signed, c.signedVersion = stored.signed, stored.signedVersion
		c.signature.User = stored.user
		var err error
		if c.signature.Time, err = events.ParseTime(stored.time); err != nil {
			return fmt.Errorf("load signature: %w", err)
		}
	}
	return tx.signable(c, a.Version())
}
