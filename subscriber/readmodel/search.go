package readmodel

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/database"
)

// Search runs a query on one state of the model, so that total and page
// agree. An unknown study has no reports. The error is Invalid for an invalid
// query, Outdated for a study that Outdated returns, NotYet for a study number that is not
// applied yet, and Unavailable for a query that the content of another
// derivation cannot answer.
func (m *Model) Search(ctx context.Context, q Query) (Page, error) {
	if q.Offset < 0 || q.Limit < 0 {
		return Page{}, events.Errorf(events.Invalid, "offset and limit of a search must not be negative")
	}
	var page Page
	err := m.snapshot(ctx, func(tx *sqlx.Tx) (err error) {
		page, err = m.search(ctx, tx, q)
		return err
	})
	if err != nil {
		return Page{}, fmt.Errorf("search: %w", err)
	}
	return page, nil
}

// search is Search in a transaction. An invalid query of an outdated study is Invalid.
func (m *Model) search(ctx context.Context, tx *sqlx.Tx, q Query) (Page, error) {
	v, err := readView(ctx, tx, q.Study, q.AsOf)
	if err == nil && (q.Include || q.Resource != Reports) {
		err = v.checkDerivation()
	}
	if err != nil {
		if events.CodeOf(err) == events.Outdated {
			if _, invalid := conditions(q, 0); invalid != nil {
				return Page{}, invalid
			}
		}
		return Page{}, err
	}
	rows, total, err := m.places(ctx, tx, v, q)
	if err != nil {
		return Page{}, err
	}
	page := Page{Total: total, ChainHead: events.ChainHead{Number: v.Number, Hash: v.Hash}, Position: v.position}
	if len(rows) == 0 {
		return page, nil
	}
	if q.Resource == Observations {
		page.Observations, err = v.readObservations(ctx, tx, "o.row in (select value from json_each(+?))", rows)
		return page, err
	}
	if q.Join != nil && !q.Include && q.Limit <= MaxJoined {
		page.Joined, err = v.readJoined(ctx, tx, rows, q.Join)
		return page, err
	}
	if page.Reports, err = v.readReports(ctx, tx, rows); err == nil && q.Include {
		page.Observations, err = v.readObservations(ctx, tx, "r.row in (select value from json_each(+?))", rows)
	}
	return page, err
}

// view is a study at one of its numbers.
type view struct {
	study             // its row, after the last event
	position   uint64 // the number at which it is shown
	derivation int
	filling    int64

	reports, observations int // that were available at the position
}

// readView returns the view of a study at a number, or at its last one. A study
// without events has the row -1, so that queries find nothing.
func readView(ctx context.Context, tx *sqlx.Tx, key string, asOf *uint64) (v view, err error) {
	err = tx.QueryRowContext(ctx, `
		select d.number, d.filling, coalesce(s.study, -1), coalesce(s.sequence, 0), coalesce(s.hash, ''), coalesce(s.reports, 0),
			coalesce(s.unknown, ''), coalesce(s.observations, 0), coalesce(s.report_events, 0), coalesce(s.longest, 0)
		from derivation d
		left join studies s on s.token = +?`, key).
		Scan(&v.derivation, &v.filling, &v.Study, &v.Number, &v.Hash, &v.Reports, &v.Unknown, &v.study.Observations, &v.ReportEvents, &v.Longest)
	if err != nil {
		return v, err
	}
	v.Key = key
	if v.Unknown != "" {
		return v, outdated(key, v.Unknown)
	}
	v.position, v.reports, v.observations = v.Number, v.Reports, v.study.Observations
	if asOf == nil || *asOf == v.Number {
		return v, nil
	}
	if err := v.checkDerivation(); err != nil { // an earlier number needs the table events
		return v, err
	}
	if *asOf > v.Number {
		return v, notYet(key, *asOf, v.Number)
	}
	if v.position = *asOf; v.position == 0 {
		v.reports, v.observations = 0, 0
		return v, nil
	}
	err = tx.QueryRowContext(ctx, `
		select reports, observations
		from events
		where study = +? and n = +?`, v.Study, v.position).Scan(&v.reports, &v.observations)
	return v, err
}

// total returns how many reports or Observations were available at the position.
func (v view) total(r Resource) int {
	if r == Observations {
		return v.observations
	}
	return v.reports
}

// notYet returns the error for a study number that is not applied yet.
func notYet(key string, wanted, last uint64) error {
	return &events.Error{
		Code: events.NotYet, RetryAfter: time.Second,
		Message: fmt.Sprintf("Number %d of study %s is not here yet; the last one is %d.", wanted, key, last),
	}
}

// readReports reads those reports of the rows that are still available, in the order of
// the rows.
func (v view) readReports(ctx context.Context, tx *sqlx.Tx, rows []int64) (list []Report, err error) {
	for some := range slices.Chunk(rows, MaxJoined) {
		reports, err := v.readSome(ctx, tx, some)
		if err != nil {
			return nil, err
		}
		list = append(list, reports...)
	}
	return list, nil
}

