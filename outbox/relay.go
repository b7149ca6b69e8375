package outbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jmoiron/sqlx"

	"github.com/seed-e88a4ece/signoff/events"
)

const entryColumns = `e.row, coalesce(o.ordinal, 0), s.token, e.sequence, e.kind, e.id, e.subject, e.time,
	e.partitionkey, e.previoushash, e.hash, e.traceparent, e.data`

// Head gives the entry with the highest ordinal; the zero Entry where no event
// has one.
func (o *Outbox) Head(ctx context.Context) (events.Entry, error) {
	entries, err := o.entries(ctx, `
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

// Recorded gives events with ordinals, in their order, from the ordinal on.
func (o *Outbox) Recorded(ctx context.Context, from uint64, limit int) ([]events.Entry, error) {
	return o.entries(ctx, `
		select `+entryColumns+`
		from ordinals o
		join events e on e.row = o.event
		join studies s on s.row = e.study
		where o.ordinal >= +?
		order by o.ordinal
		limit ?`, int64(from), limit)
}

// Pending gives events that have no ordinal yet, in commit order. Those of
// parked studies are passed over.
func (o *Outbox) Pending(ctx context.Context, limit int) ([]events.Entry, error) {
	return o.entries(ctx, `
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

func (o *Outbox) entries(ctx context.Context, query string, args ...any) ([]events.Entry, error) {
	rows, err := o.db.Reader.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	defer rows.Close()
	var out []events.Entry
	for rows.Next() {
		e, err := o.scanEntry(rows)
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

func (o *Outbox) scanEntry(rows *sql.Rows) (events.Entry, error) {
	var entry events.Entry
	var kind, at string
	e := &entry.Event
	err := rows.Scan(&entry.Row, &entry.Ordinal, &e.Study, &e.Sequence, &kind, &e.ID, &e.Subject, &at,
		&e.PartitionKey, &e.PreviousHash, &e.Hash, &e.TraceParent, &e.Data)
	if err != nil {
		return entry, err
	}
	e.Source = o.namespace.Source(e.Study)
	e.Type = o.namespace.Type(events.Kind(kind))
	e.DataContentType = events.Kind(kind).MediaType()
	e.Time, err = events.ParseTime(at)
	return entry, err
}

// Record stores the ordinals of events that the broker has acknowledged. It is
// a Conflict, and nothing is stored, unless the entries are the next pending
// ones and their ordinals continue Head's without a gap.
func (o *Outbox) Record(ctx context.Context, entries []events.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	// Nothing new is pending afterwards, so nobody is woken.
	err := o.db.Update(ctx, func(tx *sqlx.Tx) error { return o.work(tx).record(entries) })
	if err != nil {
		return explain("record ordinals", err)
	}
	return nil
}

func (w *work) record(entries []events.Entry) error {
	var head, pending int64
	err := w.tx.QueryRow(`select coalesce(max(ordinal), 0) from ordinals`).Scan(&head)
	if err != nil {
		return err
	}
	for i, e := range entries {
		if int64(e.Ordinal) != head+1+int64(i) {
			return events.Errorf(events.Conflict, "ordinal %d does not follow %d", e.Ordinal, head+int64(i))
		}
		if i > 0 && e.Row <= entries[i-1].Row {
			return events.Errorf(events.Conflict, "row %d was committed before row %d", e.Row, entries[i-1].Row)
		}
	}
	if err := w.insertOrdinals(entries); err != nil {
		return err
	}
	last := entries[len(entries)-1].Row
	err = w.tx.QueryRow(`
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
	_, err = w.tx.Exec(`update relay set floor = max(floor, ?)`, last)
	return err
}

// insertOrdinals stores the ordinals in one statement, for a call of the
// database costs more than a row.
func (w *work) insertOrdinals(entries []events.Entry) error {
	rows := make([][3]any, len(entries))
	for i, e := range entries {
		rows[i] = [3]any{e.Ordinal, e.Row, e.Event.Hash}
	}
	list, err := json.Marshal(rows)
	if err != nil {
		return err
	}
	result, err := w.tx.Exec(`
		insert into ordinals (ordinal, event)
		select j.value ->> 0, e.row
		from json_each(?) j
		cross join events e on e.row = j.value ->> 1
		where e.hash = j.value ->> 2
			and not exists (select 1 from ordinals o where o.event = e.row)`, string(list))
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || int(n) == len(entries) {
		return err
	}
	return w.unrecordable(entries)
}

// unrecordable says which of the entries cannot be recorded, and why. Those
// that could have just got their ordinal.
func (w *work) unrecordable(entries []events.Entry) error {
	for _, e := range entries {
		var recorded uint64
		err := w.tx.QueryRow(`
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
		if recorded != e.Ordinal {
			return events.Errorf(events.Conflict, "event %s has the ordinal %d already", e.Event.ID, recorded)
		}
	}
	return fmt.Errorf("%d ordinals were not stored", len(entries))
}
