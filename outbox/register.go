package outbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
)

// perRegistration is how many assessments are registered in one turn of the
// writer, so that a sign-off never waits for a whole import.
const perRegistration = 250

// Outcomes of a registration.
const (
	Taken     = "taken"     // it waits for its sign-off
	Unchanged = "unchanged" // the very same version waits or is signed already
)

// Registration is the outcome of a submission.
type Registration struct {
	ID      string         `json:"id"`
	Version events.Version `json:"version"`
	Outcome string         `json:"outcome"` // Taken or Unchanged; empty where it was refused
}

// RegisterResult is the outcome of a submission, or in Err why it was refused. Err is
// nil if it was not refused. It is a Conflict in these cases:
//   - The assessment was signed in another study or case.
//   - The case was signed for another subject.
//   - The version was signed with other content.
//   - The version could never be signed, because it does not follow the one signed last
//     (both revisions at least as high, one higher), or because the case was signed in
//     a higher case revision. Then Err names the signed version, signer and time.
//   - Another assessment of the study uses the identifier of one of the lesions.
type RegisterResult struct {
	Registration
	Err *events.Error
}

// Register stores assessments, which then wait for their sign-off. Each is taken
// or refused alone, in the order of the batch; the results are in the same
// order. A later version replaces the waiting one, which stays stored and is named in
// the audit trail. By is the source or the operator who registers them.
//
// A mistaken study, case or subject can be corrected until something was signed:
// an assessment of which nothing was signed belongs to the case of its last
// registration, and a case of which nothing was signed to the subject of its
// last registration.
//
// After an error, the first assessments of the batch may be registered. Registering
// them again changes nothing.
func (o *Outbox) Register(ctx context.Context, by string, batch []events.Submission) ([]RegisterResult, error) {
	if err := ledger.ValidActor(by); err != nil {
		return nil, err
	}
	results := make([]RegisterResult, len(batch))
	for start := 0; start < len(batch); start += perRegistration {
		end := min(start+perRegistration, len(batch))
		err := o.registerSome(ctx, by, batch[start:end], results[start:end])
		if err != nil {
			return nil, err
		}
	}
	return results, nil
}

// registerSome registers a part of a batch in one transaction and sets its results.
func (o *Outbox) registerSome(ctx context.Context, by string, batch []events.Submission, results []RegisterResult) error {
	prepared := make([]submission, len(batch))
	for i, s := range batch {
		prepared[i] = prepareSubmission(s)
	}
	return o.update(ctx, "register assessments", func(tx *transaction) error { return tx.registerAll(by, prepared, results) })
}

// registerAll registers the submissions and sets their results. A refusal is a result.
// Any other error ends the transaction.
func (tx *transaction) registerAll(by string, prepared []submission, results []RegisterResult) error {
	for i, s := range prepared {
		results[i].ID, results[i].Version = s.assessment.ID, s.assessment.Version()
		outcome, err := tx.register(by, s)
		refusal := (*events.Error)(nil)
		if err != nil && !errors.As(err, &refusal) {
			return err
		}
		results[i].Outcome, results[i].Err = outcome, refusal
	}
	return nil
}

// RegisterFunc is what Register does, of an outbox or of a rehearsal.
type RegisterFunc func(ctx context.Context, by string, batch []events.Submission) ([]RegisterResult, error)

// errRehearsed ends the transaction of a rehearsal.
var errRehearsed = errors.New("rehearsed")

// Rehearse calls fn with a function that registers assessments in one
// transaction, and undoes the transaction when fn returns: the results are those
// of Register, and nothing changes. Nobody else can register or sign meanwhile.
// Rehearse returns the error of fn.
func (o *Outbox) Rehearse(ctx context.Context, fn func(RegisterFunc) error) error {
	var failure error
	err := o.ledger.UpdateSilently(ctx, "rehearse registrations", func(tx *ledger.Tx) error {
		failure = fn(func(_ context.Context, by string, batch []events.Submission) ([]RegisterResult, error) {
			if err := ledger.ValidActor(by); err != nil {
				return nil, err
			}
			results, prepared := make([]RegisterResult, len(batch)), make([]submission, len(batch))
			for i, s := range batch {
				prepared[i] = prepareSubmission(s)
			}
			return results, (&transaction{tx, o}).registerAll(by, prepared, results)
		})
		return errRehearsed
	})
	if failure != nil || errors.Is(err, errRehearsed) {
		return failure
	}
	return err
}

