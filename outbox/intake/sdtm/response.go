package sdtm

import (
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/intake"
)

// conclusions are the conclusions by RSSTRESC of the overall response.
var conclusions = map[string]string{
	"CR": "Complete Response", "PR": "Partial Response", "SD": "Stable Disease", "PD": "Progressive Disease",
	"NE": "Not Evaluable", "NON-CR/NON-PD": "Non-CR/Non-PD",
}

// conclude sets the conclusions of the visits, and adds a warning for each
// response that belongs to none of them.
func (s *subject) conclude(visits []*visit) {
	used := make([]bool, len(s.responses))
	for i, v := range visits {
		v.assessment.Conclusion = "Undefined"
		if i == 0 {
			v.assessment.Conclusion = "No"
		}
		v.conclude(s.responses, used)
	}
	for i, r := range s.responses {
		if !used[i] {
			s.warnings = append(s.warnings, fmt.Sprintf("%s:%d: VISITNUM: the overall response %s is left out, as tr.csv has no visit %s of that date",
				responsesDomain.file, r.line, intake.Printable(r.value), r.visit))
		}
	}
}

// conclude sets the conclusion from the overall response of the visit, if there
// is one, and marks the responses that belong to the visit.
func (v *visit) conclude(responses []response, used []bool) {
	var overall *response
	for i, r := range responses {
		if r.visit != v.number || v.date != "" && r.date != v.date {
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
	v.warnf("%s:%d: RSSTRESC: %s is no response of RECIST 1.1; the conclusion is %q",
		responsesDomain.file, overall.line, intake.Printable(overall.value), v.assessment.Conclusion)
}
