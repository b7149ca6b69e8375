package receipts

import (
	"context"
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
)

// OfCase returns the receptions of all assessments of a case of which something was signed
// off, by assessment id. See Reception.
func (recs *Receipts) OfCase(ctx context.Context, study string, number int32) (map[string]*Reception, error) {
	byID := make(map[string]*Reception)
	err := database.Each(ctx, recs.ledger.DB.Reader, func(row database.Row) error {
		r := &Reception{}
		var at string
		err := row.Scan(&r.Assessment, &r.Study, &r.Kind, &r.Number, &at, &r.StreamSequence)
		if err == nil {
			r.Time, err = events.ParseTime(at)
		}
		byID[r.Assessment] = r
		return err
	}, `
		select a.id, s.study, e.kind, e.sequence, e.time, coalesce(o.ordinal, 0)
		from studies s
		join assessments a on a.study = s.row
		join events e on e.row = a.published
		left join ordinals o on o.event = e.row
		where s.study = +? and a.number = +?`, ledger.NormalizeStudy(study), number)
	if err != nil {
		return nil, fmt.Errorf("look up assessments of case: %w", err)
	}
	if len(byID) == 0 {
		return byID, nil
	}
	progress, err := recs.Progress(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range byID {
		r.Receivers = progress.Receivers(r.Study, r.StreamSequence)
	}
	return byID, nil
}