// submission is an events.Submission checked and encoded outside the
// transaction.
type submission struct {
	assessment events.Assessment
	content    string // the assessment as JSON, by which versions are compared
	visit      string // as JSON, empty for none
	err        error  // why the submission is refused; nil if it is well-formed
}

// prepareSubmission checks and encodes a submission. An error is in the result.
func prepareSubmission(in events.Submission) submission {
	in.Assessment.Normalize()
	s := submission{assessment: in.Assessment}
	if s.err = in.Assessment.Validate(); s.err != nil {
		return s
	}
	content, err := json.Marshal(in.Assessment)
	if err != nil {
		s.err = &events.Error{Code: events.Invalid, Message: "cannot be written as JSON", Err: err}
		return s
	}
	s.content = string(content)
	if in.Visit != nil {
		visit, err := json.Marshal(in.Visit)
		s.visit, s.err = string(visit), err
	}
	return s
}

// register registers one assessment. It writes nothing until all checks have passed:
// the transaction is committed for the others of the batch even if this one is refused.
func (tx *transaction) register(by string, s submission) (outcome string, err error) {
	if s.err != nil {
		return "", s.err
	}
	a := s.assessment
	study, err := tx.FindStudy(a.Study)
	if err != nil {
		return "", err
	}
	inCase, err := tx.findCase(study, a)
	if err != nil {
		return "", err
	}
	stored, err := tx.findAssessment(study, a)
	if err != nil {
		return "", err
	}
	same, err := tx.sameVersion(stored, s)
	if err != nil {
		return "", err
	}
	if !same {
		if err := tx.refuseOutdated(study, inCase, stored, a); err != nil {
			return "", err
		}
		if err := tx.refuseUsedLesions(study, a); err != nil {
			return "", err
		}
	}
	if study, err = tx.EnsureStudy(a.Study); err != nil {
		return "", err
	}
	// Also for the same version: a later registration may have given the case another subject.
	if err := tx.bindCase(by, study, inCase, a); err != nil {
		return "", err
	}
	if same {
		return Unchanged, tx.storeVisit(stored, s)
	}
	if err := tx.bindAssessment(by, study, stored, a); err != nil {
		return "", err
	}
	return Taken, tx.take(by, stored, s)
}

// take stores the version and its line in the audit trail. The version waits from now
// on, in place of the one that waited before.
func (tx *transaction) take(by string, stored *assessmentRow, s submission) error {
	a := s.assessment
	version, err := tx.insertVersion(by, s)
	if err != nil {
		return err
	}
	if stored != nil && stored.waiting != 0 {
		err := tx.Audit(ledger.Line{Actor: by, Action: actionReplaced, Study: stored.studyID, Subject: a.ID, Version: stored.waiting})
		if err != nil {
			return err
		}
	}
	_, err = tx.Exec(`
		update assessments
		set waiting = ?, visit = coalesce(nullif(?, ''), visit)
		where id = ?`, version, s.visit, a.ID)
	if err != nil {
		return fmt.Errorf("store waiting version: %w", err)
	}
	return tx.Audit(ledger.Line{
		Actor: by, Action: actionRegistered, Study: a.Study, Subject: a.ID, Version: version, Detail: a.Version(),
	})
}

func (tx *transaction) insertVersion(by string, s submission) (int64, error) {
	pair := s.assessment.Version()
	var row int64
	err := tx.QueryRow(`
		insert into versions (assessment, case_revision, revision, time, registrar, content)
		values (?, ?, ?, ?, ?, ?)
		returning row`,
		s.assessment.ID, pair.CaseRevision, pair.Revision, events.FormatTime(tx.Now), by, s.content).Scan(&row)
	if err != nil {
		return 0, fmt.Errorf("store version: %w", err)
	}
	return row, nil
}

// storeVisit stores the SDTM visit that the stored version s was made from, if there is
// one and another or none is stored. The visit stored is that of the latest version, so
// that of a signed version is left out while a later one waits.
func (tx *transaction) storeVisit(stored *assessmentRow, s submission) error {
	outdated := stored.waiting != 0 && stored.content != s.content
	if s.visit == "" || stored.visit == s.visit || outdated {
		return nil
	}
	_, err := tx.Exec(`update assessments set visit = ? where id = ?`, s.visit, stored.id)
	return err
}

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
