package api

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// maxValues limits the values of all filters of a query, and so its cost.
const maxValues = 500

// search is a query that has been read.
type search struct {
	study     string // study number
	page      int    // from 1
	count     int    // reports on a page
	totalOnly bool
	view      view
	query     readmodel.Query
	used      []pair // the pairs of links, in order, without study and page

	maxCount int
	values   int
}

// parseSearch reads the pairs of a search in the study. Pairs with unknown names
// are ignored, or refused if strict is set.
func parseSearch(study string, pairs []pair, strict bool, cfg Config) (search, error) {
	s := search{study: study, page: 1, count: cfg.Count, maxCount: cfg.MaxCount}
	s.query.Study = events.StudyKey(study)
	if err := s.takeAll(searchParameters(), pairs, strict); err != nil {
		return search{}, err
	}
	if s.values > maxValues {
		return search{}, events.Errorf(events.Invalid, "The query has %d values; at most %d are allowed.", s.values, maxValues)
	}
	if !s.totalOnly {
		s.query.Limit = s.count
		s.query.Offset = (s.page - 1) * s.count
	}
	return s, nil
}

// takeAll reads the pairs in the order of the table, so that the order of the
// query does not matter.
func (s *search) takeAll(table []parameter, pairs []pair, strict bool) error {
	if err := checkPairs(table, pairs, strict); err != nil {
		return err
	}
	for _, p := range table {
		if err := s.takeParameter(p, pairs); err != nil {
			return err
		}
	}
	return nil
}

// checkPairs refuses pairs that cannot be decoded, modifiers, empty values and,
// if strict is set, names that are not in the table.
func checkPairs(table []parameter, pairs []pair, strict bool) error {
	for _, pair := range pairs {
		if pair.err != nil {
			return pair.err
		}
		known := slices.ContainsFunc(table, func(p parameter) bool { return strings.EqualFold(p.name, pair.name) })
		switch {
		case known && pair.modifier != "":
			return &events.Error{Code: events.Unsupported, Field: shorten(pair.spelled), Message: "modifiers are not supported; remove the modifier"}
		case known && pair.value == "":
			return events.Fieldf(shorten(pair.spelled), "has no value")
		case !known && strict:
			return &events.Error{Code: events.Unsupported, Field: shorten(pair.spelled), Message: "this parameter is not supported; remove it"}
		}
	}
	return nil
}

func (s *search) takeParameter(p parameter, pairs []pair) error {
	var taken []string
	for _, pair := range pairs {
		if !strings.EqualFold(p.name, pair.name) {
			continue
		}
		value := pair.value
		if p.clean != nil {
			value = p.clean(value)
		}
		if slices.Contains(taken, value) {
			continue
		}
		if p.single && len(taken) > 0 {
			return events.Fieldf(p.name, "has different values; send it once")
		}
		if err := p.take(s, value); err != nil {
			return inField(p.name, err)
		}
		taken = append(taken, value)
	}
	for _, value := range taken {
		s.use(p.name, value)
	}
	return nil
}

// use adds a pair to those of the links, unless it is study or page, which queryOf
// adds. A page size above the maximum becomes the maximum.
func (s *search) use(name, value string) {
	switch name {
	case paramStudy, paramPage:
		return
	case paramCount:
		value = strconv.Itoa(s.count)
	}
	s.used = append(s.used, pair{name: name, value: value})
}

// inField returns an error about a parameter's value. It does not wrap err, whose
// cause may contain the value and would be logged.
func inField(name string, err error) error {
	return &events.Error{Code: events.CodeOf(err), Field: name, Message: messageOf(err)}
}

// queryOf returns the query of the link to a page, percent-encoded as in
// RFC 3986. Equal searches have equal queries.
func (s search) queryOf(page int) string {
	var b strings.Builder
	b.WriteString(paramStudy + "=" + fhir.EscapeQuery(s.study))
	for _, p := range s.used {
		b.WriteString("&" + p.name + "=" + fhir.EscapeQuery(p.value))
	}
	b.WriteString("&" + paramPage + "=" + strconv.Itoa(page))
	return b.String()
}

// messageOf returns the message of an Error without its field.
func messageOf(err error) string {
	var e *events.Error
	if errors.As(err, &e) {
		return e.Message
	}
	return "is not valid"
}
