package sdtm

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/cockroachdb/apd/v3"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/intake"
)

// Kinds of warnings, by which they are counted.
const (
	kindNoValue   = "no sum of diameters"
	kindSum       = "sum of diameters"
	kindTargets   = "target lesions differ from the baseline's"
	kindSplit     = "split or merged lesion"
	kindOrder     = "order of visits"
	kindCase      = "case registered again"
	kindEarlier   = "visit without VISITNUM"
	kindResponse  = "response"
	kindCriteria  = "criteria"
	kindEvaluator = "evaluator"
	kindOrgan     = "organ"
	kindAxis      = "axis"
	kindMethod    = "TRMETHOD"
	kindUnit      = "unit"
	kindNumber    = "TRSTRESN"
	kindStatus    = "TRSTAT"
	kindDate      = "date"
	kindRefused   = "row refused"
	kindReplaced  = "registered visit replaced"
)

// visit is a subject's visit, or one date of a visit that is split by date,
// while it becomes an assessment; or one that is registered and that the
// delivery lacks.
type visit struct {
	number     string // VISITNUM; empty where it was not imported from SDTM
	date       string // TRDTC up to the day, where the visit is split
	line       int    // of its first row
	rows       []result
	effective  date // the earliest
	coarse     bool // whether less than the day is certain of any of its dates
	lesions    map[string]*lesion
	sum        *length // SUMDIAM
	assessment events.Assessment
	warnings   []intake.Warning

	absent bool               // the delivery lacks it; the assessment is the registered one
	stored *events.KnownVisit // what is registered of the visit; nil for a new one
	again  bool               // absent, and to be registered in the next revision of the case

	valid        bool            // whether the assessment was validated
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

func (v *visit) warnf(kind, format string, args ...any) {
	v.warnings = append(v.warnings, intake.Warning{Kind: kind, Text: fmt.Sprintf(format, args...)})
}

// key returns what a later import finds the visit by.
func (v *visit) key(evaluator string) *events.Visit {
	return &events.Visit{Evaluator: evaluator, Number: v.number, Date: v.date}
}

// name returns the name of the visit in messages.
func (v *visit) name() string {
	switch {
	case v.number == "":
		return "of assessment " + v.assessment.ID
	case v.date != "":
		return v.number + " of " + intake.Printable(v.date)
	}
	return v.number
}

// withdrawn reports whether the visit is registered, signed and withdrawn, and
// stays so.
func (v *visit) withdrawn() bool {
	return v.stored != nil && v.stored.Withdrawn && (v.absent || v.sameContent())
}

// sameContent reports whether the visit is what is registered of it, apart from
// what depends on other visits.
func (v *visit) sameContent() bool {
	a, b := v.assessment, v.stored.Latest
	return a.Effective == b.Effective && a.Conclusion == b.Conclusion && v.sameLesions(b)
}

// visits makes visits of the subject's rows, ordered by VISITNUM and date.
func (s *subject) visits() []*visit {
	var visits []*visit
	for _, number := range slices.Sorted(maps.Keys(s.results)) {
		visits = append(visits, split(number, s.results[number])...)
	}
	for _, v := range visits {
		v.assessment = events.Assessment{
			Study: s.study, SponsorStudy: s.study, TrialName: s.study, Criteria: events.Criteria, Subject: s.id,
		}
		v.sortRows(s)
		if v.assessment.Effective = v.effective.text; !v.effective.isSet() {
			v.refuse(v.line, events.Fieldf("TRDTC", "no row of the visit has a date"))
		}
		v.assessment.Lesions = v.assessedLesions()
	}
	return visits
}

// split makes one visit of the rows, or one for each day if the rows have
// different results of a test of a lesion on different days.
func split(number string, rows []result) []*visit {
	if !repeats(rows) {
		return []*visit{{number: number, line: rows[0].line, rows: rows}}
	}
	byDay := map[string]*visit{}
	for _, r := range rows {
		if d, err := parseDate(r.date); err != nil || !d.isSet() { // it may be of any of the days
			v := &visit{number: number, line: rows[0].line, rows: rows}
			v.refuseValue(r.line, events.Fieldf("TRDTC", "visit %s has different values of a lesion on different dates, and the date of this row is unknown: %s; give it to the day",
				number, intake.Printable(r.date)))
			return []*visit{v}
		}
		day := dayOf(r.date)
		v := byDay[day]
		if v == nil {
			v = &visit{number: number, date: day, line: r.line}
			byDay[day] = v
		}
		v.rows = append(v.rows, r)
	}
	var visits []*visit
	for _, day := range slices.Sorted(maps.Keys(byDay)) {
		visits = append(visits, byDay[day])
	}
	refuseOverlap(visits)
	return visits
}

// dayOf returns the day of a date of SDTM, or its text where it is none.
func dayOf(text string) string {
	if d, err := parseDate(text); err == nil {
		return d.day()
	}
	return text
}

// refuseOverlap refuses the dates of a visit that may be the same day.
func refuseOverlap(visits []*visit) {
	var last date // the one that ends last
	var of *visit
	for _, v := range visits {
		d, err := parseDate(v.date)
		if err != nil || !d.isSet() {
			continue
		}
		if of != nil && !last.isBefore(d) {
			for _, w := range []*visit{of, v} {
				w.refuseValue(w.line, events.Fieldf("TRDTC", "visit %s has different values of a lesion that may be of one date, %s or %s; give both dates to the day",
					v.number, intake.Printable(of.date), intake.Printable(v.date)))
			}
		}
		if of == nil || d.period.Until.After(last.period.Until) {
			last, of = d, v
		}
	}
}

// repeats reports whether a test of a lesion has different results on different
// days.
func repeats(rows []result) bool {
	type test struct{ lesion, code string }
	first := make(map[test]result, len(rows))
	for _, r := range rows {
		if r.blank() {
			continue
		}
		t := test{r.lesion, r.test}
		other, twice := first[t]
		if !twice {
			first[t] = r
		} else if r.lesion != "" && other.date != r.date && dayOf(other.date) != dayOf(r.date) && !other.equal(r) {
			return true
		}
	}
	return false
}

// sortRows sorts the rows by lesion and reads the values in them.
func (v *visit) sortRows(s *subject) {
	v.lesions = map[string]*lesion{}
	last := "" // most rows of a visit have the date of the row before
	for _, r := range v.rows {
		if r.date != last {
			v.addDate(r)
			last = r.date
		}
		switch {
		case r.test == "" && !r.blank():
			v.refuseValue(r.line, events.Fieldf("TRTESTCD", "is missing, so it is unknown what the result is of"))
		case r.test == testSum:
			v.addSum(r)
		case r.lesion != "":
			v.addLesion(s, r)
		case slices.Contains([]string{testDiameter, testLongAxis, testShortAxis, testState, testNodeState}, r.test):
			v.refuseValue(r.line, events.Fieldf("TRLNKID", "is missing"))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(v.lesions)) {
		v.measure(id, v.lesions[id])
	}
	v.rows = nil
}

// addDate keeps the earliest date.
func (v *visit) addDate(r result) {
	if r.date == "" {
		return
	}
	d, err := parseDate(r.date)
	switch {
	case err != nil:
		v.refuse(r.line, intake.AsError(err, "TRDTC"))
		return
	case !d.isSet():
		v.warnf(kindDate, "%s:%d: TRDTC: %s has no year and is left out", resultsDomain.file, r.line, intake.Printable(r.date))
		return
	}
	v.coarse = v.coarse || d.coarse
	if !v.effective.isSet() || d.compare(v.effective) < 0 {
		v.effective = d
	}
}

func (v *visit) addSum(r result) {
	if r.group != "" && categories[r.group] != categoryTarget {
		v.warnf(kindSum, "%s:%d: TRGRPID: SUMDIAM of %s is not that of the target lesions and is left out",
			resultsDomain.file, r.line, intake.Printable(r.group))
		return
	}
	sum, err := v.read(r)
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

// compareNumbers compares two VISITNUMs in their canonical form.
func compareNumbers(a, b string) int {
	x, _, _ := apd.NewFromString(cmp.Or(a, "0"))
	y, _, _ := apd.NewFromString(cmp.Or(b, "0"))
	if x == nil || y == nil {
		return cmp.Compare(a, b)
	}
	return cmp.Or(x.Cmp(y), cmp.Compare(a, b))
}

// distributeWarnings adds the subject's warnings to its visits; to the first,
// those of no particular visit.
func (s *subject) distributeWarnings(visits []*visit) {
	var first *visit
	for _, v := range visits {
		if v.absent {
			continue
		}
		if first == nil {
			first = v
		}
		if w, ok := s.refused[v.number]; ok {
			v.warnings = append(v.warnings, w)
		}
	}
	if w, ok := s.refused[""]; ok {
		s.warnings = append(s.warnings, w)
	}
	first.warnings = append(first.warnings, s.warnings...)
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
