package sdtm

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cockroachdb/apd/v3"
	"golang.org/x/text/unicode/norm"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/intake"
)

// domain is one of the SDTM files.
type domain struct {
	file              string
	eval, evalID, seq string
	required          [][]string // of each, one column must be there
	optional          []string
	withoutRows       string // what it means that the evaluator has no rows
}

var (
	resultsDomain = domain{
		file: "tr.csv", eval: "TREVAL", evalID: "TREVALID", seq: "TRSEQ",
		required: [][]string{{"STUDYID"}, {"USUBJID"}, {"VISITNUM"}, {"TRLNKID"}, {"TRTESTCD"}, {"TRSTRESC", "TRORRES"}, {"TRDTC"}},
		optional: []string{"TRGRPID", "TRSTRESN", "TRSTRESU", "TRORRESU", "TRSTAT", "TRMETHOD"},
	}
	lesionsDomain = domain{
		file: "tu.csv", eval: "TUEVAL", evalID: "TUEVALID", seq: "TUSEQ",
		required: [][]string{{"STUDYID"}, {"USUBJID"}, {"TULNKID"}},
		optional: []string{"TULOC", "TUSTRESC", "TUORRES"}, withoutRows: "no lesion has an organ",
	}
	responsesDomain = domain{
		file: "rs.csv", eval: "RSEVAL", evalID: "RSEVALID", seq: "RSSEQ",
		required: [][]string{{"STUDYID"}, {"USUBJID"}, {"VISITNUM"}, {"RSTESTCD"}, {"RSSTRESC", "RSORRES"}},
		optional: []string{"RSDTC", "RSCAT"}, withoutRows: "no assessment has a response",
	}
)

// uses reports whether a column is one that is read.
func (d domain) uses(column string) bool {
	return column == d.eval || column == d.evalID || column == d.seq || slices.Contains(d.optional, column) ||
		slices.ContainsFunc(d.required, func(columns []string) bool { return slices.Contains(columns, column) })
}

// dataset is the rows of one evaluator, by study and subject.
type dataset struct {
	evaluator string
	studies   map[string]map[string]*subject
	values    map[string]string // each value of a column, once
	numbers   map[string]string // canonical VISITNUM by text
	size      int               // estimate of the memory in use, in bytes
	warnings  []intake.Warning  // of no particular subject
	responses criteria

	results evaluators // of tr.csv
	found   evaluators // of the file that is read
	seen    map[[2]uint64]bool
	pending []*intake.Refusal // of rows that name no evaluator
}

// subject is the rows of one subject.
type subject struct {
	study, id  string
	results    map[string][]result // by VISITNUM
	responses  []response
	identified []identification
	organs     map[string]organ          // by lesion
	refused    map[string]intake.Warning // of rows that were refused, by VISITNUM
	warnings   []intake.Warning          // of no particular visit
}

// result is a row of TR.
type result struct {
	line                               int
	date, group, lesion, test          string
	value, original, number            string // TRSTRESC, TRORRES, TRSTRESN
	unit, originalUnit, status, method string
	unnamed                            bool // by no evaluator
}

// response is a row of RS with an overall response.
type response struct {
	line                         int
	visit, date, value, category string
	unnamed                      bool
}

// identification is a row of TU.
type identification struct {
	line                   int
	lesion, name, category string
	unnamed                bool
}

// organ is what TU has of a lesion.
type organ struct {
	name         string // TULOC
	nameLine     int
	category     string // TARGET, NON-TARGET or NEW
	categoryLine int
	contradicted int // line in which the category is another one
}

// Estimates of the memory that a row and a subject need beside their values,
// in bytes, and the limit.
const (
	rowSize     = 300
	subjectSize = 1000
	maxSize     = 256 << 20
)

