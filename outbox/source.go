package outbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
)

// Source is the outbox as the publisher reads it: events in the order in which
// they were committed, and where each stands in the stream. Its methods may be
// called concurrently.
type Source struct{ ledger *ledger.Ledger }

// Changed receives when there may be something new to publish, or a study to
// release: after a commit in this process at once, after one in another while
// Run runs. It never closes, and several commits may make one value.
func (s *Source) Changed() <-chan struct{} { return s.ledger.Changed() }

const entryColumns = `e.row, coalesce(o.ordinal, 0), s.token, e.sequence, e.kind, e.id, e.subject, e.time,
	e.partitionkey, e.previoushash, e.hash, e.traceparent, e.data`

// Head returns the entry with the highest ordinal; the zero Entry where no event
// has one.
func (s *Source) Head(ctx context.Context) (events.Entry, error) {
	entries, err := s.entries(ctx, `
		select `+entryColumns+`
		from ordinals o
		join events e on e.row = o.event
		join studies s on s.row = e.study
		order by o.ordinal desc
		limit 1`)
	if err != nil || len(entries) == 0 {
		return events.Entry{}, err
	}
	return entries[0], nil
}

// Recorded returns events with ordinals, in their order, from the ordinal on.
func (s *Source) Recorded(ctx context.Context, from uint64, limit int) ([]events.Entry, error) {
	return s.entries(ctx, `
		select `+entryColumns+`
		from ordinals o
		join events e on e.row = o.event
		join studies s on s.row = e.study
		where o.ordinal >= +?
		order by o.ordinal
		limit ?`, int64(from), limit)
}

// Pending returns events that have no ordinal yet, in commit order. Those of
// parked studies are passed over.
func (s *Source) Pending(ctx context.Context, limit int) ([]events.Entry, error) {
	return s.entries(ctx, `
		select `+entryColumns+pendingEvents+`
		order by e.row
		limit ?`, limit)
}

// pendingEvents is where pending events are found, e, with their studies, s.
const pendingEvents = `
		from events e
		join studies s on s.row = e.study
		left join ordinals o on o.event = e.row
		where e.row > (select floor from relay)
			and o.event is null
			and not exists (select 1 from parked p where p.study = e.study)`

// Holds reports whether an event is here that has this number in the study's
// chain and this hash, published or not. The study is named by its token.
func (s *Source) Holds(ctx context.Context, study string, link events.ChainHead) (held bool, err error) {
	err = s.ledger.DB.Reader.QueryRowContext(ctx, `
		select exists (
			select 1
			from studies s
			join events e on e.study = s.row
			where s.token = ? and e.sequence = ? and e.hash = ?)`, study, int64(link.Number), link.Hash).Scan(&held)
	if err != nil {
		return false, fmt.Errorf("look up event %d of %s: %w", link.Number, study, err)
	}
	return held, nil
}

// AccessAfter returns the access events behind the one with which a reader's
// chain of them ends, in their order, published or not. A reader that ends with
// an event that is not here has read another log, or this outbox is an older
// copy: then those are returned that were never published, for those it cannot
// have.
func (s *Source) AccessAfter(ctx context.Context, end events.ChainHead) ([]events.Entry, error) {
	condition := "o.event is null"
	if held, err := s.Holds(ctx, events.AccessStudy, end); err != nil {
		return nil, err
	} else if held || end.Number == 0 {
		condition = fmt.Sprint("e.sequence > ", end.Number)
	}
	return s.entries(ctx, `
		select `+entryColumns+`
		from studies s
		join events e on e.study = s.row
		left join ordinals o on o.event = e.row
		where s.study = ? and `+condition+`
		order by e.sequence`, events.AccessStudy)
}

