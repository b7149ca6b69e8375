package outbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
	"github.com/seed-e88a4ece/signoff/outbox/internal/stored"
)

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
	if k.Latest, err = stored.Decode(content); err != nil || visit == nil {
		return k, err
	}
	k.Visit = new(events.Visit)
	return k, json.Unmarshal(visit, k.Visit)
}