func newDataset(evaluator string) *dataset {
	return &dataset{
		evaluator: evaluator, studies: map[string]map[string]*subject{}, values: map[string]string{}, numbers: map[string]string{},
		found: newEvaluators(evaluator), seen: map[[2]uint64]bool{}, responses: criteria{left: map[string]int{}},
	}
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

// repeated reports whether an equal row, but for --SEQ, was there before. For a
// measurement of a lesion it need not be asked: of equal ones the first counts.
func (d *dataset) repeated(dom domain, r row) bool {
	if r.get("TRLNKID") != "" {
		return false
	}
	sum := r.hash(dom.seq)
	if d.seen[sum] {
		return true
	}
	d.seen[sum] = true
	return false
}

// endDomain is called at the end of each file. It returns a *Refusal if the
// evaluator has no rows in TR, and adds a warning for none in the other domains.
func (d *dataset) endDomain(dom domain, path string) error {
	found := d.found
	if dom.file == resultsDomain.file {
		d.results = found
	}
	if found.unnamed.rows > 0 && !found.unnamedCount() {
		d.dropUnnamed()
	}
	d.warnings = append(d.warnings, found.warnings(dom, &d.results)...)
	d.found = newEvaluators(d.evaluator)
	clear(d.seen)
	if dom.file == lesionsDomain.file {
		d.eachSubject((*subject).locate)
	}
	if dom.file == responsesDomain.file {
		d.selectResponses()
	}
	if found.found() {
		return nil
	}
	message := fmt.Sprintf("no record is by %q; the file has records by %s", d.evaluator, found.list())
	if dom.file == resultsDomain.file {
		return &intake.Refusal{File: path, Line: 1, Err: events.Fieldf(dom.eval, "%s", message)}
	}
	d.warnf(kindEvaluator, "%s: %s: %s, so %s", dom.file, dom.eval, message, dom.withoutRows)
	return nil
}

// dropUnnamed removes what rows that name no evaluator added.
func (d *dataset) dropUnnamed() {
	dropped := map[string]bool{}
	for _, refusal := range d.pending {
		dropped[refusedText(refusal)] = true
	}
	d.pending = nil
	for _, subjects := range d.studies {
		for id, s := range subjects {
			for number, rows := range s.results {
				rows = slices.DeleteFunc(rows, func(r result) bool { return r.unnamed })
				if s.results[number] = rows; len(rows) == 0 {
					delete(s.results, number)
				}
			}
			if len(s.results) == 0 {
				delete(subjects, id)
			}
			s.responses = slices.DeleteFunc(s.responses, func(r response) bool { return r.unnamed })
			s.identified = slices.DeleteFunc(s.identified, func(i identification) bool { return i.unnamed })
			maps.DeleteFunc(s.refused, func(_ string, w intake.Warning) bool { return dropped[w.Text] })
		}
	}
	d.responses.orphans = slices.DeleteFunc(d.responses.orphans, func(o orphan) bool { return o.unnamed })
}

// eachSubject calls do with the subjects in order.
func (d *dataset) eachSubject(do func(*subject)) {
	for _, study := range slices.Sorted(maps.Keys(d.studies)) {
		for _, id := range slices.Sorted(maps.Keys(d.studies[study])) {
			do(d.studies[study][id])
		}
	}
}

func (d *dataset) warnf(kind, format string, args ...any) {
	d.warnings = append(d.warnings, intake.Warning{Kind: kind, Text: fmt.Sprintf(format, args...)})
	d.size += rowSize
}

func (s *subject) warnf(kind, format string, args ...any) {
	s.warnings = append(s.warnings, intake.Warning{Kind: kind, Text: fmt.Sprintf(format, args...)})
}

// add stores a row and returns where it belongs.
func (d *dataset) add(dom domain, r row, unnamed bool) (place, error) {
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
		return d.addResult(s, study, id, r, unnamed)
	case lesionsDomain.file:
		if s != nil {
			d.addIdentification(s, r, unnamed)
		}
		return place{subject: s}, nil
	default:
		return d.addResponse(s, study, id, r, unnamed)
	}
}

// visitNumber returns VISITNUM as every import writes it, because 04 and 4.0
// are 4.
func (d *dataset) visitNumber(r row) (string, error) {
	text := r.get("VISITNUM")
	if number, ok := d.numbers[text]; ok {
		return number, nil
	}
	if text == "" {
		return "", r.refusef(events.Required, "VISITNUM", "is missing")
	}
	number, ok := canonicalNumber(text)
	if !ok {
		return "", r.refusef(events.Invalid, "VISITNUM", "%s is not a number such as 9.2", intake.Printable(text))
	}
	number = d.intern(number)
	d.numbers[d.intern(text)] = number
	return number, nil
}

// canonicalNumber returns the one text of a number. It takes 18 digits, and an
// exponent as R writes it.
func canonicalNumber(text string) (string, bool) {
	n, ok := parseNumber(text)
	if !ok {
		return "", false
	}
	n.Reduce(n)
	if n.IsZero() {
		return "0", true
	}
	return n.Text('f'), true
}

// parseNumber reads a number of at most 18 digits.
func parseNumber(text string) (*apd.Decimal, bool) {
	if len(text) > 40 || strings.Trim(text, "0123456789.eE+-") != "" {
		return nil, false
	}
	n, _, err := apd.NewFromString(text)
	if err != nil || n.Form != apd.Finite || n.NumDigits() > 18 || n.Exponent < -18 || n.Exponent > 18 {
		return nil, false
	}
	return n, true
}