// readSome is readReports for at most MaxJoined rows. SQLite concatenates the values of
// all of them, because that costs a fraction of as many rows.
func (v view) readSome(ctx context.Context, tx *sqlx.Tx, rows []int64) ([]Report, error) {
	var columns [5]sql.NullString // null if no report is left
	var bodies uncopied
	err := tx.QueryRowContext(ctx, `
		select group_concat(w.key), group_concat(r.id), group_concat(r.n), group_concat(r.updated),
			group_concat(length(b.body)), cast(group_concat(b.body, '') as blob)
		from json_each(+?) w
		cross join reports r on r.row = w.value
		cross join bodies b on b.row = r.row
		where r.n_end is null`, jsonArray(rows)).Scan(&columns[0], &columns[1], &columns[2], &columns[3], &columns[4], &bodies)
	list := make([]Report, len(rows)) // by the key, which is the index in rows
	for err == nil && columns[0].String != "" {
		var values [len(columns)]string
		for i := range columns {
			values[i], columns[i].String, _ = strings.Cut(columns[i].String, ",")
		}
		r := Report{Study: v.Key, Available: true, ID: values[1]}
		key, keyErr := strconv.Atoi(values[0])
		length, lengthErr := strconv.Atoi(values[4])
		var versionErr, timeErr error
		r.Version, versionErr = strconv.ParseUint(values[2], 10, 64)
		r.LastUpdated, timeErr = time.Parse(events.TimeLayout, values[3])
		if err = cmp.Or(keyErr, lengthErr, versionErr, timeErr); err == nil {
			r.Body, bodies = bodies[:length:length], bodies[length:]
			list[key] = r
		}
	}
	return slices.DeleteFunc(list, func(r Report) bool { return r.ID == "" }), err
}

// readJoined reads the reports that readReports returns, for at most MaxJoined rows, as one
// text. SQLite concatenates all of it, so that the text is copied only once. There is no
// row 0: at both ends of the list it stands for an empty body, so that the first report
// has a separator, too, and the last one has End behind it.
func (v view) readJoined(ctx context.Context, tx *sqlx.Tx, rows []int64, j *Join) ([]byte, error) {
	var count int
	var text uncopied
	list := slices.Concat([]int64{0}, rows, []int64{0})
	err := tx.QueryRowContext(ctx, `
		select count(r.row), cast(group_concat(coalesce(b.body, ''), iif(r.row is null, +?, +? || r.id || +?)) as blob)
		from json_each(+?) w
		left join reports r on r.row = w.value
		left join bodies b on b.row = r.row
		where r.row is null or r.n_end is null`, j.End, j.Separator+j.Before, j.Between, jsonArray(list)).Scan(&count, &text)
	if err != nil || count == 0 {
		return nil, err
	}
	return text[len(j.Separator):], nil
}

// uncopied is a blob that is scanned without another copy of it. The driver makes one
// for each row. Its memory is valid until the next call of Scan, so uncopied must only be
// used for a single row.
type uncopied []byte

// Scan implements sql.Scanner.
func (u *uncopied) Scan(value any) error {
	var ok bool
	if *u, ok = value.([]byte); !ok && value != nil {
		return fmt.Errorf("the column is of type %T, not a blob", value)
	}
	return nil
}

// jsonArray returns the numbers as a JSON array, for json_each.
func jsonArray(numbers []int64) string {
	text := append(make([]byte, 0, 8*len(numbers)+2), '[')
	for i, n := range numbers {
		if i > 0 {
			text = append(text, ',')
		}
		text = strconv.AppendInt(text, n, 10)
	}
	return string(append(text, ']'))
}

// readObservations reads the Observations that a condition on rows selects and that
// are still available, in the order of the rows and then of the lesions. The condition
// compares either o.row, and rows are those of Observations, or r.row, and rows are those
// of reports.
func (v view) readObservations(ctx context.Context, tx *sqlx.Tx, condition string, rows []int64) ([]Observation, error) {
	from := fromReports
	if condition[0] == 'o' {
		from = fromObservations
	}
	type place struct {
		bundle        int64
		start, length int
	}
	byRow := make(map[int64][]int, len(rows)) // indexes in all, by the kind of row in rows
	var all []Observation
	var places []place
	var bundles []int64
	err := database.Each(ctx, tx, func(row database.Row) error {
		o := Observation{Study: v.Key, Available: true}
		var report, number int64
		var updated string
		var p place
		if err := row.Scan(&report, &number, &o.ID, &o.Identifier, &o.Version, &updated, &p.bundle, &p.start, &p.length); err != nil {
			return err
		}
		var err error
		o.LastUpdated, err = events.ParseTime(updated)
		if len(bundles) == 0 || bundles[len(bundles)-1] != p.bundle {
			bundles = append(bundles, p.bundle)
		}
		if from == fromReports {
			number = report
		}
		byRow[number] = append(byRow[number], len(all))
		all, places = append(all, o), append(places, p)
		return err
	}, `
		select r.row, o.row, o.id, o.identifier, u.version, u.updated, u.row, o.start, o.length`+from+`
		where `+condition+` and r.n_end is null
		order by o.row`, jsonArray(rows))
	if err != nil {
		return nil, err
	}
	bodies, err := readBodies(ctx, tx, "bundles", bundles)
	if err != nil {
		return nil, err
	}
	list := make([]Observation, 0, len(all))
	for _, row := range rows {
		for _, i := range byRow[row] {
			p := places[i]
			all[i].Body = bodies[p.bundle][p.start : p.start+p.length : p.start+p.length]
			list = append(list, all[i])
		}
	}
	return list, nil
}

