package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/jmoiron/sqlx"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
)

// NoteReceipts stores how far the broker got with partners' consumers, so that
// it is known even where the broker has lost its store. What it holds only
// moves forward, whatever comes: late news change nothing, and a stream that
// was filled again from the outbox has the same sequence numbers. Only a
// revocation ends a receipt, and the next grant begins with the first event.
//
// Receipts of partners and studies that are not granted are passed over: the
// broker was asked before they were revoked.
func (o *Outbox) NoteReceipts(ctx context.Context, receipts []events.Receipt) error {
	held, err := o.Receipts(ctx)
	if err != nil {
		return err
	}
	news := newsIn(receipts, held)
	if len(news) == 0 {
		return nil
	}
	// Nothing is pending afterwards, so nobody is woken.
	err = o.db.Update(ctx, func(tx *sqlx.Tx) error { return o.work(tx).noteReceipts(news) })
	if err != nil {
		return explain("note receipts", err)
	}
	return nil
}

// newsIn leaves out what would move nothing: most of the time nothing moves,
// and then nothing needs to be written.
func newsIn(receipts, held []events.Receipt) []events.Receipt {
	type key struct{ partner, study string }
	known := make(map[key]events.Receipt, len(held))
	for _, r := range held {
		known[key{r.Partner, r.Study}] = r
	}
	var news []events.Receipt
	for _, r := range receipts {
		if k := known[key{r.Partner, r.Study}]; r.Delivered > k.Delivered || r.Acknowledged > k.Acknowledged {
			news = append(news, r)
		}
	}
	return news
}

func (w *work) noteReceipts(receipts []events.Receipt) error {
	partners := make(map[string]access.Partner)
	for _, r := range receipts {
		p, ok := partners[r.Partner]
		if !ok {
			var err error
			if p, err = w.partner(r.Partner); err != nil {
				return err
			}
			partners[r.Partner] = p
		}
		if !listens(p, r.Study) {
			continue
		}
		if err := w.noteReceipt(r); err != nil {
			return err
		}
	}
	return nil
}

// listens reports whether the partner has a consumer of the study, named by
// its token: those granted, and that of its own announcements.
func listens(p access.Partner, token string) bool {
	if token == events.PartnerStudy(p.ID) {
		return p.Enabled
	}
	for _, study := range p.Studies {
		if events.StudyToken(study) == token {
			return p.Granted(study)
		}
	}
	return false
}

func (w *work) noteReceipt(r events.Receipt) error {
	at := r.At.UTC()
	if r.At.IsZero() {
		at = w.now
	}
	_, err := w.tx.Exec(`
		insert into receipts (partner, study, delivered, acknowledged, time, granted)
		values (?, ?, ?, ?, ?, '')
		on conflict do update
		set delivered = max(delivered, excluded.delivered),
			acknowledged = max(acknowledged, excluded.acknowledged),
			time = max(time, excluded.time)
		where excluded.time >= granted`,
		r.Partner, r.Study, int64(max(r.Delivered, r.Acknowledged)), int64(r.Acknowledged), events.FormatTime(at))
	if err != nil {
		return fmt.Errorf("store receipt: %w", err)
	}
	return nil
}

// Receipts gives what NoteReceipts has stored, by partner, then study. At is
// when the broker was asked that moved it last; zero where it has said nothing
// since the grant.
func (o *Outbox) Receipts(ctx context.Context) ([]events.Receipt, error) {
	rows, err := o.db.Reader.QueryContext(ctx, `
		select partner, study, delivered, acknowledged, time
		from receipts
		order by partner, study`)
	if err != nil {
		return nil, fmt.Errorf("read receipts: %w", err)
	}
	defer rows.Close()
	out := []events.Receipt{}
	for rows.Next() {
		var r events.Receipt
		var at string
		if err := rows.Scan(&r.Partner, &r.Study, &r.Delivered, &r.Acknowledged, &at); err != nil {
			return nil, fmt.Errorf("read receipt: %w", err)
		}
		if r.At, err = parseOptional(at); err != nil {
			return nil, fmt.Errorf("read receipt: %w", err)
		}
		out = append(out, r)
	}
	return out, rows.Err()
}

// openReceipts begins the receipts of grants.
func (w *work) openReceipts(partner string, studies ...string) error {
	for _, study := range studies {
		_, err := w.tx.Exec(`
			insert into receipts (partner, study, delivered, acknowledged, time, granted)
			values (?, ?, 0, 0, '', ?)`, partner, tokenOf(study), events.FormatTime(w.now))
		if err != nil {
			return fmt.Errorf("open receipt: %w", err)
		}
	}
	return nil
}

// received is what the audit trail keeps of a receipt that ends: the numbers
// of the study's last events delivered and acknowledged.
type received struct {
	Study        string `json:"study"`
	Delivered    uint64 `json:"delivered"`
	Acknowledged uint64 `json:"acknowledged"`
}

// closeReceipts ends the receipts of studies and gives what they said.
func (w *work) closeReceipts(partner string, studies ...string) ([]received, error) {
	ended := make([]received, 0, len(studies))
	for _, study := range studies {
		var delivered, acknowledged uint64
		err := w.tx.QueryRow(`
			delete from receipts
			where partner = ? and study = ?
			returning delivered, acknowledged`, partner, tokenOf(study)).Scan(&delivered, &acknowledged)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("close receipt: %w", err)
		}
		r := received{Study: study}
		if r.Delivered, err = numberAt(context.Background(), w.tx, tokenOf(study), delivered); err != nil {
			return nil, err
		}
		if r.Acknowledged, err = numberAt(context.Background(), w.tx, tokenOf(study), acknowledged); err != nil {
			return nil, err
		}
		ended = append(ended, r)
	}
	return ended, nil
}

// endedDetail is what the audit trail says of a partner that loses studies.
type endedDetail struct {
	Received []received `json:"received"`
}