func (d *dataset) addResult(s *subject, study, id string, r row, unnamed bool) (place, error) {
	if s == nil { // counted before the row can be refused
		s = d.newSubject(d.intern(study), d.intern(id))
	}
	number, err := d.visitNumber(r)
	if err != nil {
		return place{}, err
	}
	s.results[number] = append(s.results[number], result{
		line:         r.line,
		date:         d.intern(r.get("TRDTC")),
		group:        d.intern(r.get("TRGRPID")),
		lesion:       d.intern(r.get("TRLNKID")),
		test:         d.intern(code(r.get("TRTESTCD"))),
		value:        d.intern(r.get("TRSTRESC")),
		original:     d.intern(r.get("TRORRES")),
		number:       d.intern(r.get("TRSTRESN")),
		unit:         d.intern(r.get("TRSTRESU")),
		originalUnit: d.intern(r.get("TRORRESU")),
		status:       d.intern(statusOf(r.get("TRSTAT"))),
		method:       d.intern(r.get("TRMETHOD")),
		unnamed:      unnamed,
	})
	return place{s, number}, nil
}

// code returns the code of a test. Case does not count: no two codes differ in
// it alone.
func code(text string) string { return strings.ToUpper(text) }

func statusOf(text string) string {
	if strings.EqualFold(text, notDone) {
		return notDone
	}
	return text
}

func (d *dataset) newSubject(study, id string) *subject {
	s := &subject{
		study: study, id: id, results: map[string][]result{},
		organs: map[string]organ{}, refused: map[string]intake.Warning{},
	}
	if d.studies[study] == nil {
		d.studies[study] = map[string]*subject{}
	}
	d.studies[study][id] = s
	d.size += subjectSize
	return s
}

func (d *dataset) addIdentification(s *subject, r row, unnamed bool) {
	lesion, category := r.get("TULNKID"), cmp.Or(r.get("TUSTRESC"), r.get("TUORRES"))
	if categories[category] == "" {
		category = "" // of another test, such as that a lesion was split
	}
	if lesion == "" {
		return
	}
	s.identified = append(s.identified, identification{
		line: r.line, lesion: d.intern(lesion), name: d.intern(r.get("TULOC")), category: d.intern(category), unnamed: unnamed,
	})
}

// locate finds organ and category of the lesions. The first organ of a lesion
// counts.
func (s *subject) locate() {
	for _, i := range s.identified {
		o := s.organs[i.lesion]
		switch {
		case i.name == "" || i.name == o.name:
		case o.name == "":
			o.name, o.nameLine = i.name, i.line
		default:
			s.warnf(kindOrgan, "%s:%d: TULOC: lesion %s is in %s here; %s of line %d is used",
				lesionsDomain.file, i.line, intake.Printable(i.lesion), intake.Printable(i.name), intake.Printable(o.name), o.nameLine)
		}
		switch {
		case i.category == "" || i.category == o.category:
		case o.category == "":
			o.category, o.categoryLine = i.category, i.line
		default:
			o.contradicted = i.line
		}
		s.organs[i.lesion] = o
	}
	s.identified = nil
}

func (d *dataset) addResponse(s *subject, study, id string, r row, unnamed bool) (place, error) {
	value := cmp.Or(r.get("RSSTRESC"), r.get("RSORRES"))
	switch test := code(r.get("RSTESTCD")); {
	case test == "" && value != "":
		return place{}, r.refusef(events.Required, "RSTESTCD", "is missing, so it is unknown what the response is of")
	case test != "OVRLRESP":
		return place{subject: s}, nil
	}
	number, err := d.visitNumber(r)
	if err != nil {
		return place{}, err
	}
	found := response{
		line: r.line, visit: number, date: d.intern(r.get("RSDTC")),
		value: d.intern(value), category: d.intern(r.get("RSCAT")), unnamed: unnamed,
	}
	if s == nil {
		d.responses.orphans = append(d.responses.orphans, orphan{d.intern(study), d.intern(id), found})
		return place{}, nil
	}
	s.responses = append(s.responses, found)
	return place{s, found.visit}, nil
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
	r.warning = refusedText(refusal)
	r.warn(r.previous)
}

func refusedText(refusal *intake.Refusal) string {
	return fmt.Sprintf("%s:%d was refused and may belong here", filepath.Base(refusal.File), refusal.Line)
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
		at.subject.refused[at.visit] = intake.Warning{Kind: kindRefused, Text: r.warning}
	}
}
