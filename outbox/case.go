package outbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
)

// InForce is the version of an assessment that counts beside the other visits of its case.
type InForce struct {
	Waiting
	State string `json:"state"` // VersionWaiting or VersionSigned
}

// InForce returns of each assessment the version that is in force: the waiting one if a
// sign-off would accept it, or else the one signed last unless it was withdrawn. An
// assessment that has neither is left out. The versions are sorted by study, case and
// assessment id.
func (o *Outbox) InForce(ctx context.Context, filter WaitingFilter) ([]InForce, error) {
	args := []any{VersionWaiting, VersionSigned}
	where := "true"
	if filter.Study != "" {
		where, args = where+" and s.study = ?", append(args, ledger.NormalizeStudy(filter.Study))
	}
	if filter.Case != 0 {
		where, args = where+" and a.number = ?", append(args, filter.Case)
	}
	// A version is accepted by the same rules as in signable and refuseOtherSubject.
	versions, err := database.List(ctx, o.db.Reader, scanInForce, `
		select v.content, v.time, v.registrar, v.row, case when v.row = f.waiting then ? else ? end
		from (
			select s.study, a.number, a.waiting,
				case
					when n.case_revision >= c.revision
						and n.content ->> '$.subject' = c.subject
						and (l.row is null or n.revision >= l.revision and (n.case_revision, n.revision) > (l.case_revision, l.revision))
					then n.row
					when not exists (select 1 from withdrawals w where w.version = l.row)
					then l.row
				end as version
			from assessments a
			join studies s on s.row = a.study
			join cases c on c.study = a.study and c.number = a.number
			left join versions n on n.row = a.waiting
			left join versions l on l.row = a.signed
			where `+where+`
		) f
		join versions v on v.row = f.version
		order by f.study, f.number`, args...)
	if err != nil {
		return nil, fmt.Errorf("list versions in force: %w", err)
	}
	slices.SortStableFunc(versions, func(a, b InForce) int { return compareInCase(a.Assessment, b.Assessment) })
	return versions, nil
}

func scanInForce(row database.Row) (v InForce, err error) {
	var content []byte
	var at string
	if err := row.Scan(&content, &at, &v.By, &v.Registration, &v.State); err != nil {
		return v, err
	}
	return v, v.read(content, at)
}

// compareInCase orders assessments of one case by id. Others are in order already.
func compareInCase(a, b events.Assessment) int {
	if a.Study != b.Study || a.Case.ID != b.Case.ID {
		return 0
	}
	return compareIDs(a.ID, b.ID)
}

// caseRow is a stored case, as a registration finds it; zero where the case is new.
type caseRow struct {
	subject  string
	revision int32 // the highest ever signed; 0 for none
}

// findCase returns the stored case of the assessment; zero where there is none. The
// error is a Conflict if something of the case was signed for another subject.
func (tx *transaction) findCase(study int64, a events.Assessment) (r caseRow, err error) {
	err = tx.QueryRow(`
		select subject, revision
		from cases
		where study = ? and number = ?`, study, a.Case.ID).Scan(&r.subject, &r.revision)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return r, nil
	case err != nil:
		return r, fmt.Errorf("look up case: %w", err)
	case r.revision > 0 && r.subject != a.Subject:
		return r, &events.Error{Code: events.Conflict, Field: "subject", Message: fmt.Sprintf(
			"case %d of study %s belongs to subject %s, not %s", a.Case.ID, a.Study, r.subject, a.Subject)}
	}
	return r, nil
}

// bindCase creates the assessment's case, or gives an existing case the assessment's
// subject. The caller has checked with findCase that nothing was signed for another
// subject. Versions that wait in the case for its former subject cannot be signed
// until they are registered again.
func (tx *transaction) bindCase(by string, study int64, stored caseRow, a events.Assessment) error {
	if stored.subject == a.Subject {
		return nil
	}
	_, err := tx.Exec(`
		insert into cases (study, number, subject)
		values (?, ?, ?)
		on conflict (study, number) do update set subject = excluded.subject`, study, a.Case.ID, a.Subject)
	if err != nil {
		return fmt.Errorf("store case: %w", err)
	}
	if stored.subject == "" { // the case is new
		return nil
	}
	return tx.Audit(ledger.Line{
		Actor: by, Action: actionCaseRebound, Study: a.Study, Subject: a.ID,
		Detail: caseReboundDetail{a.Case.ID, stored.subject, a.Subject},
	})
}

// caseReboundDetail is stored in the audit trail with a case that gets another
// subject.
type caseReboundDetail struct {
	Case int32  `json:"case"`
	From string `json:"from"` // subject
	To   string `json:"to"`
}

