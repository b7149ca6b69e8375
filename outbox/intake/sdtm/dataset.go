package sdtm

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/intake"
)

// domain is one of the SDTM files.
type domain struct {
	file         string
	eval, evalID string   // columns of the evaluator
	columns      []string // required ones
	withoutRows  string   // what it means that the evaluator has no rows
}

var (
	resultsDomain = domain{file: "tr.csv", eval: "TREVAL", evalID: "TREVALID", columns: []string{
		"STUDYID", "USUBJID", "VISITNUM", "TRDTC", "TREVAL", "TREVALID", "TRGRPID", "TRLNKID",
		"TRTESTCD", "TRSTRESC", "TRSTRESU", "TRSTAT", "TRMETHOD",
	}}
	lesionsDomain = domain{file: "tu.csv", eval: "TUEVAL", evalID: "TUEVALID", columns: []string{
		"STUDYID", "USUBJID", "TUEVAL", "TUEVALID", "TULNKID", "TULOC",
	}, withoutRows: "no lesion has an organ"}
	responsesDomain = domain{file: "rs.csv", eval: "RSEVAL", evalID: "RSEVALID", columns: []string{
		"STUDYID", "USUBJID", "VISITNUM", "RSDTC", "RSEVAL", "RSEVALID", "RSTESTCD", "RSSTRESC",
	}, withoutRows: "no assessment has a response"}
)

// dataset is the rows of one evaluator, by study and subject.
type dataset struct {
	evaluator  string
	evaluators map[string]bool // in the file that is read
	studies    map[string]map[string]*subject
	values     map[string]string // each value of a column, once
	size       int               // estimate of the memory in use, in bytes
}

// subject is the rows of one subject.
type subject struct {
	study, id string
	results   map[string][]result // by VISITNUM
	responses []response
	organs    map[string]organ  // by lesion
	refused   map[string]string // warnings of rows that were refused, by VISITNUM
	warnings  []string          // of no particular visit
}

// result is a row of TR.
type result struct {
	line                                                   int
	date, group, lesion, test, value, unit, status, method string
}

// response is a row of RS with an overall response.
type response struct {
	line               int
	visit, date, value string
}

// organ is the location of a lesion, from a row of TU.
type organ struct {
	line int
	name string
}

// Estimates of the memory that a row and a subject need beside their values,
// in bytes, and the limit.
const (
	rowSize     = 200
	subjectSize = 1000
	maxSize     = 256 << 20
)

// maxEvaluators is how many evaluators a refusal lists.
const maxEvaluators = 20

func newDataset(evaluator string) *dataset {
	return &dataset{evaluator: evaluator, evaluators: map[string]bool{}, studies: map[string]map[string]*subject{}, values: map[string]string{}}
}

// intern returns a copy of a value that all rows with this value share. The
// columns have few different values, and a row is valid only until the next.
func (d *dataset) intern(value string) string {
	shared, ok := d.values[value]
	if !ok {
		shared = strings.Clone(value)
		d.values[shared] = shared
		d.size += len(shared) + 64
	}
	return shared
}

func (d *dataset) full() bool { return d.size > maxSize }

// isEvaluators reports whether a row is the evaluator's.
func (d *dataset) isEvaluators(dom domain, r row) bool {
	name := r.get(dom.eval)
	if id := r.get(dom.evalID); id != "" {
		name += "/" + id
	}
	if len(d.evaluators) < maxEvaluators || name == d.evaluator {
		d.evaluators[strings.Clone(name)] = true
	}
	return name == d.evaluator
}

// endDomain is called at the end of each file. It returns a *Refusal if the
// evaluator has no rows in TR, and adds a warning for none in the other domains.
func (d *dataset) endDomain(dom domain, path string) error {
	found := slices.Sorted(maps.Keys(d.evaluators))
	known := d.evaluators[d.evaluator]
	clear(d.evaluators)
	if known {
		return nil
	}
	message := fmt.Sprintf("no record is by %q; the file has records by %s", d.evaluator, list(found))
	if dom.file == resultsDomain.file {
		return &intake.Refusal{File: path, Line: 1, Err: events.Fieldf(dom.eval, "%s", message)}
	}
	for _, study := range slices.Sorted(maps.Keys(d.studies)) {
		first := slices.Min(slices.Collect(maps.Keys(d.studies[study])))
		s := d.studies[study][first]
		s.warnings = append(s.warnings, fmt.Sprintf("%s: %s: %s, so %s", path, dom.eval, message, dom.withoutRows))
	}
	return nil
}

func list(names []string) string {
	if len(names) == 0 {
		return "nobody"
	}
	words := make([]string, len(names))
	for i, n := range names {
		words[i] = intake.Printable(n)
	}
	return strings.Join(words, ", ")
}

