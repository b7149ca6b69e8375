package api

import (
	"math"
	"slices"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
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

// headerPartner is the header in place of paramPartner.
const headerPartner = "X-Partnerid"

// parameter is a parameter of a query.
type parameter struct {
	name      string              // as in links
	key       string              // the name in lower case, as pairs have it
	kind      string              // type of the search parameter in the CapabilityStatement
	text      string              // what it means, for the CapabilityStatement
	single    bool                // whether a second, different value is refused
	normalize func(string) string // returns the value as in links; nil: unchanged
	parse     func(s *search, value string) error
}

// The types of FHIR search parameters.
const (
	kindToken     = "token"
	kindDate      = "date"
	kindReference = "reference"
	kindSpecial   = "special"
)

// searchParameters returns the parameters of a search in the order of links. In
// a link the study comes first and the page last.
func searchParameters() []parameter {
	return withKeys([]parameter{
		filter("_id", kindToken, readmodel.ColumnID, idValue, "id of the report, which is the id of the assessment"),
		filter("id", kindToken, readmodel.ColumnID, idValue, "another name of _id"),
		tokenFilter("identifier", fhir.SystemAssessment, identifierMatch, "identifier of the assessment: value, system|value or system|"),
		tokenFilter("status", statusSystem, statusMatch, "final; reports with another status are not available"),
		dateFilter("date", readmodel.ColumnDate, dateValue, "effectiveDateTime; prefixes eq, ne, lt, gt, ge, le; also MM/DD/YYYY and MM/YYYY"),
		dateFilter("issued", readmodel.ColumnIssued, dateValue, "moment of the sign-off"),
		dateFilter("_lastUpdated", readmodel.ColumnLastUpdated, dateValue, "meta.lastUpdated, which increases with each event of the study"),
		dateFilter("_since", readmodel.ColumnLastUpdated, sinceValue, "the same as _lastUpdated=ge"),
		filter("subject", kindReference, readmodel.ColumnSubject, subjectValue, "subject, as Patient/10081007 or 10081007"),
		filter("patient", kindReference, readmodel.ColumnSubject, subjectValue, "another name of subject"),
		filter("conclusion", kindToken, readmodel.ColumnConclusion, textValue, "response class, exact match"),
		filter("caseid", kindToken, readmodel.ColumnCase, caseValue, "case number"),
		filter("name", kindToken, readmodel.ColumnName, textValue, "name of the assessment, exact match, such as Baseline or Follow-up 2"),
		{name: "_sort", kind: kindSpecial, text: sortText, single: true, parse: (*search).parseSort},
		{name: "_elements", kind: kindSpecial, text: "elements of the reports, separated by commas", parse: (*search).parseElements},
		{name: "_summary", kind: kindSpecial, text: "true, text, data, count or false", single: true, parse: (*search).parseSummary},
		{name: "_total", kind: kindSpecial, text: "none, estimate or accurate; the total is always exact", single: true, parse: (*search).parseTotal},
		{name: paramFormat, single: true, normalize: rest.FormatValue, parse: parsedBefore},
		{name: paramCount, kind: kindSpecial, text: "reports on a page; 0 for the total only", single: true, parse: (*search).parseCount},
		{name: paramPartner, single: true, parse: parsedBefore},
		{name: paramPage, kind: kindSpecial, text: "number of the page, from 1", single: true, parse: (*search).parsePage},
		{name: paramStudy, kind: kindToken, text: "study number, exact match; required", parse: parsedBefore},
	})
}

// readParameters returns the parameters of a read by id.
func readParameters() []parameter {
	return withKeys([]parameter{
		{name: "_elements", parse: (*search).parseElements},
		{name: "_summary", single: true, parse: (*search).parseViewOfOne},
		{name: paramFormat, single: true, normalize: rest.FormatValue, parse: parsedBefore},
		{name: paramPartner, single: true, parse: parsedBefore},
	})
}

// withKeys sets the keys of a table.
func withKeys(table []parameter) []parameter {
	for i := range table {
		table[i].key = strings.ToLower(table[i].name)
	}
	return table
}

// parsedBefore does nothing, for a parameter that has been read already.
func parsedBefore(*search, string) error { return nil }

// filter returns a parameter that restricts a search to reports that match any of
// its comma-separated values. Repetitions restrict it further.
func filter(name, kind string, column readmodel.Column, read func(string) (readmodel.Comparison, error), text string) parameter {
	return parameter{name: name, kind: kind, text: text, parse: func(s *search, value string) error {
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

func dateFilter(name string, column readmodel.Column, read func(string) (readmodel.Comparison, error), text string) parameter {
	p := filter(name, kindDate, column, read, text)
	p.normalize = restorePlus
	return p
}

// tokenFilter returns a parameter for codes of one system: value, system|value or,
// for any code, system|. A value of another system, or of none (|value), matches
// no report.
func tokenFilter(name, system string, match func(code string) (c readmodel.Comparison, all bool), text string) parameter {
	return parameter{name: name, kind: kindToken, text: text, parse: func(s *search, value string) error {
		tokens, err := splitTokens(value)
		if err != nil {
			return err
		}
		s.values += len(tokens)
		condition := readmodel.Condition{Column: readmodel.ColumnID}
		for _, t := range tokens {
			if t.hasSystem && t.system != system {
				continue
			}
			c, all := readmodel.Comparison{}, t.code == ""
			if !all {
				c, all = match(t.code)
			}
			if all {
				return nil // the other values add nothing
			}
			if c.Text != "" {
				condition.Any = append(condition.Any, c)
			}
		}
		s.query.Where = append(s.query.Where, condition)
		return nil
	}}
}

// identifierMatch matches the report whose id is the value.
func identifierMatch(value string) (readmodel.Comparison, bool) {
	return readmodel.Comparison{Op: readmodel.Eq, Text: value}, false
}

// statusSystem is the system of the codes of a report's status.
const statusSystem = "http://hl7.org/fhir/diagnostic-report-status"

// statusMatch matches all reports for final, and otherwise none, because all
// available reports are final.
func statusMatch(code string) (readmodel.Comparison, bool) {
	return readmodel.Comparison{}, code == "final"
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

const sortText = "_id, date, issued, subject, _lastUpdated, name, conclusion, caseid, separated by commas; with - before it for descending"

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
