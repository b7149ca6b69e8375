package outbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
)

// Waiting is a version that waits for its sign-off.
type Waiting struct {
	Assessment events.Assessment `json:"assessment"`
	Registered time.Time         `json:"registered"`
	By         string            `json:"by"`

	Registration int64  `json:"registration"` // identifies the version among all others; see Expected
	Digest       string `json:"digest"`       // lower-case hex SHA-256 of the content as stored
}

// WaitingFilter selects versions that wait. The zero filter selects all.
type WaitingFilter struct {
	Study string // id
	Case  int32
}

// Waiting returns the versions that wait for their sign-off, by study, case and
// assessment id.
func (o *Outbox) Waiting(ctx context.Context, filter WaitingFilter) ([]Waiting, error) {
	study := ledger.NormalizeStudy(filter.Study)
	waiting, err := database.List(ctx, o.db.Reader, scanWaiting, `
		select v.content, v.time, v.registrar, v.row
		from assessments a
		join studies s on s.row = a.study
		join versions v on v.row = a.waiting
		where (? = '' or s.study = ?)
			and (? = 0 or a.number = ?)
		order by s.study, a.number`, study, study, filter.Case, filter.Case)
	if err != nil {
		return nil, fmt.Errorf("list waiting versions: %w", err)
	}
	slices.SortStableFunc(waiting, func(a, b Waiting) int { return compareInCase(a.Assessment, b.Assessment) })
	return waiting, nil
}

func scanWaiting(row database.Row) (w Waiting, err error) {
	var content []byte
	var at string
	if err := row.Scan(&content, &at, &w.By, &w.Registration); err != nil {
		return w, err
	}
	return w, w.read(content, at)
}

// read sets what follows from the stored content and the time of registration.
func (w *Waiting) read(content []byte, at string) (err error) {
	if w.Registered, err = events.ParseTime(at); err != nil {
		return err
	}
	w.Digest = digest(content)
	w.Assessment, err = decode(content)
	return err
}

// visitColumns selects what scanVisit reads: the content of the assessment's highest
// version, whether that is the one signed last, whether the one signed last was
// withdrawn, and the visit. The highest version is the waiting one if that is higher
// than the one signed last, and else the one signed last.
const visitColumns = `
	case when n.row is not null and (v.row is null
			or (n.case_revision, n.revision) > (v.case_revision, v.revision))
		then n.content else v.content end,
	v.row is not null and (n.row is null
			or (n.case_revision, n.revision) <= (v.case_revision, v.revision)),
	exists (select 1 from withdrawals w where w.version = v.row),
	a.visit
	from assessments a
	join studies s on s.row = a.study
	left join versions n on n.row = a.waiting
	left join versions v on v.row = a.signed`

// Visits returns all assessments of a study, by id, each with the SDTM visit that it
// was made from and a version: the waiting one or the one signed last, whichever is
// higher.
func (o *Outbox) Visits(ctx context.Context, study string) ([]events.KnownVisit, error) {
	visits, err := database.List(ctx, o.db.Reader, scanVisit, `
		select `+visitColumns+`
		where s.study = ?
		order by a.id`, ledger.NormalizeStudy(study))
	if err != nil {
		return nil, fmt.Errorf("list visits: %w", err)
	}
	return visits, nil
}

// VisitsByID returns the assessments with these ids, of any study, as Visits does, by
// id. Ids that are not registered are left out.
func (o *Outbox) VisitsByID(ctx context.Context, ids []string) (map[string]events.KnownVisit, error) {
	registered := make(map[string]events.KnownVisit)
	for _, id := range ids {
		visit, err := scanVisit(o.db.Reader.QueryRowContext(ctx, `
			select `+visitColumns+`
			where a.id = +?`, id))
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look up assessment: %w", err)
		}
		registered[id] = visit
	}
	return registered, nil
}

func scanVisit(row database.Row) (k events.KnownVisit, err error) {
	var content, visit []byte
	if err := row.Scan(&content, &k.Signed, &k.Withdrawn, &visit); err != nil {
		return k, err
	}
	k.Withdrawn = k.Withdrawn && k.Signed // the withdrawn version is the one signed last; a waiting one may be higher
	if k.Latest, err = decode(content); err != nil || visit == nil {
		return k, err
	}
	k.Visit = new(events.Visit)
	return k, json.Unmarshal(visit, k.Visit)
}
