package receipts

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
)

// NoteReceipts stores how far the partners' consumers on the broker got, so that it is
// on record even if the broker loses its store. A stored receipt only moves forward, and
// receipts that arrive late change nothing. That is right for a stream that was filled
// again from the outbox too, because it has the same stream sequences. Only a revocation
// ends a receipt, and the receipt of a next grant begins at 0.
//
// Receipts of studies that are not granted to the partner are ignored: the broker
// answered before the grant was revoked. The error is NotFound, and nothing is stored, if
// a partner was never added.
func (recs *Receipts) NoteReceipts(ctx context.Context, receipts []events.Receipt) error {
	stored, err := recs.Receipts(ctx)
	if err != nil {
		return err
	}
	// Most of the time nothing has moved, and then nothing is written.
	moved := movedReceipts(receipts, stored)
	if len(moved) == 0 {
		return nil
	}
	return recs.ledger.UpdateSilently(ctx, "note receipts", func(tx *ledger.Tx) error { return storeGranted(tx, moved) })
}

// movedReceipts returns the receipts that have a higher stream sequence, delivered or
// acknowledged, than the stored ones.
func movedReceipts(receipts, stored []events.Receipt) []events.Receipt {
	type consumer struct{ partner, study string }
	before := make(map[consumer]events.Receipt, len(stored))
	for _, r := range stored {
		before[consumer{r.Partner, r.Study}] = r
	}
	var moved []events.Receipt
	for _, r := range receipts {
		if b := before[consumer{r.Partner, r.Study}]; r.Delivered > b.Delivered || r.Acknowledged > b.Acknowledged {
			moved = append(moved, r)
		}
	}
	return moved
}

// storeGranted stores the receipts. It ignores a receipt if the partner may not read its
// study.
func storeGranted(tx *ledger.Tx, receipts []events.Receipt) error {
	list, err := partners(context.Background(), tx)
	if err != nil {
		return err
	}
	byID := make(map[string]access.Partner, len(list))
	for _, p := range list {
		byID[p.ID] = p
	}
	for _, r := range receipts {
		p, ok := byID[r.Partner]
		if !ok {
			return events.Errorf(events.NotFound, "there is no partner %q", r.Partner)
		}
		if !hasConsumer(p, r.Study) {
			continue
		}
		if err := store(tx, r); err != nil {
			return err
		}
	}
	return nil
}

// partners returns all partners, removed ones too, by id.
func partners(ctx context.Context, q database.Querier) ([]access.Partner, error) {
	list, err := database.List(ctx, q, ledger.State[access.Partner], `select state from partners order by id`)
	if err != nil {
		return nil, fmt.Errorf("read partners: %w", err)
	}
	return list, nil
}

// hasConsumer reports whether the partner has a consumer of the study with this
// key: a granted one, or its own internal study.
func hasConsumer(p access.Partner, key string) bool {
	if key == events.PartnerStudy(p.ID) {
		return p.Enabled
	}
	for _, study := range p.Studies {
		if events.StudyKey(study) == key {
			return p.Granted(study)
		}
	}
	return false
}

// store moves the stored receipt forward to r, or inserts it. An answer of the broker
// from before the present grant changes nothing: it is about a former one.
func store(tx *ledger.Tx, r events.Receipt) error {
	at := r.At.UTC()
	if r.At.IsZero() {
		at = tx.Now
	}
	_, err := tx.Exec(`
		insert into receipts (partner, study, delivered, acknowledged, time, granted)
		values (?, ?, ?, ?, ?, '')
		on conflict (partner, study) do update
		set delivered = case when excluded.delivered > receipts.delivered then excluded.delivered else receipts.delivered end,
			acknowledged = case when excluded.acknowledged > receipts.acknowledged then excluded.acknowledged else receipts.acknowledged end,
			time = case when excluded.time > receipts.time then excluded.time else receipts.time end
		where excluded.time >= receipts.granted`,
		r.Partner, r.Study, int64(max(r.Delivered, r.Acknowledged)), int64(r.Acknowledged), events.FormatTime(at))
	if err != nil {
		return fmt.Errorf("store receipt: %w", err)
	}
	return nil
}

// Receipts returns the stored receipts, by partner, then study key. At is the time of the
// broker's last answer that was stored; zero where there was none since the grant.
func (recs *Receipts) Receipts(ctx context.Context) ([]events.Receipt, error) {
	return readReceipts(ctx, recs.ledger.DB.Reader)
}

// readReceipts is Receipts for what q reads.
func readReceipts(ctx context.Context, q database.Querier) ([]events.Receipt, error) {
	receipts, err := database.List(ctx, q, scanReceipt, `
		select partner, study, delivered, acknowledged, time
		from receipts
		order by partner, study`)
	if err != nil {
		return nil, fmt.Errorf("read receipts: %w", err)
	}
	return receipts, nil
}

func scanReceipt(row database.Row) (r events.Receipt, err error) {
	var at string
	if err := row.Scan(&r.Partner, &r.Study, &r.Delivered, &r.Acknowledged, &at); err != nil {
		return r, err
	}
	r.At, err = parseOptional(at)
	return r, err
}

// Open begins the receipts of studies, named by their ids, that are granted to the
// partner in this transaction.
func Open(tx *ledger.Tx, partner string, studies ...string) error {
	for _, study := range studies {
		_, err := tx.Exec(`
			insert into receipts (partner, study, delivered, acknowledged, time, granted)
			values (?, ?, 0, 0, '', ?)`, partner, ledger.StudyKey(study), events.FormatTime(tx.Now))
		if err != nil {
			return fmt.Errorf("open receipt: %w", err)
		}
	}
	return nil
}

// Ended is stored in the audit trail for a receipt that ends. It has the study numbers of
// the last events delivered and acknowledged.
type Ended struct {
	Study        string `json:"study"`
	Delivered    uint64 `json:"delivered"`
	Acknowledged uint64 `json:"acknowledged"`
}

// Close deletes the partner's receipts of studies, named by their ids, and returns how far
// they were. It leaves out studies without a receipt.
func Close(tx *ledger.Tx, partner string, studies ...string) ([]Ended, error) {
	ended := make([]Ended, 0, len(studies))
	for _, study := range studies {
		var delivered, acknowledged uint64
		err := tx.QueryRow(`
			delete from receipts
			where partner = ? and study = ?
			returning delivered, acknowledged`, partner, ledger.StudyKey(study)).Scan(&delivered, &acknowledged)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("close receipt: %w", err)
		}
		r := Ended{Study: study}
		if r.Delivered, err = numberAt(context.Background(), tx, ledger.StudyKey(study), delivered); err != nil {
			return nil, err
		}
		if r.Acknowledged, err = numberAt(context.Background(), tx, ledger.StudyKey(study), acknowledged); err != nil {
			return nil, err
		}
		ended = append(ended, r)
	}
	return ended, nil
}
