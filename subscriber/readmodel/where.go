package readmodel

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
)

// maxComparisons bounds what SQLite must compile for one query.
const maxComparisons = 500

// column is where a Column is stored and how it is compared.
type column struct {
	name  string // of the only or first SQL column, by which it is sorted
	until string // of the SQL column with the end of an interval
	kind  kind
}

type kind int

const (
	text kind = iota
	identifier
	lesion
	number
	interval
	instant
)

// columnOf returns the column of a Column. Only these names get into the text of a
// query.
func columnOf(resource Resource, c Column) (column, error) {
	of := reportColumns
	if resource == Observations {
		of = observationColumns
	}
	col, ok := of[c]
	if !ok {
		return column{}, events.Errorf(events.Invalid, "there is no column %q of what is searched", c)
	}
	return col, nil
}

var reportColumns = map[Column]column{
	ColumnID:          {name: "r.id_key", kind: identifier},
	ColumnDate:        {name: "r.date_from", until: "r.date_until", kind: interval},
	ColumnIssued:      {name: "r.issued", kind: instant},
	ColumnLastUpdated: {name: "r.updated", kind: instant},
	ColumnSubject:     {name: "r.subject"},
	ColumnName:        {name: "r.name"},
	ColumnConclusion:  {name: "r.conclusion"},
	ColumnCase:        {name: "r.case_id", kind: number},
}

var observationColumns = map[Column]column{
	ColumnID:          {name: "o.id", kind: lesion},
	ColumnIdentifier:  {name: "o.identifier"},
	ColumnDate:        reportColumns[ColumnDate],
	ColumnLastUpdated: {name: "u.updated", kind: instant},
	ColumnSubject:     reportColumns[ColumnSubject],
	ColumnCase:        reportColumns[ColumnCase],
}

// clause is a part of a query's text and the values bound to it.
type clause struct {
	text    strings.Builder
	args    []any
	longest time.Duration // of the stored intervals that it compares with
}

// add appends to the text and to the bound values.
func (c *clause) add(text string, args ...any) {
	c.text.WriteString(text)
	c.args = append(c.args, args...)
}

