package outbox

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
	"github.com/seed-e88a4ece/signoff/outbox/internal/stored"
)

// accept returns the case revision of the waiting versions, which are of one case.
// The error is a Conflict if one of them cannot be signed, or if their case revisions
// differ.
func (tx *transaction) accept(toSign []*candidate) (int32, error) {
	for _, c := range toSign {
		if err := tx.signable(c, c.waitingVersion); err != nil {
			return 0, err
		}
	}
	highest := slices.MaxFunc(toSign, byCaseRevision)
	lowest := slices.MinFunc(toSign, byCaseRevision)
	if byCaseRevision(lowest, highest) != 0 {
		return 0, events.Errorf(events.Conflict,
			"assessments of case %d cannot be signed together: %s waits in %s, %s in %s",
			lowest.number, lowest.id, lowest.waitingVersion, highest.id, highest.waitingVersion)
	}
	return highest.waitingVersion.CaseRevision, nil
}

// signable returns an error unless the next version can be signed.
//
// A version is a pair of revisions. Next must be higher than every version signed of
// the assessment, and neither of its revisions lower than in the one signed last. Its
// case revision must not be below the highest ever signed in the case. Signed versions
// only grow, so the one signed last is the highest.
func (tx *transaction) signable(c *candidate, next events.Version) error {
	switch {
	case c.signed != 0 && !next.Follows(c.signedVersion):
		return c.conflict("%s is not higher", next)
	case next.CaseRevision < c.caseRevision:
		return tx.caseConflict(c, next)
	}
	return nil
}

func byCaseRevision(a, b *candidate) int {
	return cmp.Compare(a.waitingVersion.CaseRevision, b.waitingVersion.CaseRevision)
}

// conflict returns a Conflict that names the signed version, its signer and the time,
// followed by the formatted text.
func (c *candidate) conflict(format string, args ...any) error {
	return events.Errorf(events.Conflict, "assessment %s was signed as %s by %s at %s; %s",
		c.id, c.signedVersion, c.signature.User, events.FormatTime(c.signature.Time), fmt.Sprintf(format, args...))
}

// caseConflict returns a Conflict for a version whose case revision is too low. It
// names the first sign-off in the highest case revision.
func (tx *transaction) caseConflict(c *candidate, next events.Version) error {
	highest := *c
	var at string
	err := tx.QueryRow(`
		select a.id, v.case_revision, v.revision, g."user", g.time
		from assessments a
		join versions v on v.assessment = a.id
		join signatures g on g.version = v.row
		where a.study = +? and a.number = +? and v.case_revision = +?
		order by g.time
		limit 1`, c.studyRow, c.number, c.caseRevision).
		Scan(&highest.id, &highest.signedVersion.CaseRevision, &highest.signedVersion.Revision, &highest.signature.User, &at)
	if err != nil {
		return fmt.Errorf("look up the case's last revision: %w", err)
	}
	if highest.signature.Time, err = events.ParseTime(at); err != nil {
		return err
	}
	return highest.conflict("assessment %s in %s is of an earlier revision of case %d", c.id, next, c.number)
}

// raiseCase moves a case to a higher revision. It supersedes the reports of the case
// that are available, except those of assessments in toSign.
func (tx *transaction) raiseCase(chain *ledger.Chain, user string, toSign []*candidate, revision int32) error {
	if toSign[0].caseRevision > 0 { // else nothing of the case was signed before
		if err := tx.supersede(chain, user, toSign); err != nil {
			return err
		}
	}
	_, err := tx.Exec(`
		update cases
		set revision = ?
		where study = ? and number = ?`, revision, chain.Row, toSign[0].number)
	if err != nil {
		return fmt.Errorf("store case revision: %w", err)
	}
	return nil
}

// availableReport is a report of a case, with the bytes published last.
type availableReport struct {
	id      string
	version int64  // versions.row
	subject string // of the event
	data    []byte
}

// supersede appends an event for each available report of the case, with the bytes
// published last. It leaves out the assessments in toSign: their new reports replace
// the old ones.
func (tx *transaction) supersede(chain *ledger.Chain, user string, toSign []*candidate) error {
	reports, err := database.List(context.Background(), tx, func(row database.Row) (r availableReport, err error) {
		return r, row.Scan(&r.id, &r.version, &r.subject, &r.data)
	}, `
		select a.id, a.signed, e.subject, e.data
		from assessments a
		join events e on e.row = a.published
		where a.study = +? and a.number = +? and a.available = 1`, chain.Row, toSign[0].number)
	if err != nil {
		return fmt.Errorf("find superseded reports: %w", err)
	}
	slices.SortFunc(reports, func(a, b availableReport) int { return stored.CompareIDs(a.id, b.id) })
	for _, r := range reports {
		if slices.ContainsFunc(toSign, func(c *candidate) bool { return c.id == r.id }) {
			continue
		}
		if err := tx.endReport(chain, user, toSign[0], r); err != nil {
			return err
		}
		tx.o.step("superseded")
	}
	return nil
}

// endReport appends the event by which a report is superseded, and makes the report
// unavailable. By is a candidate of the same case.
func (tx *transaction) endReport(chain *ledger.Chain, user string, by *candidate, r availableReport) error {
	e, _, err := chain.Append(events.ReportSuperseded, r.subject, by.partition(), r.data)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(`update assessments set available = 0 where id = ?`, r.id); err != nil {
		return fmt.Errorf("end report: %w", err)
	}
	return tx.Audit(ledger.Line{
		Time: e.Time, Actor: user, Action: actionSuperseded, Study: by.study, Subject: r.id, Version: r.version,
		Detail: numberedDetail{e.Number, e.ID},
	})
}

// numberedDetail names an event in the audit trail.
type numberedDetail struct {
	Sequence uint64 `json:"sequence"`
	Event    string `json:"event"`
}

// firstAnswer returns again the answer to the sign-off of the version that was signed
// last. Withdrawn is set if the report was withdrawn since. The error is a Conflict if
// that sign-off was by another PI or with another meaning.
func (tx *transaction) firstAnswer(c *candidate, s SignOff) (answer Signed, err error) {
	if c.signed == 0 {
		last, err := tx.lastReturn(c)
		if err != nil {
			return Signed{}, err
		}
		return Signed{}, alreadyReturned(c, last)
	}
	if c.signature.User != s.User {
		return Signed{}, c.conflict("nothing of it waits for %s", s.User)
	}
	if c.signature.Meaning != s.Meaning {
		return Signed{}, c.conflict("the signature's meaning cannot change")
	}
	e, err := tx.EventAt(c.event)
	if err != nil {
		return Signed{}, err
	}
	withdrawal, err := tx.findWithdrawal(c)
	answer = c.answer(e, c.signedVersion, c.signature)
	answer.Withdrawn = withdrawal != nil
	return answer, err
}