// add stores a row and returns where it belongs.
func (d *dataset) add(dom domain, r row) (place, error) {
	study, id := norm.NFC.String(r.get("STUDYID")), r.get("USUBJID")
	if study == "" {
		return place{}, r.refusef(events.Required, "STUDYID", "is missing")
	}
	if id == "" {
		return place{}, r.refusef(events.Required, "USUBJID", "is missing")
	}
	if d.size += rowSize; d.full() {
		return place{}, r.refusef(events.TooLarge, "USUBJID", "the records of %q have more than 256 MiB; import the subjects in several parts", d.evaluator)
	}
	s := d.studies[study][id]
	switch dom.file {
	case resultsDomain.file:
		return d.addResult(s, study, id, r)
	case lesionsDomain.file:
		d.addOrgan(s, r)
		return place{subject: s}, nil
	default:
		return d.addResponse(s, r)
	}
}

var visitForm = regexp.MustCompile(`^-?[0-9]{1,9}(\.[0-9]{1,9})?$`)

// visitNumber returns VISITNUM without trailing zeros, because 9.20 is 9.2.
func visitNumber(r row) (string, error) {
	text := r.get("VISITNUM")
	if text == "" {
		return "", r.refusef(events.Required, "VISITNUM", "is missing")
	}
	if !visitForm.MatchString(text) {
		return "", r.refusef(events.Invalid, "VISITNUM", "%s is not a number such as 9.2", intake.Printable(text))
	}
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text, nil
}

func (d *dataset) addResult(s *subject, study, id string, r row) (place, error) {
	number, err := visitNumber(r)
	if err != nil {
		return place{}, err
	}
	number = d.intern(number)
	if s == nil {
		s = d.newSubject(d.intern(study), d.intern(id))
	}
	s.results[number] = append(s.results[number], result{
		line:   r.line,
		date:   d.intern(r.get("TRDTC")),
		group:  d.intern(r.get("TRGRPID")),
		lesion: d.intern(r.get("TRLNKID")),
		test:   d.intern(r.get("TRTESTCD")),
		value:  d.intern(r.get("TRSTRESC")),
		unit:   d.intern(r.get("TRSTRESU")),
		status: d.intern(r.get("TRSTAT")),
		method: d.intern(r.get("TRMETHOD")),
	})
	return place{s, number}, nil
}

func (d *dataset) newSubject(study, id string) *subject {
	s := &subject{study: study, id: id, results: map[string][]result{}, organs: map[string]organ{}, refused: map[string]string{}}
	if d.studies[study] == nil {
		d.studies[study] = map[string]*subject{}
	}
	d.studies[study][id] = s
	d.size += subjectSize
	return s
}

// addOrgan stores the location of a lesion. The first row of a lesion counts.
func (d *dataset) addOrgan(s *subject, r row) {
	lesion, name := r.get("TULNKID"), r.get("TULOC")
	if s == nil || lesion == "" || name == "" {
		return
	}
	first, known := s.organs[lesion]
	switch {
	case !known:
		s.organs[d.intern(lesion)] = organ{r.line, d.intern(name)}
	case first.name != name:
		s.warnings = append(s.warnings, fmt.Sprintf("%s:%d: TULOC: lesion %s is in %s here; %s of line %d is used",
			lesionsDomain.file, r.line, intake.Printable(lesion), intake.Printable(name), intake.Printable(first.name), first.line))
		d.size += rowSize
	}
}

func (d *dataset) addResponse(s *subject, r row) (place, error) {
	if r.get("RSTESTCD") != "OVRLRESP" {
		return place{subject: s}, nil
	}
	number, err := visitNumber(r)
	if err != nil || s == nil {
		return place{}, err
	}
	number = d.intern(number)
	s.responses = append(s.responses, response{
		line: r.line, visit: number, date: d.intern(r.get("RSDTC")), value: d.intern(r.get("RSSTRESC")),
	})
	return place{s, number}, nil
}

// place is where a row belongs.
type place struct {
	subject *subject
	visit   string // VISITNUM; empty where the row belongs to no particular visit
}

// refusedRow adds warnings for a row that was refused before its visit was
// known. Most likely it belongs to the visit of the row before or after it.
type refusedRow struct {
	previous place
	warning  string // empty unless the row before was refused
}

func (r *refusedRow) set(refusal *intake.Refusal) {
	r.warning = fmt.Sprintf("%s:%d was refused and may belong here", filepath.Base(refusal.File), refusal.Line)
	r.warn(r.previous)
}

// next is called with the place of each row that is stored.
func (r *refusedRow) next(at place) {
	if r.warning != "" {
		r.warn(at)
		r.warning = ""
	}
	r.previous = at
}

func (r *refusedRow) warn(at place) {
	if at.subject == nil {
		return
	}
	if _, warned := at.subject.refused[at.visit]; !warned {
		at.subject.refused[at.visit] = r.warning
	}
}