// conditions returns the conditions of a query, each with "and" before it. No date of the
// study is longer than so many days.
func conditions(q Query, longest int) (*clause, error) {
	c := &clause{longest: time.Duration(longest) * 24 * time.Hour}
	total := 0
	for _, condition := range q.Where {
		if total += len(condition.Any); total > maxComparisons {
			return nil, events.Errorf(events.Invalid, "a search may compare with at most %d values; use fewer", maxComparisons)
		}
		if err := c.condition(q.Resource, condition); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// condition adds a condition: its comparisons, joined by or.
func (c *clause) condition(resource Resource, condition Condition) error {
	col, err := columnOf(resource, condition.Column)
	if err != nil {
		return err
	}
	if len(condition.Any) == 0 {
		c.add(" and false") // none of no comparisons is true
		return nil
	}
	for i, comparison := range condition.Any {
		c.add(separator(i))
		if err := c.comparison(col, comparison); err != nil {
			return err
		}
	}
	c.add(")")
	return nil
}

// separator returns what stands before comparison i of a condition.
func separator(i int) string {
	if i == 0 {
		return " and ("
	}
	return " or "
}

// comparison adds one comparison with a column, as the kind of the column has it.
func (c *clause) comparison(col column, comparison Comparison) error {
	op := cmp.Or(comparison.Op, Eq)
	switch col.kind {
	case interval:
		return c.interval(col, op, comparison.Period)
	case instant:
		return c.instant(col, op, comparison.Period)
	case lesion:
		return c.lesion(op, comparison)
	default:
		value, err := col.value(comparison.Text)
		if err != nil {
			return err
		}
		return c.equal(col, op, value)
	}
}

// equal adds a comparison for a kind that can only be equal or not.
func (c *clause) equal(col column, op Op, value any) error {
	switch op {
	case Eq:
		c.add(col.name+" = +?", value)
	case Ne:
		c.add(col.name+" <> +?", value)
	default:
		return events.Errorf(events.Invalid, "%s cannot be compared by %q", col.name, op)
	}
	return nil
}

// lesion compares a text with the identifier and the id of an Observation. The index on
// ids has only those that differ from the identifier, so the condition says so. With
// Unless, it compares only the identifier, and only if the study has no Observation with
// the identifier Unless.
func (c *clause) lesion(op Op, comparison Comparison) error {
	if op != Eq {
		return events.Errorf(events.Invalid, "ids of Observations cannot be compared by %q", op)
	}
	if comparison.Unless == "" {
		c.add("(o.identifier = +? or o.id = +? and o.id <> o.identifier)", comparison.Text, comparison.Text)
		return nil
	}
	c.add(`(o.identifier = +? and not exists (
		select 1
		from observations x
		join bundles y on y.row = x.bundle
		where x.identifier = +? and y.study = u.study))`, comparison.Text, comparison.Unless)
	return nil
}

// value returns the value that is bound for a text.
func (col column) value(asked string) (any, error) {
	switch col.kind {
	case identifier:
		return idKey(asked), nil
	case number:
		n, err := strconv.ParseInt(asked, 10, 64)
		if err != nil {
			return nil, events.Errorf(events.Invalid, "%q is not a case number; use digits only", asked)
		}
		return n, nil
	default:
		return asked, nil
	}
}

// interval compares a stored [from, until) with that of the query. The index on dates
// begins with the start of the interval. So each condition also has the bounds of the
// start that follow from it, which change nothing else.
func (c *clause) interval(col column, op Op, p events.Period) error {
	from, until := boundary(p.From), boundary(p.Until)
	least := boundary(earlier(p.From, p.Until.Add(-c.longest))) // of an interval that reaches beyond the query's, or begins with it
	within := "(" + col.name + " >= +? and " + col.until + " <= +?)"
	switch op {
	case Eq:
		c.add("("+col.name+" >= +? and "+col.name+" <= +? and "+col.until+" <= +?)", from, until, until)
	case Ne:
		c.add("not "+within, from, until)
	case Lt:
		c.add(col.name+" < +?", from)
	case Gt:
		c.add("("+col.name+" >= +? and "+col.until+" > +?)", least, until)
	case Le:
		c.add("("+col.name+" <= +? and ("+col.name+" < +? or "+within+"))", until, from, from, until)
	case Ge:
		c.add("("+col.name+" >= +? and ("+col.until+" > +? or "+within+"))", least, until, from, until)
	default:
		return unknown(op)
	}
	return nil
}

// instant compares a stored instant, a point of whole microseconds, with the
// interval of the query, which may be finer. A point in [from, until) is within.
func (c *clause) instant(col column, op Op, p events.Period) error {
	from, until := firstMoment(p.From), firstMoment(p.Until)
	switch op {
	case Eq:
		c.add("("+col.name+" >= +? and "+col.name+" < +?)", moment(from), moment(until))
	case Ne:
		c.add("("+col.name+" < +? or "+col.name+" >= +?)", moment(from), moment(until))
	case Lt:
		c.add(col.name+" < +?", moment(from))
	case Gt:
		c.add(col.name+" >= +?", moment(until))
	case Le:
		c.add(col.name+" < +?", moment(later(from, until)))
	case Ge:
		c.add(col.name+" >= +?", moment(earlier(from, until)))
	default:
		return unknown(op)
	}
	return nil
}

// unknown returns the error for a comparison that dates do not have.
func unknown(op Op) error {
	return events.Errorf(events.Invalid, "dates cannot be compared by %q", op)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// order is the order of a query.
type order struct {
	columns []string // by which it sorts, for the list of selected columns
	levels  []string // the same as c0, c1 and so on, with desc where it is descending
	reverse []string // the levels in the opposite direction
}

// orderOf returns the order of a query. It ends with the ids of the reports and, for
// Observations, their rows, so that no two results are equal in it.
func orderOf(q Query) (o order, err error) {
	add := func(name string, descending bool) {
		level := fmt.Sprintf("c%d", len(o.levels))
		o.columns = append(o.columns, name+" as "+level)
		up, down := level, level+" desc"
		if descending {
			up, down = down, up
		}
		o.levels, o.reverse = append(o.levels, up), append(o.reverse, down)
	}
	var seen []Column
	for _, level := range q.Sort {
		col, err := columnOf(q.Resource, level.Column)
		if err != nil {
			return o, err
		}
		if !slices.Contains(seen, level.Column) {
			seen = append(seen, level.Column)
			add(col.name, level.Descending)
		}
	}
	if q.Resource == Observations || !slices.Contains(seen, ColumnID) {
		add(reportColumns[ColumnID].name, false)
	}
	if q.Resource == Observations {
		add("o.row", false)
	}
	return o, nil
}

// idKey returns a text that sorts like the id: ids of digits only first and by value,
// then the others by code point. Different ids have different keys. Of ids with the same
// value the shorter comes first.
func idKey(id string) string {
	if strings.Trim(id, "0123456789") != "" || id == "" {
		return "1" + id
	}
	digits := strings.TrimLeft(id, "0")
	key := fmt.Sprintf("0%02d%s", len(digits), digits)
	if zeros := len(id) - len(digits); zeros > 0 {
		key += fmt.Sprintf("/%02d", zeros)
	}
	return key
}

// lastYear is the last year of four digits. Later times, such as the end of
// the year 9999, are stored as beyond, which sorts behind all others.
const (
	lastYear = 9999
	beyond   = ":"
)

// boundary formats the start or end of a period so that texts sort like times: to
// the nanosecond, without zeros at the end.
func boundary(t time.Time) string {
	t = t.UTC()
	if t.Year() > lastYear {
		return beyond
	}
	return t.Format("2006-01-02T15:04:05.999999999")
}

// moment formats an instant of whole microseconds so that texts sort like times.
func moment(t time.Time) string {
	if t.UTC().Year() > lastYear {
		return beyond
	}
	return events.FormatTime(t)
}

// firstMoment returns the first microsecond not before t.
func firstMoment(t time.Time) time.Time {
	if cut := t.Truncate(time.Microsecond); !cut.Equal(t) {
		return cut.Add(time.Microsecond)
	}
	return t
}
