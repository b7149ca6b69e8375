package api

import (
	"math"
	"slices"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// The parameters that are looked at before the others.
const (
	paramStudy   = "researchstudy"
	paramPartner = "x-partnerid"
	paramFormat  = "_format"
	paramPage    = "page"
	paramCount   = "_count"
)

// parameter is something a query may ask for.
type parameter struct {
	name   string              // as links spell it
	single bool                // a second, different value is refused
	clean  func(string) string // the value as links repeat it; nil: as it came
	take   func(s *search, value string) error
}

// searchParameters are those of a search, in the order of links. The study
// stands before them in a link and the page after them.
func searchParameters() []parameter {
	return []parameter{
		filter("_id", readmodel.ColumnID, idValue),
		filter("id", readmodel.ColumnID, idValue),
		dateFilter("date", readmodel.ColumnDate, dateValue),
		dateFilter("issued", readmodel.ColumnIssued, dateValue),
		dateFilter("_lastUpdated", readmodel.ColumnLastUpdated, dateValue),
		dateFilter("_since", readmodel.ColumnLastUpdated, sinceValue),
		filter("subject", readmodel.ColumnSubject, subjectValue),
		filter("patient", readmodel.ColumnSubject, subjectValue),
		filter("conclusion", readmodel.ColumnConclusion, textValue),
		filter("caseid", readmodel.ColumnCase, caseValue),
		filter("name", readmodel.ColumnName, textValue),
		{name: "_sort", single: true, take: (*search).takeSort},
		{name: "_elements", take: (*search).takeElements},
		{name: "_summary", single: true, take: (*search).takeSummary},
		{name: "_total", single: true, take: (*search).takeTotal},
		{name: paramFormat, single: true, clean: restorePlus, take: takenBefore},
		{name: paramCount, single: true, take: (*search).takeCount},
		{name: paramPartner, single: true, take: takenBefore},
		{name: paramPage, single: true, take: (*search).takePage},
		{name: paramStudy, take: takenBefore},
	}
}

// readParameters are those of a read by id.
func readParameters() []parameter {
	return []parameter{
		{name: "_elements", take: (*search).takeElements},
		{name: "_summary", single: true, take: (*search).takeViewOfOne},
		{name: paramFormat, single: true, clean: restorePlus, take: takenBefore},
		{name: paramPartner, single: true, take: takenBefore},
	}
}

// takenBefore is for a parameter that was looked at before the table is.
func takenBefore(*search, string) error { return nil }

// filter is a parameter that narrows a search: any of its comma-separated
// values, and all of its repetitions.
func filter(name string, column readmodel.Column, read func(string) (readmodel.Comparison, error)) parameter {
	return parameter{name: name, take: func(s *search, value string) error {
		texts, err := splitValue(value)
		if err != nil {
			return err
		}
		condition := readmodel.Condition{Column: column}
		for _, text := range texts {
			if text == "" {
				return events.Errorf(events.Invalid, "has an empty value")
			}
			c, err := read(text)
			if err != nil {
				return err
			}
			condition.Any = append(condition.Any, c)
		}
		s.values += len(condition.Any)
		s.query.Where = append(s.query.Where, condition)
		return nil
	}}
}

func dateFilter(name string, column readmodel.Column, read func(string) (readmodel.Comparison, error)) parameter {
	p := filter(name, column, read)
	p.clean = restorePlus
	return p
}

var sortColumns = map[string]readmodel.Column{
	"_id":          readmodel.ColumnID,
	"date":         readmodel.ColumnDate,
	"issued":       readmodel.ColumnIssued,
	"subject":      readmodel.ColumnSubject,
	"_lastupdated": readmodel.ColumnLastUpdated,
	"name":         readmodel.ColumnName,
	"conclusion":   readmodel.ColumnConclusion,
	"caseid":       readmodel.ColumnCase,
}

func (s *search) takeSort(value string) error {
	for key := range strings.SplitSeq(value, ",") {
		name, descending := strings.CutPrefix(key, "-")
		column, ok := sortColumns[strings.ToLower(name)]
		if !ok {
			return events.Errorf(events.Invalid,
				"%q is not one of _id, date, issued, subject, _lastUpdated, name, conclusion, caseid, with - before it for descending", shorten(key))
		}
		if slices.ContainsFunc(s.query.Sort, func(o readmodel.Order) bool { return o.Column == column }) {
			return events.Errorf(events.Invalid, "names %s twice", shorten(name))
		}
		s.query.Sort = append(s.query.Sort, readmodel.Order{Column: column, Descending: descending})
	}
	return nil
}

func (s *search) takeTotal(value string) error {
	// Whatever is asked for, the total is exact: it costs nothing more here.
	if !slices.Contains([]string{"none", "estimate", "accurate"}, value) {
		return events.Errorf(events.Invalid, "%q is not one of none, estimate, accurate", shorten(value))
	}
	return nil
}

func (s *search) takePage(value string) error {
	n, ok := parseNumber(value)
	if !ok || n == 0 {
		return events.Errorf(events.Invalid, "%q is not a page number: digits, from 1 to %d", shorten(value), math.MaxInt32)
	}
	s.page = n
	return nil
}

func (s *search) takeCount(value string) error {
	n, ok := parseNumber(value)
	if !ok {
		return events.Errorf(events.Invalid, "%q is not a page size: digits, from 0 to %d", shorten(value), math.MaxInt32)
	}
	s.count = min(n, s.maxCount)
	s.totalOnly = s.totalOnly || n == 0
	return nil
}
