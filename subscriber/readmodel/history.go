package readmodel

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sort"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/database"
)

// HistoryQuery asks for events of one study by their numbers.
type HistoryQuery struct {
	Study         string // study key
	ReportsOnly   bool   // events about reports only
	Report        string // events about the report with this id only; empty for all
	SinceNumber   uint64 // events after this number
	Since         time.Time
	AsOf          *uint64 // events up to this number; nil for all
	Ascending     bool    // else the newest come first
	Offset, Limit int     // Limit 0: the total only
}

// History is the result of a HistoryQuery.
type History struct {
	Total     int              // on all pages
	ChainHead events.ChainHead // of the study in the state that was read
	Position  uint64           // number of the last event that the query may return: AsOf or the last one
	Entries   []Entry
}

// Entry is an event of a study. Its Data is there only while it is available. Observations
// are available until the version of their report ends. So they are also available before
// the event of their report is applied, which is the next one: who reads the history now
// does not read these Observations again.
type Entry struct {
	events.Event
	DataDigest string // SHA-256 of the event's body, in lower-case hex
	Available  bool
	Withdrawn  []byte // the body of a withdrawal: the withdrawn report
}

// History returns events of a study. The error is NotYet if the study does not have the
// number SinceNumber or AsOf yet; else as in Search.
func (m *Model) History(ctx context.Context, q HistoryQuery) (h History, err error) {
	err = m.snapshot(ctx, func(tx *sqlx.Tx) error {
		v, err := readView(ctx, tx, q.Study, q.AsOf)
		if err == nil {
			err = v.checkDerivation()
		}
		if err != nil {
			return err
		}
		if q.SinceNumber > v.Number {
			return notYet(q.Study, q.SinceNumber, v.Number)
		}
		h = History{ChainHead: events.ChainHead{Number: v.Number, Hash: v.Hash}, Position: v.position}
		after := q.SinceNumber
		if !q.Since.IsZero() {
			n, err := v.numberBefore(ctx, tx, q.Since)
			if err != nil {
				return err
			}
			after = max(after, n)
		}
		return h.read(ctx, tx, v, q, min(after, v.position))
	})
	if err != nil {
		return History{}, fmt.Errorf("read history: %w", err)
	}
	return h, nil
}

// numberBefore returns the number of the last event before an instant, 0 if there is
// none. It searches binarily, because times increase with the numbers.
func (v view) numberBefore(ctx context.Context, tx *sqlx.Tx, t time.Time) (uint64, error) {
	var failed error
	at := moment(firstMoment(t))
	n := sort.Search(int(v.Number), func(i int) bool {
		var later bool
		err := tx.QueryRowContext(ctx, `
			select time >= +?
			from events
			where study = +? and n = +?`, at, v.Study, i+1).Scan(&later)
		failed = errors.Join(failed, err)
		return later
	})
	return uint64(n), failed
}

// read reads the total and the page of events with numbers above after. Events of a
// study are selected by their numbers. Events about reports are selected by
// report_events, which counts them: 1, 2, 3 … within the study. So no rows are skipped,
// and each page costs the same. Only the events of one report are selected by limit and
// offset, in an index that has nothing but their numbers.
func (h *History) read(ctx context.Context, tx *sqlx.Tx, v view, q HistoryQuery, after uint64) error {
	from, upto := after, v.position // in numbers, or with ReportsOnly in report_events
	c, direction := &clause{}, ""
	if !q.Ascending {
		direction = " desc"
	}
	switch {
	case q.Report != "":
		err := tx.QueryRowContext(ctx, `
			select count(*)
			from events
			where id_key = +? and study = +? and n > +? and n <= +?`, idKey(q.Report), v.Study, after, v.position).Scan(&h.Total)
		if err != nil {
			return err
		}
		c.add(`where e.study = +? and e.n in (
			select n
			from events
			where id_key = +? and study = +? and n > +? and n <= +?
			order by n`+direction+`
			limit +? offset +?)`, v.Study, idKey(q.Report), v.Study, after, v.position, q.Limit, q.Offset)
	case q.ReportsOnly:
		var err error
		if from, err = v.reportEvents(ctx, tx, after); err == nil {
			upto, err = v.reportEvents(ctx, tx, v.position)
		}
		if err != nil {
			return err
		}
		fallthrough
	default:
		h.Total = int(upto - from)
		if q.Offset >= h.Total {
			return nil
		}
		first := from + uint64(q.Offset) + 1
		last := min(first+uint64(q.Limit)-1, upto)
		if !q.Ascending {
			last = upto - uint64(q.Offset)
			first = max(last+1-min(uint64(q.Limit), last), from+1)
		}
		if q.ReportsOnly {
			c.add("where e.study = +? and e.id_key is not null and e.report_events between +? and +?", v.Study, first, last)
		} else {
			c.add("where e.study = +? and e.n between +? and +?", v.Study, first, last)
		}
	}
	if q.Limit == 0 {
		return nil
	}
	c.add(" order by e.n" + direction)
	return h.readEntries(ctx, tx, v, c)
}

