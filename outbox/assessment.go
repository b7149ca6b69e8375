package outbox

import (
	"database/sql"
	"errors"
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
)

// assessmentRow is what is stored of an assessment before a registration.
type assessmentRow struct {
	id         string
	waiting    int64  // versions.row, 0 for none
	content    string // of the waiting version
	visit      string // as JSON; empty for none
	study      int64  // studies.row
	studyID    string
	caseNumber int32

	signed        int64          // versions.row of the version signed last; 0 for none
	signedVersion events.Version // of that version, like the rest
	user          string
	time          string
}

// findAssessment returns what is stored of the assessment, by its id; nil where
// it is new. It refuses another study or case for one that was signed.
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

// sameVersion reports whether the very same version waits or is signed. It
// refuses other content under a pair that is signed.
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

// outdated refuses a version that would wait for ever, because a sign-off of the
// assessment or of its case has gone beyond it.
func (tx *transaction) outdated(study int64, inCase caseRow, stored *assessmentRow, a events.Assessment) error {
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
