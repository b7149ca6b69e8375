package sdtm

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/intake"
)

// conclusions are the conclusions by RSSTRESC of the overall response.
var conclusions = map[string]string{
	"CR": "Complete Response", "PR": "Partial Response", "SD": "Stable Disease", "PD": "Progressive Disease",
	"NE": "Not Evaluable", "NON-CR/NON-PD": "Non-CR/Non-PD",
}

// criteria is by which criteria the responses of rs.csv are.
type criteria struct {
	categories bool           // whether any row of the file has an RSCAT
	left       map[string]int // overall responses that were left out, by RSCAT
	first      int            // line of the first of them
	blank      tally          // overall responses of a file in which no row has an RSCAT
	orphans    []orphan
}

// orphan is an overall response of a subject that tr.csv does not have.
type orphan struct {
	study, subject string
	response
}

// selectResponses leaves out the responses by other criteria than RECIST 1.1,
// and adds a warning for each that is of a subject without measurements.
func (d *dataset) selectResponses() {
	d.eachSubject(func(s *subject) {
		s.responses = slices.DeleteFunc(s.responses, func(r response) bool { return !d.responses.take(r) })
	})
	for _, o := range d.responses.orphans {
		if d.responses.take(o.response) {
			d.warnf(kindResponse, "%s:%d: USUBJID: the overall response %s is left out, as tr.csv has no record of subject %s of study %s",
				responsesDomain.file, o.line, intake.Printable(o.value), intake.Printable(o.subject), intake.Printable(o.study))
		}
	}
	d.responses.warn(d)
}

// take reports whether a response counts, and counts those that do not.
func (c *criteria) take(r response) bool {
	switch {
	case !c.categories:
		c.blank = tally{rows: c.blank.rows + 1, first: earlier(c.blank.first, r.line)}
		return true
	case r.category == events.Criteria:
		return true
	}
	if len(c.left) < maxEvaluators || c.left[r.category] > 0 {
		c.left[r.category]++
	} else {
		c.left["others"]++
	}
	c.first = earlier(c.first, r.line)
	return false
}

// earlier returns the earlier of two lines, of which the first may be 0.
func earlier(first, line int) int {
	if first == 0 {
		return line
	}
	return min(first, line)
}

func (c *criteria) warn(d *dataset) {
	if c.blank.rows > 0 {
		d.warnf(kindCriteria, "%s:%d: RSCAT: no row names criteria; the overall responses are taken as by %s", responsesDomain.file, c.blank.first, events.Criteria)
	}
	if len(c.left) == 0 {
		return
	}
	total := 0
	var words []string
	for _, category := range slices.Sorted(maps.Keys(c.left)) {
		total += c.left[category]
		words = append(words, fmt.Sprintf("%d by %s", c.left[category], intake.Printable(category)))
	}
	d.warnf(kindCriteria, "%s:%d: RSCAT: overall responses that are not by %s are left out: %d (%s)",
		responsesDomain.file, c.first, events.Criteria, total, strings.Join(words, ", "))
}

// conclude sets the conclusions of the visits, and adds a warning for each
// response that belongs to none of them.
func (s *subject) conclude(visits []*visit) {
	used := make([]bool, len(s.responses))
	byNumber := map[string][]*visit{}
	for i, v := range visits {
		byNumber[v.number] = append(byNumber[v.number], v)
		if v.absent {
			continue
		}
		v.assessment.Conclusion = withoutResponse(i == 0)
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

// agrees reports whether a response is the one of a visit that is registered and
// that the delivery has no measurements of.
func (v *visit) agrees(r response) bool {
	return v.absent && (v.date == "" || sameDay(r.date, v.date)) && (r.value == "" || conclusions[r.value] == v.assessment.Conclusion)
}

// sameDay reports whether a date of SDTM is of the day.
func sameDay(text, day string) bool {
	d, err := parseDate(text)
	return err == nil && d.day() == day || text == day
}

// conclude sets the conclusion from the overall response of the visit, if there
// is one, and marks the responses that belong to the visit.
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
