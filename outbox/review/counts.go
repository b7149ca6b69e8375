package review

import (
	"context"
	"fmt"
	"slices"

	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
	"github.com/seed-e88a4ece/signoff/outbox/internal/stored"
)

// Counts is how much is stored of an assessment.
type Counts struct {
	ID          string
	Versions    int
	Signatures  int // of versions, without those of withdrawals
	Withdrawals int
	Returns     int
	Lines       int // of the audit trail, as Trail returns them
}

// Counts returns how much is stored of each assessment of a case, by id. It includes those
// of which nothing waits and nothing was signed.
func (r *Reviews) Counts(ctx context.Context, of CaseOf) ([]Counts, error) {
	counts, err := database.List(ctx, r.ledger.DB.Reader, func(row database.Row) (c Counts, err error) {
		return c, row.Scan(&c.ID, &c.Versions, &c.Signatures, &c.Withdrawals, &c.Returns, &c.Lines)
	}, `
		select a.id, count(v.row), count(g.version), count(w.version), count(b.version),
			(
				select count(*)
				from audit l
				where l.subject = a.id and (l.action like 'assessment.%' or l.action like 'report.%')
			)
		from studies s
		join assessments a on a.study = s.row
		join versions v on v.assessment = a.id
		left join signatures g on g.version = v.row
		left join withdrawals w on w.version = v.row
		left join returns b on b.version = v.row
		where s.study = +? and a.number = +?
		group by a.id`, ledger.NormalizeStudy(of.Study), of.Number)
	if err != nil {
		return nil, fmt.Errorf("count what is stored of a case: %w", err)
	}
	slices.SortFunc(counts, func(a, b Counts) int { return stored.CompareIDs(a.ID, b.ID) })
	return counts, nil
}
