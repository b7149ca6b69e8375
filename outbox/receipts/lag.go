package receipts

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sort"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
)

// Lag is how far a partner is behind in a study that it may see. Numbers are
// those of the study's events.
type Lag struct {
	Partner      string    `json:"partner"`
	Study        string    `json:"study"` // id; of the partner's grants and revocations the internal study
	StudyKey     string    `json:"token"`
	Last         uint64    `json:"last"`           // of the study's last event; 0 for none
	Delivered    uint64    `json:"delivered"`      // of the last event delivered
	Acknowledged uint64    `json:"acknowledged"`   // up to this number all are acknowledged
	Behind       uint64    `json:"behind"`         // events not acknowledged
	Since        time.Time `json:"since,omitzero"` // since when the partner could have had the oldest of them
	Noted        time.Time `json:"noted,omitzero"` // when the broker last reported progress; zero for never
}

// Lags returns how far each partner is behind in each study granted and in its
// own internal study, by partner, then study. A partner that only uses the read
// API acknowledges nothing.
func (recs *Receipts) Lags(ctx context.Context) ([]Lag, error) {
	list, err := partners(ctx, recs.ledger.DB.Reader)
	if err != nil {
		return nil, err
	}
	lags := []Lag{}
	for _, p := range list {
		if !p.Enabled {
			continue
		}
		for _, study := range append([]string{events.PartnerStudy(p.ID)}, p.Studies...) {
			l := Lag{Partner: p.ID, Study: study, StudyKey: ledger.StudyKey(study)}
			if err := recs.measure(ctx, &l); err != nil {
				return nil, fmt.Errorf("lag of partner %s in %s: %w", p.ID, study, err)
			}
			lags = append(lags, l)
		}
	}
	return lags, nil
}

// measure sets the numbers and times of the lag of a partner in a study.
func (recs *Receipts) measure(ctx context.Context, l *Lag) error {
	var delivered, acknowledged uint64
	var noted, granted string
	db := recs.ledger.DB.Reader
	err := db.QueryRowContext(ctx, `
		select delivered, acknowledged, time, granted
		from receipts
		where partner = ? and study = ?`, l.Partner, l.StudyKey).Scan(&delivered, &acknowledged, &noted, &granted)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if l.Noted, err = parseOptional(noted); err != nil {
		return err
	}
	if l.Delivered, err = numberAt(ctx, db, l.StudyKey, delivered); err != nil {
		return err
	}
	if l.Acknowledged, err = numberAt(ctx, db, l.StudyKey, acknowledged); err != nil {
		return err
	}
	err = db.QueryRowContext(ctx, `select sequence from studies where token = ?`, l.StudyKey).Scan(&l.Last)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if l.Behind = l.Last - min(l.Acknowledged, l.Last); l.Behind == 0 {
		return nil
	}
	l.Since, err = recs.sinceWhen(ctx, l, granted)
	return err
}

// sinceWhen returns since when the partner could have had its oldest event that
// is not acknowledged: since the event's time, or since the grant, which
// includes all earlier events of the study.
func (recs *Receipts) sinceWhen(ctx context.Context, l *Lag, granted string) (time.Time, error) {
	var oldest string
	err := recs.ledger.DB.Reader.QueryRowContext(ctx, `
		select e.time
		from studies s
		join events e on e.study = s.row
		where s.token = ? and e.sequence = ?`, l.StudyKey, int64(l.Acknowledged+1)).Scan(&oldest)
	if err != nil {
		return time.Time{}, err
	}
	return events.ParseTime(max(oldest, granted)) // the order of texts is that of times
}

// numberAt returns the number of the study's last event up to a stream sequence;
// 0 where there is none.
func numberAt(ctx context.Context, q database.Querier, key string, sequence uint64) (number uint64, err error) {
	if sequence == 0 {
		return 0, nil
	}
	err = q.QueryRowContext(ctx, `
		select e.sequence
		from ordinals o
		join events e on e.row = o.event
		join studies s on s.row = e.study
		where o.ordinal = ? and s.token = ?`, int64(sequence), key).Scan(&number)
	if !errors.Is(err, sql.ErrNoRows) {
		return number, err
	}
	return searchNumber(ctx, q, key, sequence)
}

// searchNumber is numberAt where the stream sequence is that of an event of
// another study. Numbers and stream sequences of a study rise together, so a
// binary search finds it.
func searchNumber(ctx context.Context, q database.Querier, key string, sequence uint64) (uint64, error) {
	var study, last int64
	err := q.QueryRowContext(ctx, `select row, sequence from studies where token = ?`, key).Scan(&study, &last)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var failed error
	number := sort.Search(int(last), func(i int) bool { // whether event i + 1 comes after it
		var at uint64
		err := q.QueryRowContext(ctx, `
			select coalesce(o.ordinal, 0)
			from events e
			left join ordinals o on o.event = e.row
			where e.study = ? and e.sequence = ?`, study, int64(i)+1).Scan(&at)
		if err != nil {
			failed = err
		}
		return at == 0 || at > sequence
	})
	return uint64(number), failed
}

func parseOptional(moment string) (time.Time, error) {
	if moment == "" {
		return time.Time{}, nil
	}
	return events.ParseTime(moment)
}
