package trail_test

import (
	"encoding/json"
	"testing"

	"github.com/seed-e88a4ece/signoff/outbox/desk/trail"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

func TestSentences(t *testing.T) {
	for _, c := range []struct{ action, detail, want string }{
		{"assessment.registered", `{"caseRevision":2,"revision":3}`, "x registered case revision 2, revision 3."},
		{"assessment.replaced", `{}`, "x replaced the version that waited."},
		{"assessment.moved", `{"from":1,"study":"S","to":2}`, "x moved it from case 1 to case 2 of S."},
		{"assessment.returned", `{"reason":"r"}`, "x returned it to its source: “r”"},
		{"assessment.signed", `{"meaning":"m","sequence":7,"event":"e"}`, "x signed it: “m” It is event 7 of the study."},
		{
			"assessment.signed", `{"meaning":"m","sequence":7,"reason":"r","channel":"desk","passwordReset":"2026-01-01"}`,
			"x signed it at the desk: “m” It is event 7 of the study. Reason: “r” An operator had set the password at 2026-01-01, less than 72 hours before.",
		},
		{"report.superseded", `{"sequence":8}`, "x signed a higher revision of the case, which took it back. That is event 8 of the study."},
		{"report.withdrawn", `{"meaning":"m","reason":"r","sequence":9,"channel":"api"}`, "x withdrew it over the interface for programs: “m” Reason: “r” It is event 9 of the study."},
		{"assessment.sign-refused", `{"code":"stale","message":"it has changed"}`, "A sign-off by x was refused: it has changed"},
		{"report.withdraw-refused", `{"message":"no"}`, "A withdrawal by x was refused: no"},
		{"assessment.later", `{}`, "x: assessment.later"},
		{"assessment.signed", `[`, "x: assessment.signed"},
	} {
		if got := trail.Sentence(review.TrailLine{Actor: "x", Action: c.action, Detail: json.RawMessage(c.detail)}); got != c.want {
			t.Errorf("%s %s is %q, want %q", c.action, c.detail, got, c.want)
		}
	}
}
