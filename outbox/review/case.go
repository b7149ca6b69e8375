package review

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
	"github.com/seed-e88a4ece/signoff/outbox/internal/stored"
)

// Case is a case with the versions of its visits that a PI compares.
type Case struct {
	Study    string `json:"study"`
	StudyKey string `json:"studyKey"`
	Number   int32  `json:"case"`
	Subject  string `json:"subject"`
	Revision int32  `json:"revision"` // the highest ever signed; 0 for none

	// Stamp identifies what is stored of the case now: its subject, its revision, and
	// the waiting and the signed version of each assessment. See outbox.SignOff.
	Stamp string `json:"stamp"`

	// Visits has each assessment of the case once, by timepoint and then by id.
	Visits []Visit `json:"visits"`
}

// Visit is an assessment of a case.
type Visit struct {
	ID      string   `json:"id"`
	Waiting *Version `json:"waiting,omitempty"` // nil if none waits
	Signed  *Version `json:"signed,omitempty"`  // the version signed last; nil if none was
}

// InForce returns the version of the visit that counts in the case c, or nil if none does.
// It is the waiting version if that can be signed. Otherwise it is the version signed
// last, unless that was withdrawn.
func (c Case) InForce(v Visit) *Version {
	switch {
	case v.Waiting != nil && c.Signable(v):
		return v.Waiting
	case v.Signed != nil && v.Signed.Withdrawal == nil:
		return v.Signed
	default:
		return nil
	}
}

// Signable reports whether the visit's waiting version can be signed, alone or with
// others of its case revision. It cannot if the case has moved on to a higher revision,
// if a higher version was signed, or if it is for another subject.
func (c Case) Signable(v Visit) bool {
	if v.Waiting == nil || v.Waiting.Assessment.Subject != c.Subject {
		return false
	}
	next := v.Waiting.Assessment.Version()
	return next.CaseRevision >= c.Revision && (v.Signed == nil || next.Follows(v.Signed.Assessment.Version()))
}

// CannotSign returns why the visit's waiting version cannot be signed, as a part of a
// sentence. It returns "" if it can, and if none waits.
func (c Case) CannotSign(v Visit) string {
	if v.Waiting == nil || c.Signable(v) {
		return ""
	}
	next := v.Waiting.Assessment.Version()
	switch {
	case v.Waiting.Assessment.Subject != c.Subject:
		return fmt.Sprintf("it is registered for subject %s, and the case is of subject %s", v.Waiting.Assessment.Subject, c.Subject)
	case next.CaseRevision < c.Revision:
		return fmt.Sprintf("it is registered for case revision %d, and the case has moved on to revision %d", next.CaseRevision, c.Revision)
	default:
		return fmt.Sprintf("it is registered as %s, which does not follow the signed %s", next, v.Signed.Assessment.Version())
	}
}

// Case returns the case of a study with this number, as it is at one moment. The error
// is NotFound if there is none.
func (r *Reviews) Case(ctx context.Context, study string, number int32) (c Case, err error) {
	c, err = readCase(ctx, r.ledger.DB.Reader, whole, r.contents.Decode, ledger.NormalizeStudy(study), number)
	if err != nil {
		return Case{}, fmt.Errorf("read case: %w", err)
	}
	return c, nil
}

// ToSign returns the case of an assessment or, if that is empty, the one that is named, as a
// transaction sees it. It has what a sign-off depends on: of versions, the content with its
// digest, the state, the registration, and whether it was withdrawn, but not by whom and
// when. The error is NotFound if there is no such case, and that of decode if it returns one.
func (r *Reviews) ToSign(tx database.Querier, decode Decoder, assessment string, of CaseOf) (Case, error) {
	if assessment != "" {
		return caseOfAssessment(context.Background(), tx, toSign, decode, assessment)
	}
	return readCase(context.Background(), tx, toSign, decode, ledger.NormalizeStudy(of.Study), of.Number)
}

// Decoder returns the assessment that is the content of a version, and its digest.
type Decoder func(content []byte) (a events.Assessment, digest string, err error)

// parts is what is read of the versions of a case.
type parts struct {
	columns, join string // of versions v and assessments a, where v may be null
	scan          func(v *Version, row database.Row, first ...any) (content []byte, err error)
}

// whole is all of a version.
var whole = parts{versionColumns, joinVersion(`nullif(v.row, a.waiting)`), (*Version).scan}

// toSign is what a sign-off depends on; see ToSign.
var toSign = parts{
	`
		v.content, coalesce(v.row, 0), coalesce(v.row = a.waiting, false), w.version is not null`,
	`
		left join withdrawals w on w.version = nullif(v.row, a.waiting)`,
	func(v *Version, row database.Row, first ...any) (content []byte, err error) {
		var waiting, withdrawn bool
		if err := row.Scan(append(first, &content, &v.Registration, &waiting, &withdrawn)...); err != nil {
			return nil, err
		}
		if v.State = VersionSigned; waiting {
			v.State = VersionWaiting
		}
		if withdrawn {
			v.Withdrawal = &WithdrawalRecord{}
		}
		return content, nil
	},
}

// caseOfAssessment returns the case of an assessment.
func caseOfAssessment(ctx context.Context, q database.Querier, p parts, decode Decoder, id string) (Case, error) {
	c, err := scanCase(ctx, q, p, decode, `
		from assessments named
		join cases c on c.study = named.study and c.number = named.number
		join studies s on s.row = c.study`, `
		where named.id = +?`, id)
	if errors.Is(err, sql.ErrNoRows) {
		err = stored.Unknown(id)
	}
	return c, err
}

