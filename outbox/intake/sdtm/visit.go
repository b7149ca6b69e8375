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

// Values of intake.Warning.Kind.
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

// visit is a visit of a subject while it becomes an assessment. It is one of three:
// all rows of a VISITNUM; the rows of one date of a VISITNUM, where split divides
// the visit by date; or an absent visit, which is registered and has no rows in the
// delivery.
type visit struct {
	number     string // VISITNUM; empty if it was not imported from SDTM
	date       string // TRDTC up to the day if the visit is split by date; else empty
	line       int    // of its first row
	rows       []result
	effective  date // the earliest TRDTC of its rows
	dayUnknown bool // whether the day of one of its dates is unknown
	lesions    map[string]*lesion
	sum        *length // SUMDIAM
	assessment events.Assessment
	warnings   []intake.Warning

	absent        bool               // the delivery lacks it; the assessment is the registered one
	stored        *events.KnownVisit // the registered assessment of the visit; nil if it is new
	registerAgain bool               // absent, and to be registered in the next revision of the case

	validated    bool            // whether the assessment was validated
	refusal      *intake.Refusal // nil unless the visit is refused
	valueUnknown bool            // whether the refusal leaves the sum of diameters unknown
}

// refuse refuses the visit, unless it is refused already.
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

// key returns the registered key by which a later import finds the visit.
func (v *visit) key(evaluator string) *events.Visit {
	return &events.Visit{Evaluator: evaluator, Number: v.number, Date: v.date}
}

// name returns what follows the word "visit" in messages: the VISITNUM, with the day if
// the visit is split by date. An assessment that was not imported from SDTM has no
// VISITNUM, and its id is named instead.
func (v *visit) name() string {
	switch {
	case v.number == "":
		return "of assessment " + v.assessment.ID
	case v.date != "":
		return v.number + " of " + intake.Printable(v.date)
	}
	return v.number
}

// withdrawn reports whether the registered assessment of the visit is withdrawn and
// this delivery does not replace it.
func (v *visit) withdrawn() bool {
	return v.stored != nil && v.stored.Withdrawn && (v.absent || v.sameContent())
}

// sameContent reports whether the date, conclusion, lesions and sum of diameters are
// those that are registered. Name, timepoint and changes are not compared, because
// they depend on other visits. The visit must be registered.
func (v *visit) sameContent() bool {
	a, b := v.assessment, v.stored.Latest
	return a.Effective == b.Effective && a.Conclusion == b.Conclusion && v.sameLesions(b)
}

// visits makes visits of the subject's rows, with their dates and lesions. They are
// sorted by the text of VISITNUM and the date; arrange brings them into their order.
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

// split makes one visit of the rows of a VISITNUM. If they have different results of
// the same test of a lesion on different days, it makes one visit for each day.
func split(number string, rows []result) []*visit {
	if !differsByDay(rows) {
		return []*visit{{number: number, line: rows[0].line, rows: rows}}
	}
	byDay := map[string]*visit{}
	for _, r := range rows {
		if d, err := parseDate(r.date); err != nil || !d.isSet() { // the row could belong to any of the days
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

// dayOf returns the day of a date of SDTM, or the text itself if it is not a date.
func dayOf(text string) string {
	if d, err := parseDate(text); err == nil {
		return d.day()
	}
	return text
}

// refuseOverlap gets the visits that split made of one VISITNUM, sorted by date. It
// refuses those of which two may be of the same day, such as 2024-03 and 2024-03-06.
func refuseOverlap(visits []*visit) {
	var last date // of the visits so far, the date that ends last
	var lastVisit *visit
	for _, v := range visits {
		d, err := parseDate(v.date)
		if err != nil || !d.isSet() {
			continue
		}
		if lastVisit != nil && !last.isBefore(d) {
			for _, w := range []*visit{lastVisit, v} {
				w.refuseValue(w.line, events.Fieldf("TRDTC", "visit %s has different values of a lesion that may be of one date, %s or %s; give both dates to the day",
					v.number, intake.Printable(lastVisit.date), intake.Printable(v.date)))
			}
		}
		if lastVisit == nil || d.period.Until.After(last.period.Until) {
			last, lastVisit = d, v
		}
	}
}

// differsByDay reports whether a test of a lesion has different results on different
// days. Rows without a result are ignored.
func differsByDay(rows []result) bool {
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

// sortRows assigns each row to its lesion or to the sum of diameters, and reads the
// dates and the diameters. Rows of other tests are ignored. It releases the rows.
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

// addDate keeps the date of the row if it is the earliest so far. A date without a
// year is left out with a warning.
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
	v.dayUnknown = v.dayUnknown || d.dayUnknown
	if !v.effective.isSet() || d.compare(v.effective) < 0 {
		v.effective = d
	}
}

// addSum reads a row of SUMDIAM. It leaves out the sum of another group than the
// target lesions. Two different sums refuse the visit.
func (v *visit) addSum(r result) {
	if r.group != "" && categories[r.group] != categoryTarget {
		v.warnf(kindSum, "%s:%d: TRGRPID: SUMDIAM of %s is not that of the target lesions and is left out",
			resultsDomain.file, r.line, intake.Printable(r.group))
		return
	}
	sum, err := v.readLength(r)
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

// compareNumbers compares two VISITNUMs in their canonical form. An empty one is 0.
func compareNumbers(a, b string) int {
	x, _, _ := apd.NewFromString(cmp.Or(a, "0"))
	y, _, _ := apd.NewFromString(cmp.Or(b, "0"))
	if x == nil || y == nil {
		return cmp.Compare(a, b)
	}
	return cmp.Or(x.Cmp(y), cmp.Compare(a, b))
}

// distributeWarnings adds the subject's warnings to its delivered visits, of which
// there is at least one. The first visit gets the warnings of no particular visit.
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

// columns maps each field of an assessment to the column that it is read from.
var columns = map[string]string{
	"study": "STUDYID", "sponsorStudy": "STUDYID", "trialName": "STUDYID", "subject": "USUBJID",
	"name": "VISITNUM", "timepoint": "VISITNUM", "effective": "TRDTC", "conclusion": "RSSTRESC",
	"measurement.value": "TRSTRESC", "measurement.changeFromPrevious": "TRSTRESC",
	"measurement.changeFromBaseline": "TRSTRESC", "measurement.changeFromNadir": "TRSTRESC",
	"lesions": "TRLNKID", "lesions[].id": "TRLNKID", "lesions[].organ": "TULOC",
}

var index = regexp.MustCompile(`\[\d+\]`)

// withColumn returns err with the column in place of the field of the assessment.
func withColumn(err error) *events.Error {
	e := *intake.AsError(err, "")
	e.Field = cmp.Or(columns[index.ReplaceAllString(e.Field, "[]")], e.Field)
	return &e
}
