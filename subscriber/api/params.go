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
	paramAsOf    = "asof"
)

// headerPartner is the header in place of paramPartner.
const headerPartner = "X-Partnerid"

// parameter is a parameter of a query.
type parameter struct {
	name      string              // as in links
	key       string              // the name in lower case, as pairs have it; set by withKeys
	kind      string              // type of the search parameter in the CapabilityStatement; empty: it is not in there
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

// searchParameters returns the parameters of a search for reports, in the order in which
// links have them. Only study, page and asof have other places in links; see queryOf.
// Base is the absolute URL of the API.
func searchParameters(base string) []parameter {
	return withKeys([]parameter{
		filter("_id", kindToken, readmodel.ColumnID, idValue, "id of the report, which is the id of the assessment"),
		filter("id", kindToken, readmodel.ColumnID, idValue, "another name of _id"),
		tokenFilter("identifier", fhir.SystemAssessment, readmodel.ColumnID, identifierMatch, "identifier of the assessment: value, system|value or system|"),
		tokenFilter("status", statusSystem, readmodel.ColumnID, only("final"), "final; reports with another status are not available"),
		dateFilter("date", readmodel.ColumnDate, dateValue, "effectiveDateTime; prefixes eq, ne, lt, gt, ge, le; also MM/DD/YYYY and MM/YYYY"),
		dateFilter("issued", readmodel.ColumnIssued, dateValue, "moment of the sign-off"),
		dateFilter("_lastUpdated", readmodel.ColumnLastUpdated, dateValue, "meta.lastUpdated, which increases with each event of the study"),
		dateFilter("_since", readmodel.ColumnLastUpdated, sinceValue, "the same as _lastUpdated=ge"),
		filter("subject", kindReference, readmodel.ColumnSubject, subjectValue(base), "subject, as Patient/10081007 or 10081007"),
		filter("patient", kindReference, readmodel.ColumnSubject, subjectValue(base), "another name of subject"),
		filter("conclusion", kindToken, readmodel.ColumnConclusion, textValue, "response class, exact match"),
		filter("caseid", kindToken, readmodel.ColumnCase, caseValue, "case number"),
		filter("name", kindToken, readmodel.ColumnName, textValue, "name of the assessment, exact match, such as Baseline or Follow-up 2"),
		{name: "_include", kind: kindSpecial, text: "DiagnosticReport:result, for the Observations of the reports on the page", single: true, normalize: includeValue, parse: (*search).parseInclude},
		{name: "_sort", kind: kindSpecial, text: sortText, single: true, parse: (*search).parseSort},
		{name: "_elements", kind: kindSpecial, text: "elements of the reports, separated by commas", parse: (*search).parseElements},
		{name: "_summary", kind: kindSpecial, text: "true, text, data, count or false", single: true, parse: (*search).parseSummary},
		{name: "_total", kind: kindSpecial, text: "none, estimate or accurate; the total is always exact", single: true, parse: (*search).parseTotal},
		{name: paramFormat, single: true, normalize: rest.FormatValue, parse: parsedBefore},
		{name: paramCount, kind: kindSpecial, text: "reports on a page; 0 for the total only", single: true, parse: (*search).parseCount},
		minNumberParameter(),
		{name: paramPartner, single: true, parse: parsedBefore},
		asOfParameter(),
		{name: paramPage, kind: kindSpecial, text: "number of the page, from 1", single: true, parse: (*search).parsePage},
		{name: paramStudy, kind: kindToken, text: "id of the study, exact match; required", parse: parsedBefore},
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

// dateFilter is filter for dates, in which a plus sign may stand before the zone.
func dateFilter(name string, column readmodel.Column, read func(string) (readmodel.Comparison, error), text string) parameter {
	p := filter(name, kindDate, column, read, text)
	p.normalize = restorePlus
	return p
}

// tokenFilter returns a parameter for codes of one system: value, system|value or,
// for any code, system|. A value of another system, or of none (|value), matches
// no report. Match returns the comparison for a code, or true if the code matches every
// report.
func tokenFilter(name, system string, column readmodel.Column, match func(code string) (c readmodel.Comparison, all bool), text string) parameter {
	return parameter{name: name, kind: kindToken, text: text, parse: func(s *search, value string) error {
		tokens, err := splitTokens(value)
		if err != nil {
			return err
		}
		s.values += len(tokens)
		condition := readmodel.Condition{Column: column}
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
			if c.Text != "" { // else no report matches the code
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

// only returns the match of a tokenFilter for a property that is the same in all
// resources: all of them match that code, and none matches another one.
func only(code string) func(string) (readmodel.Comparison, bool) {
	return func(wanted string) (readmodel.Comparison, bool) { return readmodel.Comparison{}, wanted == code }
}

// asOfParameter returns the parameter for the study number that is shown.
func asOfParameter() parameter {
	return parameter{
		name: paramAsOf, kind: kindSpecial, text: "number of the study's event as of which the study is shown; links have it", single: true,
		parse: func(s *search, value string) error {
			n, err := parseStudyNumber(value)
			s.asOf = &n
			return err
		},
	}
}

// minNumberParameter returns the parameter for the study number to wait for.
func minNumberParameter() parameter {
	return parameter{
		name: "minNumber", kind: kindSpecial, text: "number of the study's event that the answer must reflect; it waits up to 2 s", single: true,
		parse: func(s *search, value string) (err error) {
			s.minNumber, err = parseStudyNumber(value)
			return err
		},
	}
}

// includeValue returns a value of _include without the type of what is included, which is
// always the same.
func includeValue(value string) string { return strings.TrimSuffix(value, ":Observation") }

// parseInclude reads a value of _include.
func (s *search) parseInclude(value string) error {
	if value != "DiagnosticReport:result" {
		return events.Errorf(events.Unsupported, "%q is not offered; use DiagnosticReport:result", shorten(value))
	}
	s.query.Include = true
	return nil
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

// parseSort reads a value of _sort: columns in the order of their levels, each once.
func (s *search) parseSort(value string) error {
	for key := range strings.SplitSeq(value, ",") {
		name, descending := strings.CutPrefix(key, "-")
		column, ok := s.kind.sorts[strings.ToLower(name)]
		if !ok {
			text := sortText
			if s.kind.resource == readmodel.Observations {
				text = observationSortText
			}
			return events.Errorf(events.Invalid, "%q is not one of %s", shorten(key), strings.Replace(text, ", separated by commas; ", ", ", 1))
		}
		if slices.ContainsFunc(s.query.Sort, func(o readmodel.Order) bool { return o.Column == column }) {
			return events.Errorf(events.Invalid, "names %s twice", shorten(name))
		}
		s.query.Sort = append(s.query.Sort, readmodel.Order{Column: column, Descending: descending})
	}
	return nil
}

// parseTotal checks a value of _total, which changes nothing.
func (s *search) parseTotal(value string) error {
	// An estimate would not be cheaper than the exact total.
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

// parseCount reads a page size. One above the maximum becomes the maximum. 0 asks for the
// total only.
func (s *search) parseCount(value string) error {
	n, ok := parseNumber(value)
	if !ok {
		return events.Errorf(events.Invalid, "%q is not a page size: digits, from 0 to %d", shorten(value), math.MaxInt32)
	}
	s.count = min(n, s.maxCount)
	s.totalOnly = s.totalOnly || n == 0
	return nil
}
