package readmodel

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/jmoiron/sqlx"
)

// places returns the rows on the page of a query, and the total. A place of the results
// belongs to a row that matched at the view's study number. The row need not be
// available any more.
//
// A first page, and any page of the default order, is read by a query of its own; see
// steps. Any other page is a part of the list of all rows that match. The list is made
// once and serves all further pages, because a study at a number never changes.
func (m *Model) places(ctx context.Context, tx *sqlx.Tx, v view, q Query) (rows []int64, total int, err error) {
	where, err := conditions(q, v.Longest)
	if err != nil {
		return nil, 0, err
	}
	order, err := orderOf(q)
	if err != nil {
		return nil, 0, err
	}
	selected := v.selection(q, where, order)
	isDefault := len(q.Where)+len(q.Sort) == 0
	if q.Offset == 0 || isDefault {
		if total, err = m.count(ctx, tx, v, q, selected); err != nil {
			return nil, 0, err
		}
		size := min(q.Limit, total-q.Offset)
		if size <= 0 {
			return nil, total, nil
		}
		if isDefault && min(q.Offset, total-q.Offset-size) > m.paging.shallow {
			rows, err = m.readPage(ctx, tx, v, q, order, q.Offset, size)
		} else {
			rows, err = readPlaces(ctx, tx, selected, order, q.Offset, size, total)
		}
		return rows, total, err
	}
	key := v.listKey(selected, order.levels)
	all, ok := m.lists.get(key).(rowList)
	if !ok {
		if all, err = readList(ctx, tx, selected, order.levels); err != nil {
			return nil, 0, err
		}
		m.lists.add(key, all)
	}
	return all[min(q.Offset, len(all)):min(q.Offset+q.Limit, len(all))], len(all), nil
}

// listKey returns the key of a list, or of a total, that is made from the selected rows.
func (v view) listKey(selected *clause, of any) string {
	return fmt.Sprintf("%d %d\n%s\n%s\n%q", v.filling, v.position, selected.text.String(), of, selected.args)
}

// count returns how many rows are selected. Without conditions that is a stored total.
// Otherwise it is counted once, and kept for the walk and for equal searches.
func (m *Model) count(ctx context.Context, tx *sqlx.Tx, v view, q Query, selected *clause) (total int, err error) {
	if len(q.Where) == 0 {
		return v.total(q.Resource), nil
	}
	key := v.listKey(selected, "total")
	if known, ok := m.lists.get(key).(rowList); ok {
		return int(known[0]), nil
	}
	if t, ok := changedSince(q); ok {
		if total, ok, err = m.countSince(ctx, tx, v, t); ok || err != nil {
			return total, err
		}
	}
	err = tx.QueryRowContext(ctx, "select count(*) from ("+selected.text.String()+")", selected.args...).Scan(&total)
	if err == nil {
		m.lists.add(key, rowList{int64(total)})
	}
	return total, err
}

// changedSince returns the time from which on a query asks for reports, and whether that is
// its only condition.
func changedSince(q Query) (t time.Time, ok bool) {
	if q.Resource != Reports || len(q.Where) != 1 || q.Where[0].Column != ColumnLastUpdated || len(q.Where[0].Any) != 1 {
		return t, false
	}
	switch c := q.Where[0].Any[0]; c.Op {
	case Gt:
		return firstMoment(c.Period.Until), true
	case Ge:
		return firstMoment(earlier(c.Period.From, c.Period.Until)), true
	default:
		return t, false
	}
}

// countSince returns how many of the available reports were last updated at t or later,
// without looking at each of them. They have numbers above that of the last one before t,
// because times increase with the numbers. So they are all that are available now, without
// those that were available at that number, except that these may have ended since. It
// reports false if so many may have ended that it is faster to count what matches.
func (m *Model) countSince(ctx context.Context, tx *sqlx.Tx, v view, t time.Time) (total int, ok bool, err error) {
	if v.position < v.Number || v.derivation != derivation { // content of another derivation may not have the events
		return 0, false, nil
	}
	var found sql.NullInt64
	err = tx.QueryRowContext(ctx, `
		select iif(before.n is null, +?1, +?1 - e.reports + (
			select count(*)
			from reports
			where study = +?2 and n_end > e.n and n <= e.n))
		from (
			select (
				select n
				from reports
				where study = +?2 and n_end is null and updated < +?3
				order by updated desc
				limit 1) as n) before
		left join events e on e.study = +?2 and e.n = before.n and +?4 - e.report_events <= 2 * (+?1 - e.reports) + +?5`,
		v.Reports, v.Study, moment(t), v.ReportEvents, m.paging.shallow).Scan(&found)
	return int(found.Int64), found.Valid, err
}

