package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
)

// Status counts what is stored in the outbox. Its parts are read one after the other,
// so a commit in between may be in some of them only.
type Status struct {
	Assessments    int           `json:"assessments"`
	Waiting        int           `json:"waiting"`   // for their sign-off
	Available      int           `json:"available"` // reports
	WaitingStudies int           `json:"-"`         // in which at least one version waits
	Events         uint64        `json:"events"`
	StreamSequence uint64        `json:"ordinal"`                    // the highest; 0 for none
	Unpublished    uint64        `json:"unpublished"`                // events without a stream sequence, those of parked studies too
	Oldest         time.Time     `json:"oldestUnpublished,omitzero"` // the time of the oldest of them
	Parked         []ParkedStudy `json:"parked"`
	Studies        []StudyStatus `json:"studies"` // by study id, the internal ones too
}

// StudyStatus is the chain head of a study.
type StudyStatus struct {
	Study    string `json:"study"`
	StudyKey string `json:"token"` // the JSON keeps this older name of the key
	Number   uint64 `json:"sequence"`
	Hash     string `json:"hash,omitempty"`
	Time     string `json:"time,omitempty"`     // RFC 3339, UTC, six decimals
	Internal bool   `json:"internal,omitempty"` // not a clinical study: the program's own events about access
}

// ChainHead returns number and hash of the study's last event.
func (s StudyStatus) ChainHead() events.ChainHead {
	return events.ChainHead{Number: s.Number, Hash: s.Hash}
}

// Status returns the status of the outbox.
func (o *Outbox) Status(ctx context.Context) (Status, error) {
	s, err := o.backlog(ctx)
	if err != nil {
		return s, err
	}
	err = o.db.Reader.QueryRowContext(ctx, `
		select count(*), count(waiting), coalesce(sum(available), 0), count(distinct case when waiting is not null then study end)
		from assessments`).Scan(&s.Assessments, &s.Waiting, &s.Available, &s.WaitingStudies)
	if err != nil {
		return s, fmt.Errorf("count assessments: %w", err)
	}
	s.Studies, err = database.List(ctx, o.db.Reader, func(row database.Row) (s StudyStatus, err error) {
		err = row.Scan(&s.Study, &s.StudyKey, &s.Number, &s.Hash, &s.Time)
		s.Internal = events.InternalStudy(s.Study)
		return s, err
	}, `
		select study, token, sequence, hash, time
		from studies
		order by study`)
	if err != nil {
		return s, fmt.Errorf("list studies: %w", err)
	}
	s.Parked, err = o.Parked(ctx)
	return s, err
}

// backlog returns the part of the status that concerns publication. Rows and stream
// sequences have no gaps, so the highest of each is a count. Unpublished is their
// difference, and no event has to be counted.
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

// RecentEvent is an event without its body.
type RecentEvent struct {
	Time           time.Time `json:"time"`
	Study          string    `json:"study"`
	Number         uint64    `json:"number"` // study number
	Kind           string    `json:"kind"`
	ID             string    `json:"id"`
	StreamSequence uint64    `json:"streamSequence"` // 0 until the broker has stored the event
}

// maxRecent bounds what Recent returns.
const maxRecent = 1000

// Recent returns the latest events of all studies, the internal ones too, the last one
// first; at most limit, and at most 1,000.
func (o *Outbox) Recent(ctx context.Context, limit int) ([]RecentEvent, error) {
	recent, err := database.List(ctx, o.db.Reader, func(row database.Row) (e RecentEvent, err error) {
		var at string
		if err := row.Scan(&at, &e.Study, &e.Number, &e.Kind, &e.ID, &e.StreamSequence); err != nil {
			return e, err
		}
		e.Time, err = events.ParseTime(at)
		return e, err
	}, `
		select e.time, s.study, e.sequence, e.kind, e.id, coalesce(o.ordinal, 0)
		from events e
		join studies s on s.row = e.study
		left join ordinals o on o.event = e.row
		order by e.row desc
		limit +?`, min(max(limit, 0), maxRecent))
	if err != nil {
		return nil, fmt.Errorf("list recent events: %w", err)
	}
	return recent, nil
}

// ChainHead returns the chain head of a study; the zero ChainHead where it has no
// events.
func (o *Outbox) ChainHead(ctx context.Context, study string) (head events.ChainHead, err error) {
	err = o.db.Reader.QueryRowContext(ctx, `
		select sequence, hash
		from studies
		where study = ?`, ledger.NormalizeStudy(study)).Scan(&head.Number, &head.Hash)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return head, fmt.Errorf("look up study: %w", err)
	}
	return head, nil
}

// errUndo undoes the transaction of CanWrite.
var errUndo = errors.New("nothing to write")

// CanWrite returns an error unless a transaction can begin to write, as it cannot while
// another process writes. Unlike Ping it commits nothing, so those who Watch are not woken.
func (o *Outbox) CanWrite(ctx context.Context) error {
	err := o.update(ctx, "write to the outbox", func(*transaction) error { return errUndo })
	if errors.Is(err, errUndo) {
		return nil
	}
	return err
}

// Ping returns an error unless the outbox can be written: it commits a
// transaction that changes nothing, to disk.
func (o *Outbox) Ping(ctx context.Context) error {
	return o.update(ctx, "write to the outbox", func(tx *transaction) error {
		// SQLite writes no page for a row that gets the content that it has.
		for _, statement := range []string{`update relay set floor = floor + 1`, `update relay set floor = floor - 1`} {
			if _, err := tx.Exec(statement); err != nil {
				return err
			}
		}
		return nil
	})
}
