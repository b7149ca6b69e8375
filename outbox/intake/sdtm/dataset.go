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
	required          [][]string // of each list, the header must have at least one column
	optional          []string
	withoutRows       string // for a warning: what follows if the evaluator has no rows
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

// dataset holds the rows of one evaluator, by study and subject. Rows that name no
// evaluator are stored too until the end of their file, where endDomain keeps or
// removes them.
type dataset struct {
	evaluator string
	studies   map[string]map[string]*subject
	values    map[string]string // each value of a column, once
	numbers   map[string]string // canonical VISITNUM by text
	size      int               // estimate of the memory in use, in bytes
	warnings  []intake.Warning  // of no particular subject
	responses criteria

	inResults evaluators         // the evaluators that tr.csv names
	inFile    evaluators         // the evaluators of the file that is being read
	seen      map[[2]uint64]bool // hashes of the rows of the file, to find duplicates
	undecided []*intake.Refusal  // of rows that name no evaluator; emitted at the end of the file if they are the evaluator's
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
	withoutEvaluator                   bool // whether the row names no evaluator
}

// response is a row of RS with an overall response.
type response struct {
	line                         int
	visit, date, value, category string
	withoutEvaluator             bool
}

// identification is a row of TU.
type identification struct {
	line                   int
	lesion, name, category string
	withoutEvaluator       bool
}

// organ is the organ and the category that TU has of a lesion.
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

