package intake

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"

	"github.com/seed-e88a4ece/signoff/events"
)

// domain is one of the SDTM files with the columns that are needed of it.
type domain struct {
	file          string
	eval, evalID  string // columns of the evaluator
	columns       []string
	withoutRecord string // what follows where the evaluator has none
}

var (
	findingsDomain = domain{file: "tr.csv", eval: "TREVAL", evalID: "TREVALID", columns: []string{
		"STUDYID", "USUBJID", "VISITNUM", "TRDTC", "TREVAL", "TREVALID", "TRGRPID", "TRLNKID",
		"TRTESTCD", "TRSTRESC", "TRSTRESU", "TRSTAT", "TRMETHOD",
	}}
	lesionsDomain = domain{file: "tu.csv", eval: "TUEVAL", evalID: "TUEVALID", columns: []string{
		"STUDYID", "USUBJID", "TUEVAL", "TUEVALID", "TULNKID", "TULOC",
	}, withoutRecord: "no lesion has an organ"}
	responsesDomain = domain{file: "rs.csv", eval: "RSEVAL", evalID: "RSEVALID", columns: []string{
		"STUDYID", "USUBJID", "VISITNUM", "RSDTC", "RSEVAL", "RSEVALID", "RSTESTCD", "RSSTRESC",
	}, withoutRecord: "no assessment has a response"}
)

// dataset is what one evaluator's rows say, by study and subject.
type dataset struct {
	evaluator string
	found     map[string]bool // evaluators of the file that is read
	studies   map[string]map[string]*subject
	words     map[string]string // every value kept, once
	size      int               // about the bytes kept
}

// subject is what the rows say of one subject.
type subject struct {
	study, id string
	findings  map[string][]finding // by VISITNUM
	responses []response
	organs    map[string]organ // by lesion
	lost      map[string]string
	warnings  []string // of no particular visit
}

// finding is a row of TR.
type finding struct {
	line                                                    int
	date, group, lesion, test, result, unit, status, method string
}

// response is a row of RS with an overall response.
type response struct {
	line                int
	visit, date, result string
}

// organ is where a row of TU locates a lesion.
type organ struct {
	line int
	name string
}

// What a row and a subject need in memory beside their words, in bytes.
const (
	rowSize     = 200
	subjectSize = 1000
	maxFound    = 20 // evaluators to list
)

func newDataset(evaluator string) *dataset {
	return &dataset{evaluator: evaluator, found: map[string]bool{}, studies: map[string]map[string]*subject{}, words: map[string]string{}}
}

// keep gives the one copy of a word that stays in memory.
func (d *dataset) keep(word string) string {
	kept, ok := d.words[word]
	if !ok {
		kept = strings.Clone(word)
		d.words[kept] = kept
		d.size += len(kept) + 64
	}
	return kept
}

func (d *dataset) full() bool { return d.size > 256<<20 }

// concerns reports whether a row is the evaluator's.
func (d *dataset) concerns(dom domain, r row) bool {
	name := r.get(dom.eval)
	if id := r.get(dom.evalID); id != "" {
		name += "/" + id
	}
	if len(d.found) < maxFound || name == d.evaluator {
		d.found[strings.Clone(name)] = true
	}
	return name == d.evaluator
}

// complete is called at the end of each file. That the evaluator has no
// findings is a *Refusal.
func (d *dataset) complete(dom domain, path string) error {
	found := slices.Sorted(maps.Keys(d.found))
	known := d.found[d.evaluator]
	clear(d.found)
	if known {
		return nil
	}
	message := fmt.Sprintf("no record is by %q; the file has records by %s", d.evaluator, listed(found))
	if dom.file == findingsDomain.file {
		return &Refusal{File: path, Line: 1, Err: events.Fieldf(dom.eval, "%s", message)}
	}
	for _, study := range slices.Sorted(maps.Keys(d.studies)) {
		first := slices.Min(slices.Collect(maps.Keys(d.studies[study])))
		s := d.studies[study][first]
		s.warnings = append(s.warnings, fmt.Sprintf("%s: %s: %s, so %s", path, dom.eval, message, dom.withoutRecord))
	}
	return nil
}

func listed(names []string) string {
	if len(names) == 0 {
		return "nobody"
	}
	words := make([]string, len(names))
	for i, n := range names {
		words[i] = Printable(n)
	}
	return strings.Join(words, ", ")
}

