package intake

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"

	"github.com/seed-e88a4ece/signoff/events"
)

// visit is a subject's visit, or one date of a visit that is split by date,
// on its way to an assessment.
type visit struct {
	number     string // VISITNUM
	date       string // TRDTC where the visit is split
	line       int    // of its first row
	effective  string // earliest TRDTC; empty if none is good
	findings   []finding
	lesions    map[string]*looked
	sum        *sum // SUMDIAM
	assessment events.Assessment
	warnings   []string

	fault   *Refusal // why it is refused
	unknown bool     // whether its value is not known, because of the fault
}

// refuse refuses the visit unless it is already.
func (v *visit) refuse(line int, err *events.Error) {
	if v.fault == nil {
		v.fault = &Refusal{Line: line, Err: err}
	}
}

// refuseValue refuses it for a reason that leaves its value unknown.
func (v *visit) refuseValue(line int, err *events.Error) {
	v.refuse(line, err)
	v.unknown = true
}

func (v *visit) warnf(format string, args ...any) {
	v.warnings = append(v.warnings, fmt.Sprintf(format, args...))
}

// key is what a later import finds the visit by.
func (v *visit) key(evaluator string) *events.Visit {
	return &events.Visit{Evaluator: evaluator, Number: v.number, Date: v.date}
}

// shown names the visit in a message.
func (v *visit) shown() string {
	if v.date != "" {
		return v.number + " of " + v.date
	}
	return v.number
}

// visits gives the subject's visits in order, each judged, but not yet
// numbered among the cases.
func (s *subject) visits() []*visit {
	var visits []*visit
	for _, number := range slices.Sorted(maps.Keys(s.findings)) {
		visits = append(visits, split(number, s.findings[number])...)
	}
	for _, v := range visits {
		v.read()
	}
	slices.SortStableFunc(visits, before)
	s.requireOrder(visits)
	for i, v := range visits {
		v.begin(s, i)
	}
	measure(visits)
	s.respond(visits)
	s.passWarnings(visits)
	return visits
}

// before orders visits by effective date as text, then by VISITNUM.
func before(a, b *visit) int {
	return cmp.Or(cmp.Compare(a.effective, b.effective), compareNumbers(a.number, b.number))
}

func compareNumbers(a, b string) int {
	x, _ := strconv.ParseFloat(a, 64) // at most 18 digits, only to order them
	y, _ := strconv.ParseFloat(b, 64)
	return cmp.Or(cmp.Compare(x, y), cmp.Compare(a, b))
}

// split makes one visit of the findings, or one for each date if a test of a
// lesion is there twice.
func split(number string, findings []finding) []*visit {
	if !repeats(findings) {
		return []*visit{{number: number, line: findings[0].line, findings: findings}}
	}
	byDate := map[string]*visit{}
	for _, f := range findings {
		v := byDate[f.date]
		if v == nil {
			v = &visit{number: number, date: f.date, line: f.line}
			byDate[f.date] = v
		}
		v.findings = append(v.findings, f)
	}
	var visits []*visit
	for _, date := range slices.Sorted(maps.Keys(byDate)) {
		visits = append(visits, byDate[date])
	}
	return visits
}

// repeats reports whether a test of a lesion is there twice.
func repeats(findings []finding) bool {
	type test struct{ lesion, code string }
	seen := make(map[test]bool, len(findings))
	for _, f := range findings {
		t := test{f.lesion, f.test}
		if f.lesion != "" && seen[t] {
			return true
		}
		seen[t] = true
	}
	return false
}

// requireOrder refuses all visits of a subject of whom one has no date: which
// follow-up the others are cannot be known.
func (s *subject) requireOrder(visits []*visit) {
	undated := slices.IndexFunc(visits, func(v *visit) bool { return v.effective == "" })
	if undated < 0 {
		return
	}
	bad := visits[undated]
	bad.refuse(bad.line, events.Fieldf("TRDTC", "no row of the visit has a date"))
	for _, v := range visits {
		v.refuse(v.line, events.Fieldf("VISITNUM", "visit %s has no place among the subject's visits while visit %s has no good date (line %d)",
			v.shown(), bad.shown(), bad.fault.Line))
	}
}

// begin fills in what the assessment says whatever was measured.
func (v *visit) begin(s *subject, index int) {
	v.assessment = events.Assessment{
		Study: s.study, SponsorStudy: s.study, TrialName: s.study, Criteria: events.Criteria,
		Name: events.Baseline, Timepoint: int32(index), Subject: s.id, Effective: v.effective,
	}
	if index > 0 {
		v.assessment.Name = events.FollowUp(index)
	}
	v.assessment.Lesions = v.lesionsOf(s)
}

// passWarnings hands the subject's warnings to its visits.
func (s *subject) passWarnings(visits []*visit) {
	for _, v := range visits {
		if text, ok := s.lost[v.number]; ok {
			v.warnings = append(v.warnings, text)
		}
	}
	if text, ok := s.lost[""]; ok {
		s.warnings = append(s.warnings, text)
	}
	visits[0].warnings = append(visits[0].warnings, s.warnings...)
}

// columns are those that the fields of an assessment come from.
var columns = map[string]string{
	"study": "STUDYID", "sponsorStudy": "STUDYID", "trialName": "STUDYID", "subject": "USUBJID",
	"name": "VISITNUM", "timepoint": "VISITNUM", "effective": "TRDTC", "conclusion": "RSSTRESC",
	"measurement.value": "TRSTRESC", "measurement.changeFromPrevious": "TRSTRESC",
	"measurement.changeFromBaseline": "TRSTRESC", "measurement.changeFromNadir": "TRSTRESC",
	"lesions": "TRLNKID", "lesions[].id": "TRLNKID", "lesions[].organ": "TULOC",
}

var index = regexp.MustCompile(`\[\d+\]`)

// sdtmColumn names, in the refusal of an assessment, the column instead of the
// field.
func sdtmColumn(err error) *events.Error {
	e := *AsError(err, "")
	e.Field = cmp.Or(columns[index.ReplaceAllString(e.Field, "[]")], e.Field)
	return &e
}
