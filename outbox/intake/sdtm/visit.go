package sdtm

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/intake"
)

// visit is a subject's visit, or one date of a visit that is split by date,
// while it becomes an assessment.
type visit struct {
	number     string // VISITNUM
	date       string // TRDTC where the visit is split
	line       int    // of its first row
	rows       []result
	effective  string // earliest TRDTC; empty where no date is valid
	lesions    map[string]*lesionRows
	sum        *length // SUMDIAM
	assessment events.Assessment
	warnings   []string

	refusal      *intake.Refusal // nil unless the visit is refused
	valueUnknown bool            // whether the refusal leaves the sum of diameters unknown
}

// refuse refuses the visit. The first refusal counts.
func (v *visit) refuse(line int, err *events.Error) {
	if v.refusal == nil {
		v.refusal = &intake.Refusal{Line: line, Err: err}
	}
}

// refuseValue refuses the visit for a reason that leaves the sum of diameters
// unknown.
func (v *visit) refuseValue(line int, err *events.Error) {
	v.refuse(line, err)
	v.valueUnknown = true
}

func (v *visit) warnf(format string, args ...any) {
	v.warnings = append(v.warnings, fmt.Sprintf(format, args...))
}

// key returns what a later import finds the visit by.
func (v *visit) key(evaluator string) *events.Visit {
	return &events.Visit{Evaluator: evaluator, Number: v.number, Date: v.date}
}

// name returns the name of the visit in messages.
func (v *visit) name() string {
	if v.date != "" {
		return v.number + " of " + v.date
	}
	return v.number
}

// visits makes visits of the subject's rows and returns them in order, with
// their assessments complete but for ids and revisions.
func (s *subject) visits() []*visit {
	var visits []*visit
	for _, number := range slices.Sorted(maps.Keys(s.results)) {
		visits = append(visits, split(number, s.results[number])...)
	}
	for _, v := range visits {
		v.sortRows()
	}
	slices.SortStableFunc(visits, func(a, b *visit) int {
		return cmp.Or(cmp.Compare(a.effective, b.effective), compareNumbers(a.number, b.number))
	})
	requireDates(visits)
	for i, v := range visits {
		v.begin(s, i)
	}
	measure(visits)
	s.conclude(visits)
	s.distributeWarnings(visits)
	return visits
}

func compareNumbers(a, b string) int {
	x, _ := strconv.ParseFloat(a, 64) // at most 18 digits, only to order them
	y, _ := strconv.ParseFloat(b, 64)
	return cmp.Or(cmp.Compare(x, y), cmp.Compare(a, b))
}

// split makes one visit of the rows, or one for each date if a test of a lesion
// is there twice.
func split(number string, rows []result) []*visit {
	if !repeats(rows) {
		return []*visit{{number: number, line: rows[0].line, rows: rows}}
	}
	byDate := map[string]*visit{}
	for _, r := range rows {
		v := byDate[r.date]
		if v == nil {
			v = &visit{number: number, date: r.date, line: r.line}
			byDate[r.date] = v
		}
		v.rows = append(v.rows, r)
	}
	var visits []*visit
	for _, date := range slices.Sorted(maps.Keys(byDate)) {
		visits = append(visits, byDate[date])
	}
	return visits
}

// repeats reports whether a test of a lesion is there twice.
func repeats(rows []result) bool {
	type test struct{ lesion, code string }
	seen := make(map[test]bool, len(rows))
	for _, r := range rows {
		t := test{r.lesion, r.test}
		if r.lesion != "" && seen[t] {
			return true
		}
		seen[t] = true
	}
	return false
}

// sortRows sorts the rows by lesion and reads the values in them.
func (v *visit) sortRows() {
	v.lesions = map[string]*lesionRows{}
	for _, r := range v.rows {
		v.addDate(r)
		switch {
		case r.test == testSum:
			v.addSum(r)
		case r.lesion != "":
			v.addLesion(r)
		case r.test == testDiameter || r.test == testState:
			v.refuseValue(r.line, events.Fieldf("TRLNKID", "is missing"))
		}
	}
	v.rows = nil
}

// addDate compares dates as text; the earliest counts.
func (v *visit) addDate(r result) {
	if r.date == "" {
		return
	}
	if err := events.ValidDateTime(r.date); err != nil {
		v.refuse(r.line, intake.AsError(err, "TRDTC"))
	} else if v.effective == "" || r.date < v.effective {
		v.effective = r.date
	}
}

func (v *visit) addSum(r result) {
	sum, err := readLength(r)
	switch {
	case err != nil:
		v.refuseValue(r.line, err)
	case sum == nil:
	case v.sum == nil:
		v.sum = sum
	case v.sum.compare(sum) != 0:
		v.refuseValue(r.line, events.Fieldf("TRSTRESC", "the sum of diameters is %s here and %s in line %d", sum.text, v.sum.text, v.sum.line))
	}
}

// requireDates refuses all visits of a subject if one has no date, because then
// it is unknown which follow-up each of the others is.
func requireDates(visits []*visit) {
	i := slices.IndexFunc(visits, func(v *visit) bool { return v.effective == "" })
	if i < 0 {
		return
	}
	undated := visits[i]
	undated.refuse(undated.line, events.Fieldf("TRDTC", "no row of the visit has a date"))
	for _, v := range visits {
		v.refuse(v.line, events.Fieldf("VISITNUM", "the place of visit %s among the subject's visits is unknown, because visit %s has no valid date (line %d)",
			v.name(), undated.name(), undated.refusal.Line))
	}
}

// begin fills in what does not depend on measurements.
func (v *visit) begin(s *subject, index int) {
	v.assessment = events.Assessment{
		Study: s.study, SponsorStudy: s.study, TrialName: s.study, Criteria: events.Criteria,
		Name: events.Baseline, Timepoint: int32(index), Subject: s.id, Effective: v.effective,
	}
	if index > 0 {
		v.assessment.Name = events.FollowUp(index)
	}
	v.assessment.Lesions = v.assessedLesions(s.organs)
}

// distributeWarnings adds the subject's warnings to its visits; to the first,
// those of no particular visit.
func (s *subject) distributeWarnings(visits []*visit) {
	for _, v := range visits {
		if text, ok := s.refused[v.number]; ok {
			v.warnings = append(v.warnings, text)
		}
	}
	if text, ok := s.refused[""]; ok {
		s.warnings = append(s.warnings, text)
	}
	visits[0].warnings = append(visits[0].warnings, s.warnings...)
}

// columns are the columns from which the fields of an assessment come.
var columns = map[string]string{
	"study": "STUDYID", "sponsorStudy": "STUDYID", "trialName": "STUDYID", "subject": "USUBJID",
	"name": "VISITNUM", "timepoint": "VISITNUM", "effective": "TRDTC", "conclusion": "RSSTRESC",
	"measurement.value": "TRSTRESC", "measurement.changeFromPrevious": "TRSTRESC",
	"measurement.changeFromBaseline": "TRSTRESC", "measurement.changeFromNadir": "TRSTRESC",
	"lesions": "TRLNKID", "lesions[].id": "TRLNKID", "lesions[].organ": "TULOC",
}

var index = regexp.MustCompile(`\[\d+\]`)

// withColumn replaces the field that the refusal of an assessment names by its
// column.
func withColumn(err error) *events.Error {
	e := *intake.AsError(err, "")
	e.Field = cmp.Or(columns[index.ReplaceAllString(e.Field, "[]")], e.Field)
	return &e
}
