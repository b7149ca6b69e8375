package readmodel

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/jmoiron/sqlx"

	"github.com/seed-e88a4ece/signoff/outbox/database"
)

// paging is how many rows SQLite may skip to get to a page of the default order.
type paging struct {
	shallow int              // rows from the beginning or the end, without steps; for countSince, rows that have ended
	perStep map[Resource]int // reports from one step to the next; a report has many Observations
}

func defaultPaging() paging {
	return paging{shallow: 500, perStep: map[Resource]int{Reports: 256, Observations: 32}}
}

// steps divide the default order of a study at one of its numbers, so that any page of it
// is found by skipping few rows. A step begins with the id_key of a report and reaches to
// the next step. The first one begins with the empty key. Steps are not changed once they
// are made.
type steps struct {
	position uint64 // study number
	keys     []string
	counts   []int // of results in each step
	limit    int   // of results in a step, before steps are made anew
	bytes    int64
}

// find returns the key of the step that has the result at an offset, and how many
// results of the step stand before it.
func (s *steps) find(offset int) (key string, skipped int) {
	for i, count := range s.counts {
		if key = s.keys[i]; offset < count {
			break
		}
		if i < len(s.counts)-1 {
			offset -= count
		}
	}
	return key, offset
}

// add returns the steps at another position: with the changes, or without them if the
// sign is -1. It reports false if a step has become too large.
func (s *steps) add(position uint64, changes []change, sign int) (*steps, bool) {
	next := *s
	next.position, next.counts = position, slices.Clone(s.counts)
	for _, c := range changes {
		// The last step that does not begin behind the report.
		i := sort.Search(len(s.keys), func(i int) bool { return s.keys[i] > c.key }) - 1
		next.counts[i] += sign * c.results
	}
	return &next, slices.Max(next.counts) <= s.limit
}

// change is a report that is among the results at one study number and not at another.
// Results is how many results it is, and negative if it is not among the later ones.
type change struct {
	key     string
	results int
}

// steps returns the steps of a study's default order at the view's position. They are
// kept for the walk. Those of another position are made from the ones that were made
// last, with the events in between, unless these are so many that it is faster to read
// the order of all reports.
func (m *Model) steps(ctx context.Context, tx *sqlx.Tx, v view, of Resource) (*steps, error) {
	study := fmt.Sprintf("%d steps %d %s", v.filling, v.Study, of)
	key := fmt.Sprintf("%s %d", study, v.position)
	if found, ok := m.lists.get(key).(*steps); ok {
		return found, nil
	}
	newest, ok := m.lists.get(study).(*steps)
	// Content of another derivation may not have the events.
	if ok = ok && v.derivation == derivation && newest.position <= v.Number && int(v.Number-newest.position) <= max(16, v.Reports/8); ok {
		changes, err := v.changesSince(ctx, tx, of, newest.position)
		if err != nil {
			return nil, err
		}
		newest, ok = newest.add(v.Number, changes, 1)
	}
	if !ok {
		var err error
		if newest, err = v.readSteps(ctx, tx, of, m.paging.perStep[of]); err != nil {
			return nil, err
		}
	}
	m.lists.add(study, newest)
	if v.position == v.Number {
		return newest, nil
	}
	changes, err := v.changesSince(ctx, tx, of, v.position)
	if err != nil {
		return nil, err
	}
	found, _ := newest.add(v.position, changes, -1)
	m.lists.add(key, found)
	return found, nil
}

// readSteps reads the steps at the last number, each of size reports.
func (v view) readSteps(ctx context.Context, tx *sqlx.Tx, of Resource, size int) (*steps, error) {
	s := &steps{position: v.Number, bytes: 128}
	results := "1"
	if of == Observations {
		results = "observations"
	}
	err := database.Each(ctx, tx, func(row database.Row) error {
		var key string
		var count int
		err := row.Scan(&key, &count)
		if len(s.keys) == 0 {
			key = ""
		}
		s.keys, s.counts = append(s.keys, key), append(s.counts, count)
		s.bytes += int64(len(key)) + 24
		return err
	}, `
		select min(id_key), sum(results)
		from (
			select id_key, `+results+` as results, (row_number() over (order by id_key) - 1) / ? as step
			from reports
			where study = +? and n_end is null)
		group by step
		order by step`, size, v.Study)
	if len(s.keys) == 0 {
		s.keys, s.counts = []string{""}, []int{0}
	}
	s.limit = 4*slices.Max(s.counts) + size
	return s, err
}

// changesSince returns the reports that are available at an earlier number and not at the
// last one, and the other way round.
func (v view) changesSince(ctx context.Context, tx *sqlx.Tx, of Resource, position uint64) ([]change, error) {
	if position == v.Number {
		return nil, nil
	}
	results := "1"
	if of == Observations {
		results = "r.observations"
	}
	return database.List(ctx, tx, func(row database.Row) (c change, err error) { return c, row.Scan(&c.key, &c.results) }, `
		select r.id_key, -`+results+`
		from reports r
		where r.study = +?1 and r.n_end > +?2 and r.n <= +?2
		union all
		select r.id_key, `+results+`
		from events e
		join reports r on r.row = e.row
		where e.study = +?1 and e.n > +?2 and e.id_key is not null and r.n_end is null`, v.Study, position)
}

// readPage reads size rows of the default order, from offset on.
func (m *Model) readPage(ctx context.Context, tx *sqlx.Tx, v view, q Query, order order, offset, size int) ([]int64, error) {
	s, err := m.steps(ctx, tx, v, q.Resource)
	if err != nil {
		return nil, err
	}
	key, skipped := s.find(offset)
	from := &clause{}
	from.add(" and r.id_key >= +?", key)
	selected := v.selection(q, from, order)
	selected.add(" order by "+strings.Join(order.levels, ", ")+" limit +? offset +?", size, skipped)
	return readList(ctx, tx, selected, order.levels)
}
