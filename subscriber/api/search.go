package api

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/text/unicode/norm"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// maxValues limits the values of all filters of a query, and so its cost.
const maxValues = 500

// search is a query that has been read, of reports, of Observations or of history.
type search struct {
	kind         *kind  // nil for history
	url          string // absolute, of links
	study        string // study id
	withoutStudy bool   // links do not name the study
	page         int    // from 1
	count        int    // entries on a page
	totalOnly    bool
	view         view
	query        readmodel.Query
	history      readmodel.HistoryQuery
	asOf         *uint64 // study number that is shown; nil for the last one
	minNumber    uint64  // study number to wait for
	linkPairs    []pair  // the pairs of links, in order, without study, page and asof

	maxCount int
	values   int // of all filters; see maxValues
}

// fewIDs is how many ids or identifiers a search may name that waits for no other search. A
// reference names one, which counts as several if it has commas.
const fewIDs = 10

// findsFew reports whether the search names a few ids or identifiers, so that it finds a few
// resources at most and costs little.
func (s *search) findsFew() bool {
	return slices.ContainsFunc(s.query.Where, func(c readmodel.Condition) bool {
		return len(c.Any) <= fewIDs && (c.Column == readmodel.ColumnID || c.Column == readmodel.ColumnIdentifier)
	})
}

// kind is a type of resource that can be searched.
type kind struct {
	name     string // of the FHIR type
	resource readmodel.Resource
	table    []parameter                 // of a search
	sorts    map[string]readmodel.Column // by the values of _sort, in lower case
	elements []string                    // all of the type, as _elements names them
	summary  []string                    // those that FHIR marks as summary, and that are in use
	url      string                      // absolute, of searches; a fullUrl starts with it
	id       string                      // part of a fullUrl between the study and the id
}

// parseSearch reads the pairs of a search in the study. Pairs with unknown names
// are ignored, or refused if strict is set.
func (a *API) parseSearch(k *kind, study string, pairs []pair, strict bool) (*search, error) {
	s := &search{kind: k, url: k.url, study: study, page: 1, count: a.cfg.Count, maxCount: a.cfg.MaxCount}
	s.query.Study, s.query.Resource = events.StudyKey(study), k.resource
	if err := s.parseAll(k.table, pairs, strict); err != nil {
		return nil, err
	}
	s.query.AsOf = s.asOf
	if s.values > maxValues {
		return nil, events.Errorf(events.Invalid, "The query has %d values; at most %d are allowed.", s.values, maxValues)
	}
	if !s.totalOnly {
		s.query.Limit = s.count
		s.query.Offset = (s.page - 1) * s.count
	}
	return s, nil
}

// parseAll reads the pairs into s in the order of the table, so that the order of the
// query does not matter.
func (s *search) parseAll(table []parameter, pairs []pair, strict bool) error {
	if err := checkPairs(table, pairs, strict); err != nil {
		return err
	}
	for i := range table {
		if err := s.parseParameter(&table[i], pairs); err != nil {
			return err
		}
	}
	return nil
}

// checkPairs refuses pairs that cannot be decoded, modifiers of the names in the table and
// chains that begin with one, such as subject.name: without its filter a search would
// return too much. If strict is set, it refuses all other names too, unless their value is
// empty.
func checkPairs(table []parameter, pairs []pair, strict bool) error {
	for _, pair := range pairs {
		if pair.err != nil {
			return pair.err
		}
		name, _, chained := strings.Cut(pair.name, ".")
		known := slices.ContainsFunc(table, func(p parameter) bool { return p.key == name })
		switch {
		case known && chained:
			return &events.Error{Code: events.Unsupported, Field: shorten(pair.original), Message: "chained parameters are not supported; remove it"}
		case known && pair.modifier != "":
			return &events.Error{Code: events.Unsupported, Field: shorten(pair.original), Message: "modifiers are not supported; remove the modifier"}
		case !known && strict && pair.value != "":
			return &events.Error{Code: events.Unsupported, Field: shorten(pair.original), Message: "this parameter is not supported; remove it"}
		}
	}
	return nil
}

// parseParameter reads the pairs of one parameter, and adds them to the links once all
// are read. It ignores empty values and repetitions of a value.
func (s *search) parseParameter(p *parameter, pairs []pair) error {
	var values []string
	for i := range pairs {
		pair := &pairs[i]
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

// addToLinks adds a pair to those of the links. It leaves out study, page and asof, which
// appendQuery adds. For the page size it adds the one that is in use, which may be smaller
// than the one in the query.
func (s *search) addToLinks(name, value string) {
	switch name {
	case paramStudy, paramPage, paramAsOf:
		return
	case paramCount:
		value = strconv.Itoa(s.count)
	}
	s.linkPairs = append(s.linkPairs, pair{name: name, value: value})
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

// appendQuery appends the query of the link to a page, percent-encoded as in RFC 3986. If
// asOf is not nil, the link shows the study at that number. Equal searches have equal
// queries.
func (s *search) appendQuery(dst []byte, page int, asOf *uint64) []byte {
	if !s.withoutStudy {
		dst = append(append(append(dst, paramStudy+"="...), fhir.EscapeQuery(s.study)...), '&')
	}
	for _, p := range s.linkPairs {
		dst = append(append(append(append(dst, p.name...), '='), fhir.EscapeQuery(p.value)...), '&')
	}
	dst = strconv.AppendInt(append(dst, paramPage+"="...), int64(page), 10)
	if asOf != nil {
		dst = strconv.AppendUint(append(dst, "&"+paramAsOf+"="...), *asOf, 10)
	}
	return dst
}

// chooseStudy returns the granted study that the query names. The error is the
// same for a study that is not granted and for an unknown one. Several granted
// studies are refused, because a Bundle is about one.
func chooseStudy(pairs []pair, granted func(study string) bool) (string, error) {
	var values []string
	for _, p := range pairs {
		if p.name != paramStudy || p.modifier != "" { // parseAll refuses modifiers
			continue
		}
		if p.err != nil {
			return "", p.err
		}
		if p.value != "" {
			values = append(values, norm.NFC.String(p.value))
		}
	}
	if len(values) == 0 {
		return "", events.Errorf(events.Required, "Missing required query parameter.")
	}
	var named []string
	for _, value := range values {
		for _, study := range studiesIn(value, granted) {
			if !granted(study) {
				return "", events.Errorf(events.Forbidden, "Access to protocol denied.")
			}
			named = append(named, study)
		}
	}
	slices.Sort(named)
	if len(slices.Compact(named)) > 1 {
		return "", events.Fieldf(paramStudy, "names several studies; ask for one at a time")
	}
	return named[0], nil
}

// studiesIn returns the study ids in a value. If the value itself is a granted study, it
// is the only one, because links and references write a study id without escapes.
// Otherwise the value is a list in FHIR's escapes.
func studiesIn(value string, granted func(study string) bool) []string {
	if granted(value) {
		return []string{value}
	}
	studies, err := splitValue(value)
	if err != nil {
		return []string{value}
	}
	return studies
}
