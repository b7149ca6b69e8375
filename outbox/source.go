package outbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
)

// Source is the outbox as the publisher reads it: events in the order in which
// they were committed, and the stream sequence of each that is published. (The
// SQL columns call a stream sequence an ordinal.) Its methods may be called
// concurrently.
type Source struct{ ledger *ledger.Ledger }

// Changed returns a channel that receives when there may be an event to publish or a
// study to release. It receives at once after a commit in this process. After a commit
// of another process it receives only while Run runs. It is never closed, and several
// commits may send one value.
func (s *Source) Changed() <-chan struct{} { return s.ledger.Changed() }

const entryColumns = `e.row, coalesce(o.ordinal, 0), s.token, e.sequence, e.kind, e.id, e.subject, e.time,
	e.partitionkey, e.previoushash, e.hash, e.traceparent, e.data`

// Head returns the entry with the highest stream sequence; the zero Entry where
// no event has one.
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

// Recorded returns at most limit published events, from a stream sequence on, in the
// order of the stream.
func (s *Source) Recorded(ctx context.Context, from uint64, limit int) ([]events.Entry, error) {
	return s.entries(ctx, `
		select `+entryColumns+`
		from ordinals o
		join events e on e.row = o.event
		join studies s on s.row = e.study
		where o.ordinal >= +?
		order by o.ordinal
		limit +?`, int64(from), limit)
}

// Pending returns at most limit events that have no stream sequence yet, in commit
// order. It leaves out those of parked studies.
func (s *Source) Pending(ctx context.Context, limit int) ([]events.Entry, error) {
	return s.entries(ctx, `
		select `+entryColumns+pendingEvents+`
		order by e.row
		limit +?`, limit)
}

// pendingEvents selects pending events, as e, with their studies, as s. It starts
// after the row in relay.floor: every event up to that row has a stream sequence or
// belongs to a parked study. So events that were published after an event of a parked
// study are not read again each time.
const pendingEvents = `
		from events e
		join studies s on s.row = e.study
		left join ordinals o on o.event = e.row
		where e.row > (select floor from relay)
			and o.event is null
			and not exists (select 1 from parked p where p.study = e.study)`

// Holds reports whether the study with this key has an event with the number and
// the hash of head, published or not.
func (s *Source) Holds(ctx context.Context, key string, head events.ChainHead) (found bool, err error) {
	err = s.ledger.DB.Reader.QueryRowContext(ctx, `
		select exists (
			select 1
			from studies s
			join events e on e.study = s.row
			where s.token = ? and e.sequence = ? and e.hash = ?)`, key, int64(head.Number), head.Hash).Scan(&found)
	if err != nil {
		return false, fmt.Errorf("look up event %d of %s: %w", head.Number, key, err)
	}
	return found, nil
}

// AccessAfter returns the access events with numbers above n, in their order, published or
// not.
func (s *Source) AccessAfter(ctx context.Context, n uint64) ([]events.Entry, error) {
	return s.entries(ctx, `
		select `+entryColumns+`
		from studies s
		join events e on e.study = s.row
		left join ordinals o on o.event = e.row
		where s.study = ? and e.sequence > ?
		order by e.sequence`, events.AccessStudy, int64(n))
}

func (s *Source) entries(ctx context.Context, query string, args ...any) ([]events.Entry, error) {
	entries, err := database.List(ctx, s.ledger.DB.Reader, s.scanEntry, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	return entries, nil
}

func (s *Source) scanEntry(row database.Row) (entry events.Entry, err error) {
	var kind, at string
	e := &entry.Event
	err = row.Scan(&entry.Row, &entry.StreamSequence, &e.Study, &e.Number, &kind, &e.ID, &e.Subject, &at,
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

// Record stores the stream sequences of events that the broker has acknowledged.
// Unless the entries are the next pending ones and their stream sequences
// continue Head's without a gap, it stores nothing and returns a Conflict.
func (s *Source) Record(ctx context.Context, entries []events.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	return s.ledger.UpdateSilently(ctx, "record stream sequences", func(tx *ledger.Tx) error { return record(tx, entries) })
}

// record is Record in a transaction, which an error undoes. So it may store the stream
// sequences first and then check that no earlier event is pending.
func record(tx *ledger.Tx, entries []events.Entry) error {
	var head, pending int64
	err := tx.QueryRow(`select coalesce(max(ordinal), 0) from ordinals`).Scan(&head)
	if err != nil {
		return err
	}
	for i, e := range entries {
		if int64(e.StreamSequence) != head+1+int64(i) {
			return events.Errorf(events.Conflict, "stream sequence %d does not follow %d", e.StreamSequence, head+int64(i))
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
		return events.Errorf(events.Conflict, "%d events before row %d have no stream sequence", pending, last)
	}
	_, err = tx.Exec(`update relay set floor = ? where floor < ?`, last, last)
	return err
}

// insertOrdinals stores the stream sequences in one statement, because a statement
// costs more than a row. The error is a Conflict if one cannot be stored.
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

// unrecordable returns a Conflict that names the first entry whose stream sequence
// insertOrdinals did not store, and why.
func unrecordable(tx *ledger.Tx, entries []events.Entry) error {
	for _, e := range entries {
		var recorded uint64
		err := tx.QueryRow(`
			select coalesce(o.ordinal, 0)
			from events e
			left join ordinals o on o.event = e.row
			where e.row = +? and e.hash = +?`, e.Row, e.Event.Hash).Scan(&recorded)
		if errors.Is(err, sql.ErrNoRows) {
			return events.Errorf(events.Conflict, "the outbox has no event %s in row %d", e.Event.ID, e.Row)
		}
		if err != nil {
			return err
		}
		if recorded != e.StreamSequence { // else insertOrdinals has just stored it
			return events.Errorf(events.Conflict, "event %s has the stream sequence %d already", e.Event.ID, recorded)
		}
	}
	return fmt.Errorf("%d stream sequences were not stored", len(entries))
}