// newDataset returns a dataset for the rows of an evaluator.
func newDataset(evaluator string) *dataset {
	return &dataset{
		evaluator: evaluator, studies: map[string]map[string]*subject{}, values: map[string]string{}, numbers: map[string]string{},
		inFile: newEvaluators(evaluator), seen: map[[2]uint64]bool{}, responses: criteria{leftOut: map[string]int{}},
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

// full reports whether the rows take more memory than maxSize.
func (d *dataset) full() bool { return d.size > maxSize }

// isDuplicate reports whether the file had an equal row before, apart from --SEQ,
// and remembers the row. It returns false for a measurement of a lesion, because
// addLesion ignores an equal one.
func (d *dataset) isDuplicate(dom domain, r row) bool {
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

// endDomain is called at the end of each file. It removes the rows without an
// evaluator unless they are the wanted evaluator's, evaluates what needs the whole
// file, and prepares for the next file. It returns a *Refusal if the evaluator has
// no rows in TR. For no rows in another domain it adds a warning.
func (d *dataset) endDomain(dom domain, path string) error {
	found := d.inFile
	if dom.file == resultsDomain.file {
		d.inResults = found
	}
	if found.withoutEvaluator.rows > 0 && !found.withoutEvaluatorIsWanted() {
		d.dropWithoutEvaluator(dom)
	}
	d.warnings = append(d.warnings, found.warnings(dom, &d.inResults)...)
	d.inFile = newEvaluators(d.evaluator)
	clear(d.seen)
	if dom.file == lesionsDomain.file {
		d.eachSubject((*subject).locate)
	}
	if dom.file == responsesDomain.file {
		d.selectResponses()
	}
	if found.hasWanted() {
		return nil
	}
	message := fmt.Sprintf("no record is by %q; the file has records by %s", d.evaluator, found.list())
	if dom.file == resultsDomain.file {
		return &intake.Refusal{File: path, Line: 1, Err: events.Fieldf(dom.eval, "%s", message)}
	}
	d.warnf(kindEvaluator, "%s: %s: %s, so %s", dom.file, dom.eval, message, dom.withoutRows)
	return nil
}

// dropWithoutEvaluator removes the rows that name no evaluator, their refusals, and
// the warnings of those refusals.
func (d *dataset) dropWithoutEvaluator(dom domain) {
	dropped := map[string]bool{} // texts of the warnings that refusedRow added for them
	for _, refusal := range d.undecided {
		dropped[refusedText(refusal)] = true
	}
	d.undecided = nil
	for _, subjects := range d.studies {
		for id, s := range subjects {
			maps.DeleteFunc(s.refused, func(_ string, w intake.Warning) bool { return dropped[w.Text] })
			switch dom.file {
			case resultsDomain.file:
				s.dropResults()
				if len(s.results) == 0 && len(s.refused) == 0 {
					delete(subjects, id) // it has no row of the evaluator's
				}
			case lesionsDomain.file:
				s.identified = slices.DeleteFunc(s.identified, func(i identification) bool { return i.withoutEvaluator })
			case responsesDomain.file:
				s.responses = slices.DeleteFunc(s.responses, func(r response) bool { return r.withoutEvaluator })
			}
		}
	}
	if dom.file == responsesDomain.file {
		d.responses.orphans = slices.DeleteFunc(d.responses.orphans, func(o orphan) bool { return o.withoutEvaluator })
	}
}

// dropResults removes the results that name no evaluator.
func (s *subject) dropResults() {
	for number, rows := range s.results {
		rows = slices.DeleteFunc(rows, func(r result) bool { return r.withoutEvaluator })
		if s.results[number] = rows; len(rows) == 0 {
			delete(s.results, number)
		}
	}
}

// eachSubject calls do with each subject, ordered by study and id.
func (d *dataset) eachSubject(do func(*subject)) {
	for _, study := range slices.Sorted(maps.Keys(d.studies)) {
		for _, id := range slices.Sorted(maps.Keys(d.studies[study])) {
			do(d.studies[study][id])
		}
	}
}

// warnf adds a warning that belongs to no subject.
func (d *dataset) warnf(kind, format string, args ...any) {
	d.warnings = append(d.warnings, intake.Warning{Kind: kind, Text: fmt.Sprintf(format, args...)})
	d.size += rowSize
}

// warnf adds a warning that belongs to no particular visit.
func (s *subject) warnf(kind, format string, args ...any) {
	s.warnings = append(s.warnings, intake.Warning{Kind: kind, Text: fmt.Sprintf(format, args...)})
}

// add stores a row and returns the subject and the visit to which it belongs.
// withoutEvaluator means that the row names no evaluator; then endDomain may
// remove it. The error is a *Refusal of the row.
func (d *dataset) add(dom domain, r row, withoutEvaluator bool) (place, error) {
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
		return d.addResult(s, study, id, r, withoutEvaluator)
	case lesionsDomain.file:
		if s != nil { // a subject without rows in TR, which was read before, has no visits that need the organ
			d.addIdentification(s, r, withoutEvaluator)
		}
		return place{subject: s}, nil
	default:
		return d.addResponse(s, study, id, r, withoutEvaluator)
	}
}

// visitNumber returns VISITNUM in its canonical form, so that 04 and 4.0 are the
// same visit as 4.
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

// canonicalNumber returns the same text for all spellings of a number: without an
// exponent, leading zeros and trailing zeros after the point. See parseNumber for
// what it accepts.
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

// parseNumber reads a finite number of at most 18 digits, which may have an exponent
// as R writes it. It reports false for any other text.
func parseNumber(text string) (*apd.Decimal, bool) {
	// The limit on the length bounds the work on text from outside.
	if len(text) > 40 || strings.Trim(text, "0123456789.eE+-") != "" {
		return nil, false
	}
	n, _, err := apd.NewFromString(text)
	if err != nil || n.Form != apd.Finite || n.NumDigits() > 18 || n.Exponent < -18 || n.Exponent > 18 {
		return nil, false
	}
	return n, true
}

// addResult stores a row of TR. S is nil for a subject that has no row yet.
func (d *dataset) addResult(s *subject, study, id string, r row, withoutEvaluator bool) (place, error) {
	if s == nil { // also if the row is refused below: the subject uses up a case number
		s = d.newSubject(d.intern(study), d.intern(id))
	}
	number, err := d.visitNumber(r)
	if err != nil {
		return place{}, err
	}
	s.results[number] = append(s.results[number], result{
		line:             r.line,
		date:             d.intern(r.get("TRDTC")),
		group:            d.intern(r.get("TRGRPID")),
		lesion:           d.intern(r.get("TRLNKID")),
		test:             d.intern(code(r.get("TRTESTCD"))),
		value:            d.intern(r.get("TRSTRESC")),
		original:         d.intern(r.get("TRORRES")),
		number:           d.intern(r.get("TRSTRESN")),
		unit:             d.intern(r.get("TRSTRESU")),
		originalUnit:     d.intern(r.get("TRORRESU")),
		status:           d.intern(statusOf(r.get("TRSTAT"))),
		method:           d.intern(r.get("TRMETHOD")),
		withoutEvaluator: withoutEvaluator,
	})
	return place{s, number}, nil
}

// code returns the code of a test in upper case, because no two codes differ in case
// alone.
func code(text string) string { return strings.ToUpper(text) }

// statusOf returns TRSTAT, with NOT DONE in upper case.
func statusOf(text string) string {
	if strings.EqualFold(text, notDone) {
		return notDone
	}
	return text
}

// newSubject adds a subject without rows.
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

// addIdentification stores a row of TU. It skips a row without a lesion.
func (d *dataset) addIdentification(s *subject, r row, withoutEvaluator bool) {
	lesion, category := r.get("TULNKID"), cmp.Or(r.get("TUSTRESC"), r.get("TUORRES"))
	if categories[category] == "" {
		category = "" // of another test, such as that a lesion was split
	}
	if lesion == "" {
		return
	}
	s.identified = append(s.identified, identification{
		line: r.line, lesion: d.intern(lesion), name: d.intern(r.get("TULOC")), category: d.intern(category), withoutEvaluator: withoutEvaluator,
	})
}

// locate sets organ and category of the lesions from the rows of TU, at the end of
// that file. Of different organs of a lesion the first is used, with a warning.
// Of different categories only the line is kept; subject.category refuses then.
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

// addResponse stores a row of RS that has an overall response. It skips other
// responses. S is nil for a subject that TR does not have.
func (d *dataset) addResponse(s *subject, study, id string, r row, withoutEvaluator bool) (place, error) {
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
		value: d.intern(value), category: d.intern(r.get("RSCAT")), withoutEvaluator: withoutEvaluator,
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

// refusedRow adds warnings for a row that was refused before its visit was known.
// Most likely the row belongs to the visit of the row before or after it, so both
// visits get the warning.
type refusedRow struct {
	previous place
	warning  string // empty unless the row before was refused
}

// set is called for each row that is refused. It warns at the visit of the row
// before, and keeps the warning for next.
func (r *refusedRow) set(refusal *intake.Refusal) {
	r.warning = refusedText(refusal)
	r.warn(r.previous)
}

// refusedText returns the warning about a refused row.
func refusedText(refusal *intake.Refusal) string {
	return fmt.Sprintf("%s:%d was refused and may belong here", filepath.Base(refusal.File), refusal.Line)
}

// next is called with the place of each row that is not refused. It warns there if
// the row before was refused.
func (r *refusedRow) next(at place) {
	if r.warning != "" {
		r.warn(at)
		r.warning = ""
	}
	r.previous = at
}

// warn adds the warning at a place, unless that has one already.
func (r *refusedRow) warn(at place) {
	if at.subject == nil {
		return
	}
	if _, warned := at.subject.refused[at.visit]; !warned {
		at.subject.refused[at.visit] = intake.Warning{Kind: kindRefused, Text: r.warning}
	}
}
