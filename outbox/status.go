package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
)

// Status is what the outbox holds, as of one moment.
type Status struct {
	Assessments    int           `json:"assessments"`
	Waiting        int           `json:"waiting"`   // for their sign-off
	Available      int           `json:"available"` // reports
	Events         uint64        `json:"events"`
	StreamSequence uint64        `json:"ordinal"`                    // the highest; 0 for none
	Unpublished    uint64        `json:"unpublished"`                // events without an ordinal, parked ones too
	Oldest         time.Time     `json:"oldestUnpublished,omitzero"` // the time of the oldest of them
	Parked         []ParkedStudy `json:"parked"`
	Studies        []StudyStatus `json:"studies"` // by study number, the internal ones too
}

// StudyStatus is the end of a study's chain.
type StudyStatus struct {
	Study    string `json:"study" db:"study"`
	StudyKey string `json:"token" db:"token"`
	Number   uint64 `json:"sequence" db:"sequence"`
	Hash     string `json:"hash,omitempty" db:"hash"`
	Time     string `json:"time,omitempty" db:"time"` // RFC 3339, UTC, six decimals
	Internal bool   `json:"internal,omitempty"`       // not a clinical study: the program's own events about access
}

// ChainHead is the end of the study's chain.
func (s StudyStatus) ChainHead() events.ChainHead {
	return events.ChainHead{Number: s.Number, Hash: s.Hash}
}

// Status counts what the outbox holds.
func (o *Outbox) Status(ctx context.Context) (Status, error) {
	s, err := o.backlog(ctx)
	if err != nil {
		return s, err
	}
	err = o.db.Reader.QueryRowContext(ctx, `
		select count(*), count(waiting), coalesce(sum(available), 0)
		from assessments`).Scan(&s.Assessments, &s.Waiting, &s.Available)
	if err != nil {
		return s, fmt.Errorf("count assessments: %w", err)
	}
	s.Studies = []StudyStatus{}
	err = o.db.Reader.SelectContext(ctx, &s.Studies, `
		select study, token, sequence, hash, time
		from studies
		order by study`)
	if err != nil {
		return s, fmt.Errorf("list studies: %w", err)
	}
	for i := range s.Studies {
		s.Studies[i].Internal = events.InternalStudy(s.Studies[i].Study)
	}
	s.Parked, err = o.Parked(ctx)
	return s, err
}

// backlog fills the part of the status that concerns publication. It costs
// little however many events there are: rows and ordinals have no gaps.
func (o *Outbox) backlog(ctx context.Context) (s Status, err error) {
	err = o.db.Reader.QueryRowContext(ctx, `
		select (select coalesce(max(row), 0) from events), (select coalesce(max(ordinal), 0) from ordinals)`).
		Scan(&s.Events, &s.StreamSequence)
	if err != nil {
		return s, fmt.Errorf("count events: %w", err)
	}
	s.Unpublished = s.Events - min(s.StreamSequence, s.Events)
	var oldest string
	err = o.db.Reader.QueryRowContext(ctx, `
		select time
		from events
		where row = (
			select min(row)
			from (
				select min(first) as row from parked
				union all
				select * from (
					select e.row
					from events e
					where e.row > (select floor from relay)
						and not exists (select 1 from ordinals o where o.event = e.row)
					order by e.row
					limit 1
				)
			)
		)`).Scan(&oldest)
	if errors.Is(err, sql.ErrNoRows) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("find oldest unpublished event: %w", err)
	}
	s.Oldest, err = events.ParseTime(oldest)
	return s, err
}

// ChainHead returns the end of a study's chain; the zero ChainHead where it has no events.
func (o *Outbox) ChainHead(ctx context.Context, study string) (l events.ChainHead, err error) {
	err = o.db.Reader.QueryRowContext(ctx, `
		select sequence, hash
		from studies
		where study = ?`, ledger.NormalizeStudy(study)).Scan(&l.Number, &l.Hash)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return l, fmt.Errorf("look up study: %w", err)
	}
	return l, nil
}

// Ping proves that the outbox can be written, by a commit to disk that changes
// nothing.
func (o *Outbox) Ping(ctx context.Context) error {
	return o.update(ctx, "write to the outbox", func(tx *transaction) error {
		_, err := tx.Exec(takeWriteLock)
		return err
	})
}
