package sdtm

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/intake"
)

// conclusions maps RSSTRESC of the overall response to the conclusion.
var conclusions = map[string]string{
	"CR": "Complete Response", "PR": "Partial Response", "SD": "Stable Disease", "PD": "Progressive Disease",
	"NE": "Not Evaluable", "NON-CR/NON-PD": "Non-CR/Non-PD",
}

// criteria decides which overall responses of rs.csv are used. If any row of the
// file has an RSCAT, only those by RECIST 1.1 are; otherwise all are.
type criteria struct {
	categories      bool           // whether any row of the file has an RSCAT
	leftOut         map[string]int // overall responses that were left out, by RSCAT
	first           int            // line of the first response that was left out
	withoutCategory tally          // overall responses of a file in which no row has an RSCAT
	orphans         []orphan
}

// orphan is an overall response of a subject that tr.csv does not have.
type orphan struct {
	study, subject string
	response
}

// selectResponses removes the responses by other criteria than RECIST 1.1. It adds
// a warning for each remaining response of a subject that tr.csv does not have,
// and one for each kind of decision that criteria took. It runs after rs.csv has
// been read.
func (d *dataset) selectResponses() {
	d.eachSubject(func(s *subject) {
		s.responses = slices.DeleteFunc(s.responses, func(r response) bool { return !d.responses.accept(r) })
	})
	for _, o := range d.responses.orphans {
		if d.responses.accept(o.response) {
			d.warnf(kindResponse, "%s:%d: USUBJID: the overall response %s is left out, as tr.csv has no record of subject %s of study %s",
				responsesDomain.file, o.line, intake.Printable(o.value), intake.Printable(o.subject), intake.Printable(o.study))
		}
	}
	d.responses.warn(d)
}

// accept reports whether a response is used. It records, for the warnings, the
// responses that are left out, and those that are used without an RSCAT.
func (c *criteria) accept(r response) bool {
	switch {
	case !c.categories:
		c.withoutCategory = tally{rows: c.withoutCategory.rows + 1, first: earlier(c.withoutCategory.first, r.line)}
		return true
	case r.category == events.Criteria:
		return true
	}
	// Beyond maxEvaluators categories, the rest is one entry, so that memory is bounded.
	if len(c.leftOut) < maxEvaluators || c.leftOut[r.category] > 0 {
		c.leftOut[r.category]++
	} else {
		c.leftOut["others"]++
	}
	c.first = earlier(c.first, r.line)
	return false
}

// earlier returns the lower of two line numbers. The first may be 0 for none.
func earlier(first, line int) int {
	if first == 0 {
		return line
	}
	return min(first, line)
}

// warn adds a warning about the responses used without an RSCAT, and one about those
// left out.
func (c *criteria) warn(d *dataset) {
	if c.withoutCategory.rows > 0 {
		d.warnf(kindCriteria, "%s:%d: RSCAT: no row names criteria; the overall responses are taken as by %s", responsesDomain.file, c.withoutCategory.first, events.Criteria)
	}
	if len(c.leftOut) == 0 {
		return
	}
	total := 0
	var words []string
	for _, category := range slices.Sorted(maps.Keys(c.leftOut)) {
		total += c.leftOut[category]
		words = append(words, fmt.Sprintf("%d by %s", c.leftOut[category], intake.Printable(category)))
	}
	d.warnf(kindCriteria, "%s:%d: RSCAT: overall responses that are not by %s are left out: %d (%s)",
		responsesDomain.file, c.first, events.Criteria, total, strings.Join(words, ", "))
}

// conclude sets the conclusions of the delivered visits, which are in their order.
// It adds a warning for each response that belongs to no visit. A response of an
// absent visit causes none if it agrees with what is registered.
func (s *subject) conclude(visits []*visit) {
	used := make([]bool, len(s.responses))
	byNumber := map[string][]*visit{}
	for i, v := range visits {
		byNumber[v.number] = append(byNumber[v.number], v)
		if v.absent {
			continue
		}
		v.assessment.Conclusion = withoutResponse(i == 0) // the first visit is the baseline
		v.conclude(s.responses, used)
	}
	for i, r := range s.responses {
		if used[i] || slices.ContainsFunc(byNumber[r.visit], func(v *visit) bool { return v.agrees(r) }) {
			continue
		}
		why := fmt.Sprintf("tr.csv has no visit %s", r.visit)
		if slices.ContainsFunc(byNumber[r.visit], func(v *visit) bool { return !v.absent }) {
			why += " of that date"
		}
		s.warnf(kindResponse, "%s:%d: VISITNUM: the overall response %s is left out, as %s",
			responsesDomain.file, r.line, intake.Printable(r.value), why)
	}
}

// withoutResponse returns the conclusion of a visit that has no response.
func withoutResponse(baseline bool) string {
	if baseline {
		return "No"
	}
	return "Undefined"
}

// agrees reports whether the visit is absent and the response is the one that is
// registered of it, or is blank.
func (v *visit) agrees(r response) bool {
	return v.absent && (v.date == "" || sameDay(r.date, v.date)) && (r.value == "" || conclusions[r.value] == v.assessment.Conclusion)
}

// sameDay reports whether a date of SDTM is of the day, or is the same text as day
// where that is not a date.
func sameDay(text, day string) bool {
	d, err := parseDate(text)
	return err == nil && d.day() == day || text == day
}

// conclude sets the conclusion from the overall response of the visit, if there
// is one. It sets used for each response that belongs to the visit. Different
// responses for one visit refuse it; an unknown response is a warning.
func (v *visit) conclude(responses []response, used []bool) {
	var overall *response
	for i, r := range responses {
		if r.visit != v.number || v.date != "" && !sameDay(r.date, v.date) {
			continue
		}
		used[i] = true
		if r.value == "" {
			continue
		}
		if overall != nil && overall.value != r.value {
			v.refuse(r.line, events.Fieldf("RSSTRESC", "the overall response of visit %s is %s here and %s in line %d",
				v.name(), intake.Printable(r.value), intake.Printable(overall.value), overall.line))
			v.refusal.File = responsesDomain.file
		}
		overall = &r
	}
	if overall == nil {
		return
	}
	if conclusion, ok := conclusions[overall.value]; ok {
		v.assessment.Conclusion = conclusion
		return
	}
	v.warnf(kindResponse, "%s:%d: RSSTRESC: %s is no response of RECIST 1.1; the conclusion is %q",
		responsesDomain.file, overall.line, intake.Printable(overall.value), v.assessment.Conclusion)
}
