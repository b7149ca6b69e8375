package receipts

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
)

// Reception tells which partners have received the last event of an assessment's report.
type Reception struct {
	Assessment     string     `json:"assessment"`
	Study          string     `json:"study"`
	Kind           string     `json:"kind"`     // of the event
	Number         uint64     `json:"sequence"` // study number of the event
	Time           time.Time  `json:"time"`     // of the event
	StreamSequence uint64     `json:"ordinal"`  // of the event; 0 while it is not published; the JSON keeps its older name
	Receivers      []Receiver `json:"receivers"`
}

// Receiver is a partner that may read the study.
type Receiver struct {
	Partner string `json:"partner"`
	State   string `json:"state"`
}

// States of a Receiver.
const (
	NotDelivered = "not delivered"
	Delivered    = "delivered"    // it, or an event of the study before it, is not acknowledged
	Acknowledged = "acknowledged" // and so is every event of the study before it
)

// Reception returns which partners of its study have received the last event of
// an assessment's report from the broker; reads through the read API are not
// counted. The error is NotFound if there is no such assessment, or nothing of
// it was signed off.
func (recs *Receipts) Reception(ctx context.Context, assessment string) (Reception, error) {
	all, err := recs.receptions(ctx, `a.id = ?`, assessment)
	if err != nil {
		return Reception{}, err
	}
	if len(all) == 0 {
		return Reception{}, events.Errorf(events.NotFound, "nothing of an assessment %q was signed off", assessment)
	}
	return all[0], nil
}

// Receptions returns the receptions of all assessments of a case of which something was
// signed off, by assessment id. See Reception.
func (recs *Receipts) Receptions(ctx context.Context, study string, number int32) (map[string]Reception, error) {
	all, err := recs.receptions(ctx, `a.study = (select row from studies where study = ?) and a.number = ?`, ledger.NormalizeStudy(study), number)
	if err != nil {
		return nil, err
	}
	byID := make(map[string]Reception, len(all))
	for _, r := range all {
		byID[r.Assessment] = r
	}
	return byID, nil
}

// receptions returns the receptions of the assessments of one study that the condition
// selects.
func (recs *Receipts) receptions(ctx context.Context, condition string, args ...any) ([]Reception, error) {
	var key string // of the study
	all, err := database.List(ctx, recs.ledger.DB.Reader, func(row database.Row) (r Reception, err error) {
		var at string
		if err := row.Scan(&r.Assessment, &r.Study, &key, &r.Kind, &r.Number, &at, &r.StreamSequence); err != nil {
			return r, err
		}
		r.Receivers = []Receiver{}
		r.Time, err = events.ParseTime(at)
		return r, err
	}, `
		select a.id, s.study, s.token, e.kind, e.sequence, e.time, coalesce(o.ordinal, 0)
		from assessments a
		join events e on e.row = a.published
		join studies s on s.row = e.study
		left join ordinals o on o.event = e.row
		where `+condition, args...)
	if err != nil {
		return nil, fmt.Errorf("look up assessments: %w", err)
	}
	if len(all) == 0 {
		return nil, nil
	}
	return all, recs.addReceivers(ctx, all, key)
}

// addReceivers adds to the receptions, all of one study, the partners that may read it, by
// id. Key is the study's.
func (recs *Receipts) addReceivers(ctx context.Context, all []Reception, key string) error {
	list, err := partners(ctx, recs.ledger.DB.Reader)
	if err != nil {
		return err
	}
	receipts, err := recs.Receipts(ctx)
	if err != nil {
		return err
	}
	receiptOf := make(map[string]events.Receipt) // by partner; the zero receipt where none is stored
	for _, receipt := range receipts {
		if receipt.Study == key {
			receiptOf[receipt.Partner] = receipt
		}
	}
	for i := range all {
		r := &all[i]
		for _, p := range list {
			if p.Granted(r.Study) {
				r.Receivers = append(r.Receivers, Receiver{Partner: p.ID, State: stateOf(receiptOf[p.ID], r.StreamSequence)})
			}
		}
	}
	return nil
}

// stateOf returns the state of the event with this stream sequence for the partner with
// the receipt. A sequence of 0 is an event that is not published.
func stateOf(r events.Receipt, sequence uint64) string {
	switch {
	case sequence == 0 || r.Delivered < sequence:
		return NotDelivered
	case r.Acknowledged < sequence:
		return Delivered
	default:
		return Acknowledged
	}
}