// reportEvents returns how many events up to number n are about reports.
func (v view) reportEvents(ctx context.Context, tx *sqlx.Tx, n uint64) (count uint64, err error) {
	err = tx.QueryRowContext(ctx, `
		select report_events
		from events
		where study = +? and n = +?`, v.Study, n).Scan(&count)
	if errors.Is(err, sql.ErrNoRows) { // before the first event
		return 0, nil
	}
	return count, err
}

// readEntries reads the events that the clause selects and orders, and their bodies. The
// previous hash of an event is the hash of the one before it.
func (h *History) readEntries(ctx context.Context, tx *sqlx.Tx, v view, which *clause) error {
	var sources []source
	err := database.Each(ctx, tx, func(row database.Row) error {
		e := Entry{Event: events.Event{Study: v.Key}}
		var t string
		var from source
		err := row.Scan(&e.Number, &e.ID, &e.Source, &e.Type, &e.Subject, &t, &e.DataContentType, &e.PartitionKey, &e.DataDigest, &e.Hash,
			&e.PreviousHash, &from.row, &from.report, &e.Available)
		if err != nil {
			return err
		}
		e.Time, err = events.ParseTime(t)
		h.Entries, sources = append(h.Entries, e), append(sources, from)
		return err
	}, `
		select e.n, e.id, e.source, e.type, e.subject, e.time, e.content_type, e.partition_key, e.digest, e.hash,
			coalesce(p.hash, ?), coalesce(e.row, 0), e.id_key is not null,
			case when e.id_key is not null
				then exists (select 1 from reports r where r.row = e.row and r.n_end is null)
				else exists (
					select 1
					from bundles u
					left join reports r on r.id_key = u.id_key and r.study = u.study and r.n = u.n
					where u.row = e.row and r.n_end is null)
			end
		from events e
		left join events p on p.study = e.study and p.n = e.n - 1
		`+which.text.String(), append([]any{events.NoHash}, which.args...)...)
	if err != nil {
		return err
	}
	return h.addBodies(ctx, tx, sources)
}

// source is where the body of an event is stored.
type source struct {
	row    int64
	report bool // in the table bodies, else in bundles
}

// addBodies adds the bodies that are available to the entries, and those of withdrawals
// as Withdrawn. Sources has one element for each entry.
func (h *History) addBodies(ctx context.Context, tx *sqlx.Tx, sources []source) error {
	wanted := map[bool][]int64{} // rows, by source.report
	for i, from := range sources {
		if e := h.Entries[i]; e.Available || e.Kind() == events.ReportWithdrawn {
			wanted[from.report] = append(wanted[from.report], from.row)
		}
	}
	reports, err := readBodies(ctx, tx, "bodies", wanted[true])
	if err != nil {
		return err
	}
	bundles, err := readBodies(ctx, tx, "bundles", wanted[false])
	if err != nil {
		return err
	}
	for i, from := range sources {
		e := &h.Entries[i]
		switch {
		case e.Kind() == events.ReportWithdrawn:
			e.Withdrawn = reports[from.row]
		case e.Available && from.report:
			e.Data = reports[from.row]
		case e.Available:
			e.Data = bundles[from.row]
		}
	}
	return nil
}

// CheckPosition returns an error unless a study may be shown as it was at number n:
// NotYet if n is not applied yet, and Gone if the event after it is older than
// the oldest time. The last number is never too old.
func (m *Model) CheckPosition(ctx context.Context, studyKey string, n uint64, oldest time.Time) error {
	err := m.snapshot(ctx, func(tx *sqlx.Tx) error {
		v, err := readView(ctx, tx, studyKey, &n)
		if err != nil || n == v.Number {
			return err
		}
		var next string
		err = tx.QueryRowContext(ctx, `
			select time
			from events
			where study = +? and n = +?`, v.Study, n+1).Scan(&next)
		if err == nil && next < events.FormatTime(oldest) {
			err = events.Errorf(events.Gone, "Position %d of the study has expired; begin again with the first page, without asof.", n)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("check position: %w", err)
	}
	return nil
}
