package readmodel

import (
	"cmp"
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
	name  string // of the only or first SQL column; what it sorts by
	until string // of the end of an interval
	kind  kind
}

type kind int

const (
	text kind = iota
	identifier
	number
	interval
	instant
)

// columnOf returns the column of a Column. Only these names get into the text of a
// query.
func columnOf(c Column) (column, error) {
	switch c {
	case ColumnID:
		return column{name: "id_key", kind: identifier}, nil
	case ColumnDate:
		return column{name: "date_from", until: "date_until", kind: interval}, nil
	case ColumnIssued:
		return column{name: "issued", kind: instant}, nil
	case ColumnLastUpdated:
		return column{name: "updated", kind: instant}, nil
	case ColumnSubject:
		return column{name: "subject"}, nil
	case ColumnName:
		return column{name: "name"}, nil
	case ColumnConclusion:
		return column{name: "conclusion"}, nil
	case ColumnCase:
		return column{name: "case_id", kind: number}, nil
	default:
		return column{}, events.Errorf(events.Invalid, "reports have no column %q", c)
	}
}

// clause is a part of a query's text and the values bound to it.
type clause struct {
	text strings.Builder
	args []any
}

func (c *clause) add(text string, args ...any) {
	c.text.WriteString(text)
	c.args = append(c.args, args...)
}

// where returns the conditions of a query on a study.
func where(study int64, conditions []Condition) (*clause, error) {
	c := &clause{}
	c.add(" where study = ? and n_end is null", study)
	total := 0
	for _, condition := range conditions {
		if total += len(condition.Any); total > maxComparisons {
			return nil, events.Errorf(events.Invalid, "a search may compare with at most %d values; use fewer", maxComparisons)
		}
		if err := c.condition(condition); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *clause) condition(condition Condition) error {
	col, err := columnOf(condition.Column)
	if err != nil {
		return err
	}
	if len(condition.Any) == 0 {
		c.add(" and false")
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

func separator(i int) string {
	if i == 0 {
		return " and ("
	}
	return " or "
}

func (c *clause) comparison(col column, comparison Comparison) error {
	op := cmp.Or(comparison.Op, Eq)
	switch col.kind {
	case interval:
		return c.interval(col, op, comparison.Period)
	case instant:
		return c.instant(col, op, comparison.Period)
	default:
		value, err := col.value(comparison.Text)
		if err != nil {
			return err
		}
		return c.equal(col, op, value)
	}
}

func (c *clause) equal(col column, op Op, value any) error {
	switch op {
	case Eq:
		c.add(col.name+" = ?", value)
	case Ne:
		c.add(col.name+" <> ?", value)
	default:
		return events.Errorf(events.Invalid, "%s cannot be compared by %q", col.name, op)
	}
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

// interval compares a stored [from, until) with that of the query.
func (c *clause) interval(col column, op Op, p events.Period) error {
	from, until := boundary(p.From), boundary(p.Until)
	within := "(" + col.name + " >= ? and " + col.until + " <= ?)"
	switch op {
	case Eq:
		c.add(within, from, until)
	case Ne:
		c.add("not "+within, from, until)
	case Lt:
		c.add(col.name+" < ?", from)
	case Gt:
		c.add(col.until+" > ?", until)
	case Le:
		c.add("("+col.name+" < ? or "+within+")", from, from, until)
	case Ge:
		c.add("("+col.until+" > ? or "+within+")", until, from, until)
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
		c.add("("+col.name+" >= ? and "+col.name+" < ?)", moment(from), moment(until))
	case Ne:
		c.add("("+col.name+" < ? or "+col.name+" >= ?)", moment(from), moment(until))
	case Lt:
		c.add(col.name+" < ?", moment(from))
	case Gt:
		c.add(col.name+" >= ?", moment(until))
	case Le:
		c.add(col.name+" < ?", moment(later(from, until)))
	case Ge:
		c.add(col.name+" >= ?", moment(earlier(from, until)))
	default:
		return unknown(op)
	}
	return nil
}

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

// orderBy returns the order of a query, or its reverse; ids make it total.
func orderBy(sort []Order, reverse bool) (string, error) {
	var levels []string
	seen := make([]Column, 0, len(sort)+1)
	for _, o := range append(slices.Clone(sort), Order{Column: ColumnID}) {
		col, err := columnOf(o.Column)
		if err != nil {
			return "", err
		}
		if slices.Contains(seen, o.Column) {
			continue
		}
		seen = append(seen, o.Column)
		level := col.name
		if o.Descending != reverse {
			level += " desc"
		}
		levels = append(levels, level)
	}
	return " order by " + strings.Join(levels, ", "), nil
}
