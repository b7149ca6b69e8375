package receipts

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
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
	r := Reception{Assessment: assessment, Receivers: []Receiver{}}
	var at string
	err := recs.ledger.DB.Reader.QueryRowContext(ctx, `
		select s.study, e.kind, e.sequence, e.time, coalesce(o.ordinal, 0)
		from assessments a
		join events e on e.row = a.published
		join studies s on s.row = e.study
		left join ordinals o on o.event = e.row
		where a.id = +?`, assessment).Scan(&r.Study, &r.Kind, &r.Number, &at, &r.StreamSequence)
	if errors.Is(err, sql.ErrNoRows) {
		return Reception{}, events.Errorf(events.NotFound, "nothing of an assessment %q was signed off", assessment)
	}
	if err != nil {
		return Reception{}, fmt.Errorf("look up assessment: %w", err)
	}
	if r.Time, err = events.ParseTime(at); err != nil {
		return Reception{}, err
	}
	progress, err := recs.Progress(ctx)
	if err != nil {
		return Reception{}, err
	}
	r.Receivers = progress.Receivers(r.Study, r.StreamSequence)
	return r, nil
}

// Progress is how far each partner got in each of its studies.
type Progress struct {
	partners []access.Partner
	receipts map[[2]string]events.Receipt // by partner and study key
}

// Progress reads how far the partners got, as it is at one moment.
func (recs *Receipts) Progress(ctx context.Context) (p Progress, err error) {
	err = recs.ledger.DB.AtOneMoment(ctx, func(q database.Querier) (err error) {
		if p.partners, err = partners(ctx, q); err != nil {
			return err
		}
		receipts, err := readReceipts(ctx, q)
		p.receipts = make(map[[2]string]events.Receipt, len(receipts))
		for _, r := range receipts {
			p.receipts[[2]string{r.Partner, r.Study}] = r
		}
		return err
	})
	return p, err
}

// Receivers returns the partners that may read the study with this id, by their ids, each
// with the state of the study's event with the stream sequence; 0 is the sequence of an
// event that is not published.
func (p Progress) Receivers(study string, sequence uint64) []Receiver {
	receivers := []Receiver{}
	for _, partner := range p.partners {
		if !partner.Granted(study) {
			continue
		}
		state := NotDelivered
		if r, ok := p.receipts[[2]string{partner.ID, ledger.StudyKey(study)}]; ok {
			state = stateOf(r, sequence)
		}
		receivers = append(receivers, Receiver{Partner: partner.ID, State: state})
	}
	return receivers
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