func (s *Source) entries(ctx context.Context, query string, args ...any) ([]events.Entry, error) {
	rows, err := s.ledger.DB.Reader.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	defer rows.Close()
	var out []events.Entry
	for rows.Next() {
		e, err := s.scanEntry(rows)
		if err != nil {
			return nil, fmt.Errorf("read event: %w", err)
		}
		out = append(out, e)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	return out, nil
}

func (s *Source) scanEntry(rows *sql.Rows) (events.Entry, error) {
	var entry events.Entry
	var kind, at string
	e := &entry.Event
	err := rows.Scan(&entry.Row, &entry.StreamSequence, &e.Study, &e.Number, &kind, &e.ID, &e.Subject, &at,
		&e.PartitionKey, &e.PreviousHash, &e.Hash, &e.TraceParent, &e.Data)
	if err != nil {
		return entry, err
	}
	e.Source = s.ledger.Namespace().Source(e.Study)
	e.Type = s.ledger.Namespace().Type(events.Kind(kind))
	e.DataContentType = events.Kind(kind).MediaType()
	e.Time, err = events.ParseTime(at)
	return entry, err
}

// Record stores the ordinals of events that the broker has acknowledged. It is
// a Conflict, and nothing is stored, unless the entries are the next pending
// ones and their ordinals continue Head's without a gap.
func (s *Source) Record(ctx context.Context, entries []events.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	return s.ledger.UpdateSilently(ctx, "record stream sequences", func(tx *ledger.Tx) error { return record(tx, entries) })
}

func record(tx *ledger.Tx, entries []events.Entry) error {
	var head, pending int64
	err := tx.QueryRow(`select coalesce(max(ordinal), 0) from ordinals`).Scan(&head)
	if err != nil {
		return err
	}
	for i, e := range entries {
		if int64(e.StreamSequence) != head+1+int64(i) {
			return events.Errorf(events.Conflict, "ordinal %d does not follow %d", e.StreamSequence, head+int64(i))
		}
		if i > 0 && e.Row <= entries[i-1].Row {
			return events.Errorf(events.Conflict, "row %d was committed before row %d", e.Row, entries[i-1].Row)
		}
	}
	if err := insertOrdinals(tx, entries); err != nil {
		return err
	}
	last := entries[len(entries)-1].Row
	err = tx.QueryRow(`
		select count(*)
		from events e
		where e.row > (select floor from relay) and e.row <= ?
			and not exists (select 1 from ordinals o where o.event = e.row)
			and not exists (select 1 from parked p where p.study = e.study)`, last).Scan(&pending)
	if err != nil {
		return err
	}
	if pending != 0 {
		return events.Errorf(events.Conflict, "%d events before row %d have no ordinal", pending, last)
	}
	_, err = tx.Exec(`update relay set floor = ? where floor < ?`, last, last)
	return err
}

// insertOrdinals stores the ordinals in one statement, for a call of the
// database costs more than a row.
func insertOrdinals(tx *ledger.Tx, entries []events.Entry) error {
	rows := make([][3]any, len(entries))
	for i, e := range entries {
		rows[i] = [3]any{e.StreamSequence, e.Row, e.Event.Hash}
	}
	list, err := json.Marshal(rows)
	if err != nil {
		return err
	}
	result, err := tx.Exec(`
		insert into ordinals (ordinal, event)
		select j.ordinal, e.row
		from `+tx.Ledger.DB.JSONRows("ordinal", "event", "hash")+` j
		cross join events e
		where e.row = j.event and e.hash = j.hash
			and not exists (select 1 from ordinals o where o.event = e.row)`, string(list))
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || int(n) == len(entries) {
		return err
	}
	return unrecordable(tx, entries)
}

// unrecordable says which of the entries cannot be recorded, and why. Those
// that could have just got their ordinal.
func unrecordable(tx *ledger.Tx, entries []events.Entry) error {
	for _, e := range entries {
		var recorded uint64
		err := tx.QueryRow(`
			select coalesce(o.ordinal, 0)
			from events e
			left join ordinals o on o.event = e.row
			where e.row = +? and e.hash = +?`, e.Row, e.Event.Hash).Scan(&recorded)
		if errors.Is(err, sql.ErrNoRows) {
			return events.Errorf(events.Conflict, "the outbox holds no event %s at row %d", e.Event.ID, e.Row)
		}
		if err != nil {
			return err
		}
		if recorded != e.StreamSequence {
			return events.Errorf(events.Conflict, "event %s has the ordinal %d already", e.Event.ID, recorded)
		}
	}
	return fmt.Errorf("%d ordinals were not stored", len(entries))
}
