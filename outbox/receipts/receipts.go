package receipts

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
)

// NoteReceipts stores how far the broker got with partners' consumers, so that
// it is known even where the broker has lost its store. What it holds only
// moves forward, whatever comes: late news change nothing, and a stream that
// was filled again from the outbox has the same sequence numbers. Only a
// revocation ends a receipt, and the next grant begins with the first event.
//
// Receipts of partners and studies that are not granted are passed over: the
// broker was asked before they were revoked.
func (recs *Receipts) NoteReceipts(ctx context.Context, receipts []events.Receipt) error {
	held, err := recs.Receipts(ctx)
	if err != nil {
		return err
	}
	news := newsIn(receipts, held)
	if len(news) == 0 {
		return nil
	}
	return recs.ledger.UpdateSilently(ctx, "note receipts", func(tx *ledger.Tx) error { return noteAll(tx, news) })
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

func noteAll(tx *ledger.Tx, receipts []events.Receipt) error {
	partners := make(map[string]access.Partner)
	for _, r := range receipts {
		p, ok := partners[r.Partner]
		if !ok {
			var err error
			if p, err = partnerOf(tx, r.Partner); err != nil {
				return err
			}
			partners[r.Partner] = p
		}
		if !listens(p, r.Study) {
			continue
		}
		if err := note(tx, r); err != nil {
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
		if events.StudyKey(study) == token {
			return p.Granted(study)
		}
	}
	return false
}

// partners returns all partners, removed ones too, by id.
func (recs *Receipts) partners(ctx context.Context) ([]access.Partner, error) {
	return ledger.States[access.Partner](ctx, recs.ledger.DB.Reader, `select state from partners order by id`)
}

func partnerOf(tx *ledger.Tx, id string) (access.Partner, error) {
	found, err := ledger.States[access.Partner](context.Background(), tx, `select state from partners where id = ?`, id)
	if err != nil || len(found) == 0 {
		return access.Partner{}, errors.Join(err, events.Errorf(events.NotFound, "there is no partner %q", id))
	}
	return found[0], nil
}

func note(tx *ledger.Tx, r events.Receipt) error {
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

// Receipts returns what NoteReceipts has stored, by partner, then study. At is
// when the broker was asked that moved it last; zero where it has said nothing
// since the grant.
func (recs *Receipts) Receipts(ctx context.Context) ([]events.Receipt, error) {
	rows, err := recs.ledger.DB.Reader.QueryContext(ctx, `
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

// Open begins the receipts of grants.
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

// Ended is what the audit trail keeps of a receipt that ends: the numbers
// of the study's last events delivered and acknowledged.
type Ended struct {
	Study        string `json:"study"`
	Delivered    uint64 `json:"delivered"`
	Acknowledged uint64 `json:"acknowledged"`
}

// Close ends the receipts of studies and returns what they said.
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
