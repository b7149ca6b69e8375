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
	var key string // of the study
	byID := make(map[string]*Reception)
	err := database.Each(ctx, recs.ledger.DB.Reader, func(row database.Row) error {
		r := &Reception{Receivers: []Receiver{}}
		var at string
		err := row.Scan(&r.Assessment, &r.Study, &key, &r.Kind, &r.Number, &at, &r.StreamSequence)
		if err == nil {
			r.Time, err = events.ParseTime(at)
		}
		byID[r.Assessment] = r
		return err
	}, `
		select a.id, s.study, s.token, e.kind, e.sequence, e.time, coalesce(o.ordinal, 0)
		from studies s
		join assessments a on a.study = s.row
		join events e on e.row = a.published
		left join ordinals o on o.event = e.row
		where s.study = ? and a.number = ?`, ledger.NormalizeStudy(study), number)
	if err != nil {
		return nil, fmt.Errorf("look up assessments of case: %w", err)
	}
	if len(byID) == 0 {
		return byID, nil
	}
	list, err := partners(ctx, recs.ledger.DB.Reader)
	if err != nil {
		return nil, err
	}
	receipts, err := recs.Receipts(ctx)
	if err != nil {
		return nil, err
	}
	receiptOf := make(map[string]events.Receipt) // by partner; the zero receipt where none is stored
	for _, receipt := range receipts {
		if receipt.Study == key {
			receiptOf[receipt.Partner] = receipt
		}
	}
	for _, r := range byID {
		for _, p := range list {
			if p.Granted(r.Study) {
				r.Receivers = append(r.Receivers, Receiver{Partner: p.ID, State: stateOf(receiptOf[p.ID], r.StreamSequence)})
			}
		}
	}
	return byID, nil
}
