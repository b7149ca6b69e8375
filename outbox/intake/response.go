package intake

import (
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
)

// conclusions translates RSSTRESC of the overall response.
var conclusions = map[string]string{
	"CR": "Complete Response", "PR": "Partial Response", "SD": "Stable Disease", "PD": "Progressive Disease",
	"NE": "Not Evaluable", "NON-CR/NON-PD": "Non-CR/Non-PD",
}

// respond gives each visit its conclusion from the subject's responses.
func (s *subject) respond(visits []*visit) {
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
				responsesDomain.file, r.line, Printable(r.result), r.visit))
		}
	}
}

// conclude takes the visit's overall response.
func (v *visit) conclude(responses []response, used []bool) {
	var taken *response
	for i, r := range responses {
		if r.visit != v.number || v.date != "" && r.date != v.date {
			continue
		}
		used[i] = true
		if r.result == "" {
			continue
		}
		if taken != nil && taken.result != r.result {
			v.refuse(r.line, events.Fieldf("RSSTRESC", "the overall response of visit %s is %s here and %s in line %d", v.shown(), Printable(r.result), Printable(taken.result), taken.line))
			v.fault.File = responsesDomain.file
		}
		taken = &r
	}
	if taken == nil {
		return
	}
	if known, ok := conclusions[taken.result]; ok {
		v.assessment.Conclusion = known
		return
	}
	v.warnf("%s:%d: RSSTRESC: %s is no response of RECIST 1.1; the conclusion is %q", responsesDomain.file, taken.line, Printable(taken.result), v.assessment.Conclusion)
}