// readList reads all selected rows in an order. SQLite returns them as one text, which
// costs a fraction of as many rows.
func readList(ctx context.Context, tx *sqlx.Tx, selected *clause, levels []string) ([]int64, error) {
	var count int
	var text sql.NullString // null if no row matches
	err := tx.QueryRowContext(ctx, "select count(*), group_concat(row, ',' order by "+strings.Join(levels, ", ")+
		") from ("+selected.text.String()+")", selected.args...).Scan(&count, &text)
	list := make([]int64, 0, count)
	for digits := range strings.SplitSeq(text.String, ",") {
		if err != nil || !text.Valid {
			break
		}
		var row int64
		row, err = strconv.ParseInt(digits, 10, 64)
		list = append(list, row)
	}
	return list, err
}

// readPlaces reads size of the total selected rows, from offset on. For a page in the
// second half it reads in the reverse order, so that fewer rows are skipped.
func readPlaces(ctx context.Context, tx *sqlx.Tx, selected *clause, order order, offset, size, total int) ([]int64, error) {
	levels, reverse := order.levels, offset > total/2
	if reverse {
		levels, offset = order.reverse, total-offset-size
	}
	selected.add(" order by "+strings.Join(levels, ", ")+" limit +? offset +?", size, offset)
	return readList(ctx, tx, selected, order.levels)
}

// selection returns the statement that selects the rows that match, with the columns by
// which they are sorted. At the last number these are the available versions. At an
// earlier number they are the versions that were available then. It selects those in two
// parts, each of which has an index: those that still are available, and those that have
// ended since.
func (v view) selection(q Query, where *clause, order order) *clause {
	from, row := " from reports r", "r.row"
	if q.Resource == Observations {
		from, row = fromReports, "o.row"
		if selective(q) {
			from = fromObservations
		}
	}
	head := "select " + row + " as row, " + strings.Join(order.columns, ", ") + from + " where r.study = +?"
	c := &clause{}
	c.add(head+" and r.n_end is null", v.Study)
	if v.position < v.Number {
		c.add(" and r.n <= +?", v.position)
	}
	c.add(where.text.String(), where.args...)
	if v.position < v.Number {
		c.add(" union all "+head+" and r.n_end > +? and r.n <= +?", v.Study, v.position, v.position)
		c.add(where.text.String(), where.args...)
	}
	return c
}

// The joins of Observations in the two orders in which SQLite may read them; it
// does not choose the right one by itself.
const (
	fromReports = ` from reports r
		cross join bundles u on u.study = r.study and u.id_key = r.id_key and u.n = r.n
		cross join observations o on o.row between u.row * 1024 and u.row * 1024 + 1023`
	fromObservations = ` from observations o
		cross join bundles u on u.row = o.bundle
		cross join reports r on r.study = u.study and r.id_key = u.id_key and r.n = u.n`
)

// selective reports whether a query of Observations names them by id or identifier, so
// that it is faster to begin with the Observations.
func selective(q Query) bool {
	return slices.ContainsFunc(q.Where, func(c Condition) bool {
		return (c.Column == ColumnID || c.Column == ColumnIdentifier) &&
			!slices.ContainsFunc(c.Any, func(one Comparison) bool { return one.Op == Ne })
	})
}

// lists is a cache of lists of rows and of steps; see places. It removes those that
// were used least recently.
type lists struct {
	bound int64 // of bytes

	mu    sync.Mutex
	bytes int64
	lists *simplelru.LRU[string, list]
}

// list is an element of lists, which must not be changed.
type list interface{ size() int64 } // in bytes, about

// rowList is all rows that match, or only their number.
type rowList []int64

func (r rowList) size() int64 { return int64(8 * cap(r)) }
func (s *steps) size() int64  { return s.bytes }

const maxLists = 1 << 20 // more than fit into any sensible bound

func newLists(bound int64) *lists {
	l := &lists{bound: bound}
	var err error
	if l.lists, err = simplelru.NewLRU(maxLists, func(key string, of list) { l.bytes -= listSize(key, of) }); err != nil {
		panic(err) // only for a size below 1
	}
	return l
}

// listSize returns about how many bytes of memory a list needs.
func listSize(key string, of list) int64 { return int64(256+len(key)) + of.size() }

// get returns the list with the key, or nil.
func (l *lists) get(key string) list {
	l.mu.Lock()
	defer l.mu.Unlock()
	found, _ := l.lists.Get(key)
	return found
}

// add stores a list, unless it needs more than half of all bytes.
func (l *lists) add(key string, of list) {
	size := listSize(key, of)
	if size > l.bound/2 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lists.Remove(key) // another search may have stored it
	l.lists.Add(key, of)
	for l.bytes += size; l.bytes > l.bound; {
		l.lists.RemoveOldest()
	}
}
