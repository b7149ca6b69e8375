package api

import (
	"math"
	"slices"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// The parameters that are read before the others, or differently in links.
const (
	paramStudy   = "researchstudy"
	paramPartner = "x-partnerid"
	paramFormat  = "_format"
	paramPage    = "page"
	paramCount   = "_count"
)

// parameter is a parameter of a query.
type parameter struct {
	name      string              // as in links
	single    bool                // whether a second, different value is refused
	normalize func(string) string // returns the value as in links; nil: unchanged
	parse     func(s *search, value string) error
}

// searchParameters returns the parameters of a search in the order of links. In
// a link the study comes first and the page last.
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
		{name: "_sort", single: true, parse: (*search).parseSort},
		{name: "_elements", parse: (*search).parseElements},
		{name: "_summary", single: true, parse: (*search).parseSummary},
		{name: "_total", single: true, parse: (*search).parseTotal},
		{name: paramFormat, single: true, normalize: restorePlus, parse: parsedBefore},
		{name: paramCount, single: true, parse: (*search).parseCount},
		{name: paramPartner, single: true, parse: parsedBefore},
		{name: paramPage, single: true, parse: (*search).parsePage},
		{name: paramStudy, parse: parsedBefore},
	}
}

// readParameters returns the parameters of a read by id.
func readParameters() []parameter {
	return []parameter{
		{name: "_elements", parse: (*search).parseElements},
		{name: "_summary", single: true, parse: (*search).parseViewOfOne},
		{name: paramFormat, single: true, normalize: restorePlus, parse: parsedBefore},
		{name: paramPartner, single: true, parse: parsedBefore},
	}
}

// parsedBefore does nothing, for a parameter that has been read already.
func parsedBefore(*search, string) error { return nil }

// filter returns a parameter that restricts a search to reports that match any of
// its comma-separated values. Repetitions restrict it further.
func filter(name string, column readmodel.Column, read func(string) (readmodel.Comparison, error)) parameter {
	return parameter{name: name, parse: func(s *search, value string) error {
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
	p.normalize = restorePlus
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

func (s *search) parseSort(value string) error {
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

func (s *search) parseTotal(value string) error {
	// The total is always exact; an estimate would not be cheaper.
	if !slices.Contains([]string{"none", "estimate", "accurate"}, value) {
		return events.Errorf(events.Invalid, "%q is not one of none, estimate, accurate", shorten(value))
	}
	return nil
}

func (s *search) parsePage(value string) error {
	n, ok := parseNumber(value)
	if !ok || n == 0 {
		return events.Errorf(events.Invalid, "%q is not a page number: digits, from 1 to %d", shorten(value), math.MaxInt32)
	}
	s.page = n
	return nil
}

func (s *search) parseCount(value string) error {
	n, ok := parseNumber(value)
	if !ok {
		return events.Errorf(events.Invalid, "%q is not a page size: digits, from 0 to %d", shorten(value), math.MaxInt32)
	}
	s.count = min(n, s.maxCount)
	s.totalOnly = s.totalOnly || n == 0
	return nil
}
