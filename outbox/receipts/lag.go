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

// Lag is how far a partner is behind in a study that it may read: which events it has
// not acknowledged. Its numbers are study numbers, 0 for none.
type Lag struct {
	Partner      string    `json:"partner"`
	Study        string    `json:"study"`          // id; also that of the partner's internal study, with its grants and revocations
	StudyKey     string    `json:"token"`          // the study key; the JSON and the column studies.token keep its older name
	Last         uint64    `json:"last"`           // number of the study's last event
	Delivered    uint64    `json:"delivered"`      // number of the last event delivered
	Acknowledged uint64    `json:"acknowledged"`   // number up to which all events are acknowledged
	Behind       uint64    `json:"behind"`         // how many events are not acknowledged
	Since        time.Time `json:"since,omitzero"` // since when the partner could have had the oldest of them; zero if there is none
	Noted        time.Time `json:"noted,omitzero"` // when the broker last reported progress; zero for never
}

// Lags returns the lag of each enabled partner in each study granted and in its own
// internal study, by partner, then study; the internal study comes first. Reading by the
// read API acknowledges nothing.
//
// All are read as they are at one moment. A partner whose grant is revoked meanwhile would
// otherwise seem to have received nothing, because its receipt is deleted.
func (recs *Receipts) Lags(ctx context.Context) ([]Lag, error) {
	lags := []Lag{}
	err := recs.ledger.DB.AtOneMoment(ctx, func(q database.Querier) error {
		list, err := partners(ctx, q)
		if err != nil {
			return err
		}
		for _, p := range list {
			if !p.Enabled {
				continue
			}
			for _, study := range append([]string{events.PartnerStudy(p.ID)}, p.Studies...) {
				l := Lag{Partner: p.ID, Study: study, StudyKey: ledger.StudyKey(study)}
				if err := fillLag(ctx, q, &l); err != nil {
					return fmt.Errorf("lag of partner %s in %s: %w", p.ID, study, err)
				}
				lags = append(lags, l)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return lags, nil
}

// fillLag sets the numbers and times of l, whose partner and study are set. Where no
// receipt is stored, nothing counts as delivered.
func fillLag(ctx context.Context, q database.Querier, l *Lag) error {
	var delivered, acknowledged uint64
	var noted, granted string
	err := q.QueryRowContext(ctx, `
		select delivered, acknowledged, time, granted
		from receipts
		where partner = ? and study = ?`, l.Partner, l.StudyKey).Scan(&delivered, &acknowledged, &noted, &granted)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if l.Noted, err = parseOptional(noted); err != nil {
		return err
	}
	if l.Delivered, err = numberAt(ctx, q, l.StudyKey, delivered); err != nil {
		return err
	}
	if l.Acknowledged, err = numberAt(ctx, q, l.StudyKey, acknowledged); err != nil {
		return err
	}
	err = q.QueryRowContext(ctx, `select sequence from studies where token = ?`, l.StudyKey).Scan(&l.Last)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if l.Behind = l.Last - min(l.Acknowledged, l.Last); l.Behind == 0 {
		return nil
	}
	l.Since, err = possibleSince(ctx, q, l, granted)
	return err
}

// possibleSince returns since when the partner could have had the oldest event that it
// has not acknowledged. That is the later of the event's time and the grant's time: a
// grant includes the study's earlier events.
func possibleSince(ctx context.Context, q database.Querier, l *Lag, granted string) (time.Time, error) {
	var oldest string
	err := q.QueryRowContext(ctx, `
		select e.time
		from studies s
		join events e on e.study = s.row
		where s.token = ? and e.sequence = ?`, l.StudyKey, int64(l.Acknowledged+1)).Scan(&oldest)
	if err != nil {
		return time.Time{}, err
	}
	return events.ParseTime(max(oldest, granted)) // the order of texts is that of times
}

// numberAt returns the number of the last event of the study with this key whose stream
// sequence is at most sequence; 0 where there is none.
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

// searchNumber is numberAt for the stream sequence of another study's event. The stream
// sequences of a study rise with its numbers, so it searches by halves.
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
	number := sort.Search(int(last), func(i int) bool { // reports whether event i + 1 is later than sequence
		var at uint64
		err := q.QueryRowContext(ctx, `
			select coalesce(o.ordinal, 0)
			from events e
			left join ordinals o on o.event = e.row
			where e.study = ? and e.sequence = ?`, study, int64(i)+1).Scan(&at)
		if err != nil {
			failed = err
		}
		return at == 0 || at > sequence // 0 if it is not published; then it will be later
	})
	return uint64(number), failed
}

// parseOptional parses a stored time; an empty text is the zero time.
func parseOptional(moment string) (time.Time, error) {
	if moment == "" {
		return time.Time{}, nil
	}
	return events.ParseTime(moment)
}