// readBodies reads the bodies of rows of bodies or bundles.
func readBodies(ctx context.Context, tx *sqlx.Tx, table string, rows []int64) (map[int64][]byte, error) {
	bodies := make(map[int64][]byte, len(rows))
	err := database.Each(ctx, tx, func(row database.Row) error {
		var number int64
		var body []byte
		err := row.Scan(&number, &body)
		bodies[number] = body
		return err
	}, `
		select row, body
		from `+table+`
		where row in (select value from json_each(+?))`, jsonArray(rows))
	return bodies, err
}

// Report returns the newest version of a report, available or not. The error is
// NotFound for an id that was never published. It is Outdated if the report is
// of a study that Outdated returns; the Report then has only its ID and Study.
func (m *Model) Report(ctx context.Context, id string) (Report, error) {
	return readReport(ctx, m.db.Reader, id, `
		select s.token, s.unknown, s.sequence, s.hash, r.n, r.updated, r.n_end is null, b.body
		from reports r
		join studies s on s.study = r.study
		join bodies b on b.row = r.row
		where r.id_key = +?
		order by r.row desc
		limit 1`, idKey(id))
}

// Version returns the version of a report that event n of its study carries. If the
// event supersedes the report, it carries none: then the Report is not Available and has
// no Body. The errors are those of Report. The error is NotFound also if event n is not
// about the report, and Unavailable while content of another derivation is served.
func (m *Model) Version(ctx context.Context, id string, n uint64) (Report, error) {
	var r Report
	err := m.snapshot(ctx, func(tx *sqlx.Tx) (err error) {
		if err = checkDerivation(tx); err != nil { // another derivation may not have all events
			return err
		}
		r, err = readReport(ctx, tx, id, `
		select s.token, s.unknown, s.sequence, s.hash, e.n, e.time, r.row is not null and r.n_end is null, coalesce(b.body, x'')
		from events e
		join studies s on s.study = e.study
		left join reports r on r.row = e.row
		left join bodies b on b.row = e.row
		where e.id_key = +? and e.n = +?`, idKey(id), n)
		return err
	})
	return r, err
}

// readReport returns the report that a query selects; see Report and Version.
func readReport(ctx context.Context, q interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}, id, query string, args ...any) (Report, error) {
	r := Report{ID: id}
	var updated, unknown string
	err := q.QueryRowContext(ctx, query, args...).
		Scan(&r.Study, &unknown, &r.StudyHead.Number, &r.StudyHead.Hash, &r.Version, &updated, &r.Available, &r.Body)
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

// Observations returns the versions of the Observation with an id, of any study:
// the available ones first, then the newest. There may be none.
// Those of a study that Outdated returns have only ID, Identifier and Study.
func (m *Model) Observations(ctx context.Context, id string) (list []Observation, err error) {
	err = m.snapshot(ctx, func(tx *sqlx.Tx) error {
		if err := checkDerivation(tx); err != nil {
			return err
		}
		return database.Each(ctx, tx, func(row database.Row) error {
			var o Observation
			var unknown, updated string
			err := row.Scan(&o.Study, &unknown, &o.StudyHead.Number, &o.StudyHead.Hash, &o.ID, &o.Identifier, &o.Version, &updated, &o.Available, &o.Body)
			if err != nil {
				return err
			}
			o.LastUpdated, err = events.ParseTime(updated)
			if unknown != "" {
				o = Observation{ID: o.ID, Identifier: o.Identifier, Study: o.Study}
			}
			if o.ID == id { // not only its identifier
				list = append(list, o)
			}
			return err
		}, `
			select s.token, s.unknown, s.sequence, s.hash, o.id, o.identifier, u.version, u.updated, r.n_end is null, substr(u.body, o.start + 1, o.length)`+
			fromObservations+`
			join studies s on s.study = u.study
			where o.identifier = +?1 or o.id = +?1 and o.id <> o.identifier
			order by r.n_end is null desc, o.row desc`, id)
	})
	if err != nil {
		return nil, fmt.Errorf("read Observation: %w", err)
	}
	return list, nil
}