// bindAssessment creates the assessment in its case, or moves it to that case from
// another one. The caller has checked with findAssessment that nothing was signed in
// another case.
func (tx *transaction) bindAssessment(by string, study int64, stored *assessmentRow, a events.Assessment) error {
	if stored == nil {
		_, err := tx.Exec(`
			insert into assessments (id, study, number)
			values (?, ?, ?)`, a.ID, study, a.Case.ID)
		if err != nil {
			return fmt.Errorf("create assessment: %w", err)
		}
		return nil
	}
	if stored.in(study, a) {
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
		Actor: by, Action: actionMoved, Study: stored.studyID, Subject: a.ID,
		Detail: movedDetail{stored.caseNumber, a.Study, a.Case.ID},
	})
}

// movedDetail is stored in the audit trail, under the former study, with an
// assessment that moves to another case.
type movedDetail struct {
	From  int32  `json:"from"` // case
	Study string `json:"study"`
	To    int32  `json:"to"` // case of that study
}

// refuseOtherSubject returns a Conflict if the waiting version is for another subject
// than its case. A case has the subject of the last registration in it.
func (c *candidate) refuseOtherSubject() error {
	if c.assessment.Subject == c.subject {
		return nil
	}
	return &events.Error{Code: events.Conflict, Field: "subject", Message: fmt.Sprintf(
		"assessment %s waits for subject %s, but case %d of study %s was last registered for subject %s; register the one that is wrong again",
		c.id, c.assessment.Subject, c.number, c.study, c.subject)}
}

// refuseUsedLesions returns a Conflict if another assessment of the study uses the
// identifier of one of a's lesions in a version that waits or was signed.
//
// The identifier is {case}-{assessment}-{lesion}. In case 1, assessment 2-3 with
// lesion T and assessment 2 with lesion 3-T both have the identifier 1-2-3-T. The
// case is a number, so only assessments of one case can have an identifier in common.
func (tx *transaction) refuseUsedLesions(study int64, a events.Assessment) error {
	ids := idsWithSameLesions(a)
	if len(ids) == 0 {
		return nil
	}
	list, err := json.Marshal(ids)
	if err != nil {
		return err
	}
	var stored []struct {
		ID      string `db:"id"`
		Content string `db:"content"`
	}
	err = tx.Select(&stored, `
		select a.id, v.content
		from assessments a
		join versions v on v.assessment = a.id
		where a.id in (select value from json_each(?))
			and +a.study = ? and +a.number = ?
			and (v.row = a.waiting or exists (select 1 from signatures g where g.version = v.row))`,
		string(list), study, a.Case.ID)
	if err != nil {
		return fmt.Errorf("look up lesion identifiers: %w", err)
	}
	for _, s := range stored {
		other, err := decode([]byte(s.Content))
		if err != nil {
			return err
		}
		if err := sharedLesion(a, other); err != nil {
			return err
		}
	}
	return nil
}

// idsWithSameLesions returns the assessment ids that can have a lesion identifier in
// common with a. An id is one of them if it is a's id up to a hyphen. It is one too if
// it is a's id, a hyphen, and the id of one of a's lesions up to a hyphen.
func idsWithSameLesions(a events.Assessment) []string {
	ids := map[string]bool{}
	for i := range a.ID {
		if a.ID[i] == '-' && len(a.Lesions) > 0 {
			ids[a.ID[:i]] = true
		}
	}
	for _, l := range a.Lesions {
		for i := range l.ID {
			if id := a.ID + "-" + l.ID[:i]; l.ID[i] == '-' && events.ValidFHIRID(id) {
				ids[id] = true
			}
		}
	}
	return slices.Collect(maps.Keys(ids))
}

// sharedLesion returns a Conflict if two assessments of a case have a lesion
// identifier in common.
func sharedLesion(a, other events.Assessment) error {
	used := make(map[string]string, len(other.Lesions))
	for _, l := range other.Lesions {
		used[fhir.LesionIdentifier(other, l.ID)] = l.ID
	}
	for i, l := range a.Lesions {
		identifier := fhir.LesionIdentifier(a, l.ID)
		if id, ok := used[identifier]; ok {
			return &events.Error{Code: events.Conflict, Field: fmt.Sprintf("lesions[%d].id", i), Message: fmt.Sprintf(
				"the lesion identifier %q is used by lesion %q of assessment %s; give the lesion or the assessment another id", identifier, id, other.ID)}
		}
	}
	return nil
}