// add keeps what is needed of a row and says where it belongs.
func (d *dataset) add(dom domain, r row) (place, error) {
	study, id := norm.NFC.String(r.get("STUDYID")), r.get("USUBJID")
	if study == "" {
		return place{}, r.fault(events.Required, "STUDYID", "is missing")
	}
	if id == "" {
		return place{}, r.fault(events.Required, "USUBJID", "is missing")
	}
	if d.size += rowSize; d.full() {
		return place{}, r.fault(events.TooLarge, "USUBJID", "the records of %q have more than 256 MiB; import the subjects in parts", d.evaluator)
	}
	s := d.studies[study][id]
	switch dom.file {
	case findingsDomain.file:
		return d.addFinding(s, study, id, r)
	case lesionsDomain.file:
		d.addOrgan(s, r)
		return place{subject: s}, nil
	default:
		return d.addResponse(s, r)
	}
}

var visitForm = regexp.MustCompile(`^-?[0-9]{1,9}(\.[0-9]{1,9})?$`)

// visitNumber reads VISITNUM, in its one form: 9.20 is 9.2.
func visitNumber(r row) (string, error) {
	text := r.get("VISITNUM")
	if text == "" {
		return "", r.fault(events.Required, "VISITNUM", "is missing")
	}
	if !visitForm.MatchString(text) {
		return "", r.fault(events.Invalid, "VISITNUM", "%s is not a number such as 9.2", Printable(text))
	}
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text, nil
}

func (d *dataset) addFinding(s *subject, study, id string, r row) (place, error) {
	number, err := visitNumber(r)
	if err != nil {
		return place{}, err
	}
	number = d.keep(number)
	if s == nil {
		s = d.newSubject(d.keep(study), d.keep(id))
	}
	s.findings[number] = append(s.findings[number], finding{
		line:   r.line,
		date:   d.keep(r.get("TRDTC")),
		group:  d.keep(r.get("TRGRPID")),
		lesion: d.keep(r.get("TRLNKID")),
		test:   d.keep(r.get("TRTESTCD")),
		result: d.keep(r.get("TRSTRESC")),
		unit:   d.keep(r.get("TRSTRESU")),
		status: d.keep(r.get("TRSTAT")),
		method: d.keep(r.get("TRMETHOD")),
	})
	return place{s, number}, nil
}

func (d *dataset) newSubject(study, id string) *subject {
	s := &subject{study: study, id: id, findings: map[string][]finding{}, organs: map[string]organ{}, lost: map[string]string{}}
	if d.studies[study] == nil {
		d.studies[study] = map[string]*subject{}
	}
	d.studies[study][id] = s
	d.size += subjectSize
	return s
}

// addOrgan keeps where a lesion is; the first row that says so counts.
func (d *dataset) addOrgan(s *subject, r row) {
	lesion, name := r.get("TULNKID"), r.get("TULOC")
	if s == nil || lesion == "" || name == "" {
		return
	}
	first, known := s.organs[lesion]
	switch {
	case !known:
		s.organs[d.keep(lesion)] = organ{r.line, d.keep(name)}
	case first.name != name:
		s.warnings = append(s.warnings, fmt.Sprintf("%s:%d: TULOC: lesion %s is in %s here; %s of line %d is taken",
			lesionsDomain.file, r.line, Printable(lesion), Printable(name), Printable(first.name), first.line))
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
	number = d.keep(number)
	s.responses = append(s.responses, response{
		line: r.line, visit: number, date: d.keep(r.get("RSDTC")), result: d.keep(r.get("RSSTRESC")),
	})
	return place{s, number}, nil
}

// place is where a row belongs.
type place struct {
	subject *subject
	visit   string // empty where it is of no particular one
}

// lostRow warns around a row that was refused because nobody knows where it
// belongs: most likely, to the visit of the row before it or behind it.
type lostRow struct {
	last    place
	pending string
}

func (l *lostRow) row(f *Refusal) {
	l.pending = fmt.Sprintf("%s:%d was refused and may belong here", filepath.Base(f.File), f.Line)
	l.warn(l.last)
}

func (l *lostRow) around(at place) {
	if l.pending != "" {
		l.warn(at)
		l.pending = ""
	}
	l.last = at
}

func (l *lostRow) warn(at place) {
	if at.subject == nil {
		return
	}
	if _, warned := at.subject.lost[at.visit]; !warned {
		at.subject.lost[at.visit] = l.pending
	}
}