// readCase is Case for what q reads.
func readCase(ctx context.Context, q database.Querier, p parts, decode Decoder, study string, number int32) (Case, error) {
	c, err := scanCase(ctx, q, p, decode, `
		from studies s
		join cases c on c.study = s.row`, `
		where s.study = +? and c.number = +?`, study, number)
	if errors.Is(err, sql.ErrNoRows) {
		err = events.Errorf(events.NotFound, "study %s has no case %d", study, number)
	}
	return c, err
}

// scanCase reads a case in one statement, which sees it at one moment, and returns
// sql.ErrNoRows if there is none. From are the tables studies s and cases c, and where
// selects the case.
func scanCase(ctx context.Context, q database.Querier, p parts, decode Decoder, from, where string, args ...any) (c Case, err error) {
	if err := context.Cause(ctx); err != nil {
		return c, err
	}
	var last struct { // the assessment of the row before
		id              string
		waiting, signed int64
		withdrawn       bool
	}
	var text stampText
	// A row is of an assessment and one of its versions. An assessment of which nothing waits
	// or was signed has one row without a version, and so has a case without assessments.
	//
	// With a context that can end, a query has goroutines that wait for that. They would
	// cost more than reading the rows of one case.
	err = database.Each(context.WithoutCancel(ctx), q, func(row database.Row) error {
		next := last
		var v Version
		content, err := p.scan(&v, row, &c.Study, &c.StudyKey, &c.Number, &c.Subject, &c.Revision, &next.id, &next.waiting, &next.signed)
		if err != nil {
			return err
		}
		if text == nil {
			text = newStampText(c.Subject, c.Revision)
		}
		if last.id != "" && last.id != next.id {
			text.add(last.id, last.waiting, last.signed, last.withdrawn)
			next.withdrawn = false
		}
		last = next
		if v.Registration == 0 {
			return nil
		}
		if v.Assessment, v.Digest, err = decode(content); err != nil {
			return err
		}
		if n := len(c.Visits); n == 0 || c.Visits[n-1].ID != last.id {
			c.Visits = append(c.Visits, Visit{ID: last.id})
		}
		visit := &c.Visits[len(c.Visits)-1]
		if v.State == VersionWaiting {
			visit.Waiting = &v
		} else {
			visit.Signed = &v
			last.withdrawn = v.Withdrawal != nil
		}
		return nil
	}, `
		select s.study, s.token, c.number, c.subject, c.revision, coalesce(a.id, ''), coalesce(a.waiting, 0), coalesce(a.signed, 0),`+
		p.columns+from+`
		left join assessments a on a.study = c.study and a.number = c.number
		left join versions v on v.row in (a.waiting, a.signed)`+p.join+where+`
		order by a.id, v.row`, args...)
	if err != nil {
		return c, err
	}
	if text == nil {
		return c, sql.ErrNoRows
	}
	if last.id != "" {
		text.add(last.id, last.waiting, last.signed, last.withdrawn)
	}
	c.Stamp = text.stamp()
	slices.SortStableFunc(c.Visits, func(a, b Visit) int {
		return cmp.Or(cmp.Compare(c.timepoint(a), c.timepoint(b)), stored.CompareIDs(a.ID, b.ID))
	})
	return c, nil
}

// timepoint returns the timepoint of the visit's version in force, or of any version if
// none is in force.
func (c Case) timepoint(v Visit) int32 {
	for _, version := range []*Version{c.InForce(v), v.Waiting, v.Signed} {
		if version != nil {
			return version.Assessment.Timepoint
		}
	}
	return 0
}

// Stamp returns the stamp of a case: the lower-case hex SHA-256 of a text that has its
// subject, its revision, and of each assessment, by id, the rows of the waiting and the
// signed version and whether the signed one was withdrawn. Whatever changes how the
// visits of a case compare changes its stamp. Study is studies.row.
func Stamp(ctx context.Context, q database.Querier, study int64, number int32) (string, error) {
	var subject string
	var revision int32
	err := q.QueryRowContext(ctx, `
		select subject, revision
		from cases
		where study = ? and number = ?`, study, number).Scan(&subject, &revision)
	if err != nil {
		return "", fmt.Errorf("look up case: %w", err)
	}
	return StampOf(ctx, q, study, number, subject, revision)
}

// StampOf returns the stamp of a case of which the subject and the revision were read
// already.
func StampOf(ctx context.Context, q database.Querier, study int64, number int32, subject string, revision int32) (string, error) {
	text := newStampText(subject, revision)
	err := database.Each(ctx, q, func(row database.Row) error {
		var id string
		var waiting, signed int64
		var withdrawn bool
		if err := row.Scan(&id, &waiting, &signed, &withdrawn); err != nil {
			return err
		}
		text.add(id, waiting, signed, withdrawn)
		return nil
	}, `
		select a.id, coalesce(a.waiting, 0), coalesce(a.signed, 0),
			exists (select 1 from withdrawals w where w.version = a.signed)
		from assessments a
		where a.study = +? and a.number = +?
		order by a.id`, study, number)
	if err != nil {
		return "", fmt.Errorf("list assessments of case: %w", err)
	}
	return text.stamp(), nil
}

// stampText is the text of which a stamp is the hash.
type stampText []byte

// newStampText returns the text of a case, to which its assessments are to be added.
func newStampText(subject string, revision int32) stampText {
	// A subject may have any character, so its length says where it ends. Ids have no spaces.
	return fmt.Appendf(nil, "signoff-case/1\n%d:%s\n%d\n", len(subject), subject, revision)
}

// add adds an assessment with the rows of its waiting and its signed version; 0 for none.
func (t *stampText) add(id string, waiting, signed int64, withdrawn bool) {
	*t = fmt.Appendf(*t, "%s %d %d %t\n", id, waiting, signed, withdrawn)
}

func (t stampText) stamp() string {
	sum := sha256.Sum256(t)
	return hex.EncodeToString(sum[:])
}
