package readmodel

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/database"
)

// Search runs a query on one state of the model, so that total and page
// agree. An unknown study has no reports. The error is Invalid for an invalid
// query, and Outdated for a study that the method Outdated returns.
func (m *Model) Search(ctx context.Context, q Query) (Page, error) {
	if q.Offset < 0 || q.Limit < 0 {
		return Page{}, events.Errorf(events.Invalid, "offset and limit of a search must not be negative")
	}
	var page Page
	err := m.snapshot(ctx, func(tx *sqlx.Tx) (err error) {
		page, err = search(ctx, tx, q)
		return err
	})
	if err != nil {
		return Page{}, fmt.Errorf("search reports: %w", err)
	}
	return page, nil
}

// search returns a page and its total. Without conditions the total is that of the study's
// row, which need not be counted.
func search(ctx context.Context, tx *sqlx.Tx, q Query) (Page, error) {
	var s study
	err := tx.QueryRowContext(ctx, `
		select study, sequence, hash, reports, unknown
		from studies
		where token = ?`, q.Study).Scan(&s.Study, &s.Number, &s.Hash, &s.Reports, &s.Unknown)
	if errors.Is(err, sql.ErrNoRows) {
		s.Study = -1 // no report has it; invalid conditions are an error all the same
	} else if err != nil {
		return Page{}, err
	}
	which, err := where(s.Study, q.Where)
	if err != nil {
		return Page{}, err
	}
	if s.Unknown != "" {
		return Page{}, outdated(q.Study, s.Unknown)
	}
	page := Page{Total: s.Reports, ChainHead: events.ChainHead{Number: s.Number, Hash: s.Hash}}
	if len(q.Where) > 0 {
		if err := tx.QueryRowContext(ctx, "select count(*) from reports"+which.text.String(), which.args...).Scan(&page.Total); err != nil {
			return Page{}, err
		}
	}
	page.Reports, err = list(ctx, tx, q, which, page.Total)
	return page, err
}

// list reads the page of the selected rows, of which there are total. The offset is
// skipped in the index, from the nearer end.
func list(ctx context.Context, tx *sqlx.Tx, q Query, which *clause, total int) ([]Report, error) {
	size := min(q.Limit, total-q.Offset)
	reverse := q.Offset > total/2
	order, err := orderBy(q.Sort, reverse)
	if err != nil || size <= 0 {
		return nil, err
	}
	offset := q.Offset
	if reverse {
		offset = total - q.Offset - size
	}
	which.add(order+" limit ? offset ?", size, offset)
	reports, numbers, err := readRows(ctx, tx, which, size)
	if err != nil {
		return nil, err
	}
	if reverse {
		slices.Reverse(reports)
		slices.Reverse(numbers)
	}
	for i := range reports {
		reports[i].Study = q.Study
	}
	return reports, readBodies(ctx, tx, numbers, reports)
}

// readRows reads all of the reports chosen but the bodies, and the rows of those.
func readRows(ctx context.Context, tx *sqlx.Tx, which *clause, size int) ([]Report, []int64, error) {
	reports := make([]Report, 0, size)
	numbers := make([]int64, 0, size)
	err := database.Each(ctx, tx, func(row database.Row) (err error) {
		r := Report{Available: true}
		var number int64
		var updated sql.RawBytes
		if err := row.Scan(&number, &r.ID, &r.Version, &updated); err != nil {
			return err
		}
		r.LastUpdated, err = time.Parse(events.TimeLayout, string(updated))
		reports, numbers = append(reports, r), append(numbers, number)
		return err
	}, "select row, id, n, updated from reports"+which.text.String(), which.args...)
	return reports, numbers, err
}

// readBodies reads the bodies of rows into the reports at the same places.
func readBodies(ctx context.Context, tx *sqlx.Tx, numbers []int64, reports []Report) error {
	place := make(map[int64]int, len(numbers))
	for i, row := range numbers {
		place[row] = i
	}
	wanted, err := json.Marshal(numbers)
	if err != nil {
		return err
	}
	var all []byte // one allocation for a page, whose bodies are alike
	return database.Each(ctx, tx, func(row database.Row) error {
		var number int64
		var body sql.RawBytes
		if err := row.Scan(&number, &body); err != nil {
			return err
		}
		if cap(all)-len(all) < len(body) {
			all = make([]byte, 0, (len(body)+512)*len(numbers))
		}
		start := len(all)
		all = append(all, body...)
		reports[place[number]].Body = all[start:len(all):len(all)]
		return nil
	}, `
		select row, body
		from bodies
		where row in (select value from json_each(?))`, string(wanted))
}

// Report returns the newest version of a report, available or not. The error is
// NotFound for an id that was never published. It is Outdated if the report is
// of a study that the method Outdated returns; the Report then has only its ID and Study.
func (m *Model) Report(ctx context.Context, id string) (Report, error) {
	r := Report{ID: id}
	var updated, unknown string
	err := m.db.Reader.QueryRowContext(ctx, `
		select s.token, s.unknown, r.n, r.updated, r.n_end is null, b.body
		from reports r
		join studies s on s.study = r.study
		join bodies b on b.row = r.row
		where r.id_key = ?
		order by r.row desc
		limit 1`, idKey(id)).Scan(&r.Study, &unknown, &r.Version, &updated, &r.Available, &r.Body)
	if errors.Is(err, sql.ErrNoRows) {
		return Report{}, &events.Error{Code: events.NotFound, Message: "There is no report of this id.", Err: err}
	}
	if unknown != "" {
		return Report{ID: id, Study: r.Study}, outdated(r.Study, unknown)
	}
	if err == nil {
		r.LastUpdated, err = events.ParseTime(updated)
	}
	if err != nil {
		return Report{}, fmt.Errorf("read report: %w", err)
	}
	return r, nil
}

// Outdated returns the studies, by study key, that have an event of a kind that only a
// newer version knows, with the type of the first one. The event may have withdrawn a
// report, so Search and Report return no data of the study. Internal studies are not
// among them; see access.Directory for those.
func (m *Model) Outdated(ctx context.Context) (map[string]string, error) {
	types := make(map[string]string)
	err := database.Each(ctx, m.db.Reader, func(row database.Row) error {
		var key, unknown string
		err := row.Scan(&key, &unknown)
		if !events.InternalStudy(key) {
			types[key] = unknown
		}
		return err
	}, `
		select token, unknown
		from studies
		where unknown <> ''`)
	if err != nil {
		return nil, fmt.Errorf("read outdated studies: %w", err)
	}
	return types, nil
}

func outdated(study, unknown string) error {
	return events.Errorf(events.Outdated, "study %s has an event of type %s, which this version does not know; run a newer version of signoff", study, unknown)
}
