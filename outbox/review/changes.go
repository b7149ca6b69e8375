package review

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/internal/stored"
)

// Tag returns a text that identifies what is stored of an assessment and of its case; see
// Stamp. It serves as an entity tag: it changes whenever what a PI would sign changes, or
// what was signed. The error is NotFound if there is no such assessment.
func Tag(ctx context.Context, q database.Querier, id string) (string, error) {
	var study int64
	var number int32
	err := q.QueryRowContext(ctx, `select study, number from assessments where id = +?`, id).Scan(&study, &number)
	if errors.Is(err, sql.ErrNoRows) {
		return "", stored.Unknown(id)
	}
	if err != nil {
		return "", fmt.Errorf("look up assessment: %w", err)
	}
	stamp, err := Stamp(ctx, q, study, number)
	return tag(stamp, id), err
}

// tag returns the tag of an assessment in a case with the stamp.
func tag(stamp, id string) string {
	sum := sha256.Sum256([]byte("signoff-assessment/1\n" + stamp + "\n" + id))
	return hex.EncodeToString(sum[:])
}

// Tag returns the tag of an assessment of the case; see the function Tag.
func (c Case) Tag(id string) string { return tag(c.Stamp, id) }

// Assessment returns the case of an assessment, as it is at one moment, and the visit that
// the assessment is. The error is NotFound if there is no such assessment.
func (r *Reviews) Assessment(ctx context.Context, id string) (c Case, v Visit, err error) {
	c, err = caseOfAssessment(ctx, r.ledger.DB.Reader, whole, r.contents.Decode, id)
	if err != nil {
		return Case{}, Visit{}, fmt.Errorf("read assessment: %w", err)
	}
	for _, visit := range c.Visits {
		if visit.ID == id {
			v = visit
		}
	}
	v.ID = id // also where nothing of it waits or was signed
	return c, v, nil
}

// Statuses of an assessment.
const (
	StatusWaiting   = "waiting"   // a version waits for its sign-off
	StatusSigned    = "signed"    // none waits, and the version signed last is not withdrawn
	StatusWithdrawn = "withdrawn" // none waits, and the version signed last was withdrawn
	StatusReturned  = "returned"  // none waits, because the version registered last was returned
)

// ChangeFilter selects assessments.
type ChangeFilter struct {
	Studies []string // ids; assessments of other studies are left out
	Source  string   // id of the source that registered them first; empty for all
	Case    int32    // 0 for all
	Status  string   // empty for all
	After   int64    // the Position of the last one of the page before; 0 for the first page
	Limit   int      // at most MaxPerPage
}

// Changed is an assessment and when it changed last.
type Changed struct {
	ID       string `json:"id"`
	Study    string `json:"study"`
	Case     int32  `json:"case"`
	Status   string `json:"status"`
	Position int64  `json:"position"` // number of the line of the audit trail about its last change
}

// Changes returns assessments in the order of their last changes: registered, signed,
// superseded, withdrawn or returned. One that changes between two pages comes again in a
// later one, so that whoever remembers the last position misses no change.
func (r *Reviews) Changes(ctx context.Context, f ChangeFilter) ([]Changed, error) {
	studies, err := studiesJSON(f.Studies)
	if err != nil {
		return nil, err
	}
	const changes = `('assessment.registered', 'assessment.moved', 'assessment.returned', 'assessment.signed', 'report.superseded', 'report.withdrawn')`
	changed, err := database.List(ctx, r.ledger.DB.Reader, func(row database.Row) (c Changed, err error) {
		return c, row.Scan(&c.ID, &c.Study, &c.Case, &c.Status, &c.Position)
	}, `
		select id, study, number, status, position
		from (
			select a.id, s.study, a.number, l.row as position,
				case
					when a.waiting is not null then ?
					when exists (select 1 from returns b where b.version = (select max(row) from versions v where v.assessment = a.id)) then ?
					when exists (select 1 from withdrawals w where w.version = a.signed) then ?
					else ?
				end as status
			from audit l
			join assessments a on a.id = l.subject
			join studies s on s.row = a.study
			where l.row > +? and l.action in `+changes+`
				and (? = '' or a.source = ?)
				and (? = 0 or a.number = ?)
				and s.study in (select c0 from `+r.ledger.DB.JSONRows("c0")+`)
				and not exists (
					select 1
					from audit later
					where later.subject = l.subject and later.row > l.row and later.action in `+changes+`
				)
		) c
		where ? = '' or status = ?
		order by position
		limit +?`,
		StatusWaiting, StatusReturned, StatusWithdrawn, StatusSigned,
		f.After, f.Source, f.Source, f.Case, f.Case, studies, f.Status, f.Status, limit(f.Limit))
	if err != nil {
		return nil, fmt.Errorf("list changed assessments: %w", err)
	}
	return changed, nil
}
