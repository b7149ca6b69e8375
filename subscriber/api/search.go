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
	study     string // study id
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
func (a *API) parseSearch(study string, pairs []pair, strict bool) (search, error) {
	s := search{study: study, page: 1, count: a.cfg.Count, maxCount: a.cfg.MaxCount}
	s.query.Study = events.StudyKey(study)
	if err := s.parseAll(a.table, pairs, strict); err != nil {
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

// parseAll reads the pairs in the order of the table, so that the order of the
// query does not matter.
func (s *search) parseAll(table []parameter, pairs []pair, strict bool) error {
	if err := checkPairs(table, pairs, strict); err != nil {
		return err
	}
	for _, p := range table {
		if err := s.parseParameter(p, pairs); err != nil {
			return err
		}
	}
	return nil
}

// checkPairs refuses pairs that cannot be decoded, modifiers and, if strict is
// set, names that are not in the table. An empty value is ignored, with any name.
func checkPairs(table []parameter, pairs []pair, strict bool) error {
	for _, pair := range pairs {
		if pair.err != nil {
			return pair.err
		}
		known := slices.ContainsFunc(table, func(p parameter) bool { return p.key == pair.name })
		switch {
		case known && pair.modifier != "":
			return &events.Error{Code: events.Unsupported, Field: shorten(pair.original), Message: "modifiers are not supported; remove the modifier"}
		case !known && strict && pair.value != "":
			return &events.Error{Code: events.Unsupported, Field: shorten(pair.original), Message: "this parameter is not supported; remove it"}
		}
	}
	return nil
}

func (s *search) parseParameter(p parameter, pairs []pair) error {
	var values []string
	for _, pair := range pairs {
		if p.key != pair.name || pair.value == "" {
			continue
		}
		value := pair.value
		if p.normalize != nil {
			value = p.normalize(value)
		}
		if slices.Contains(values, value) {
			continue
		}
		if p.single && len(values) > 0 {
			return events.Fieldf(p.name, "has different values; send it once")
		}
		if err := p.parse(s, value); err != nil {
			return inField(p.name, err)
		}
		values = append(values, value)
	}
	for _, value := range values {
		s.addToLinks(p.name, value)
	}
	return nil
}

// addToLinks adds a pair to those of the links, except study and page, which
// queryOf adds. A page size above the maximum becomes the maximum.
func (s *search) addToLinks(name, value string) {
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
	message := "is not valid"
	if e := (*events.Error)(nil); errors.As(err, &e) {
		message = e.Message
	}
	return &events.Error{Code: events.CodeOf(err), Field: name, Message: message}
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
