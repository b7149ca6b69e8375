package trail

import (
	"encoding/json"
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// detail has the members that the details of lines about an assessment may have.
type detail struct {
	events.Version
	Meaning  string      `json:"meaning"`
	Reason   string      `json:"reason"`
	Sequence uint64      `json:"sequence"`
	Channel  string      `json:"channel"`
	Message  string      `json:"message"`
	Code     events.Code `json:"code"`
	Reset    string      `json:"passwordReset"`
	From     int32       `json:"from"`
	To       int32       `json:"to"`
	Study    string      `json:"study"`
}

// Sentence returns what a line of the audit trail records, without its time. A line of an
// action that is not known here is returned as its action.
func Sentence(l review.TrailLine) string {
	var d detail
	if err := json.Unmarshal(l.Detail, &d); err != nil { // written by this program, or a later one
		return l.Actor + ": " + l.Action
	}
	switch l.Action {
	case "assessment.registered":
		return fmt.Sprintf("%s registered case revision %d, revision %d.", l.Actor, d.CaseRevision, d.Revision)
	case "assessment.replaced":
		return l.Actor + " replaced the version that waited."
	case "assessment.moved":
		return fmt.Sprintf("%s moved it from case %d to case %d of %s.", l.Actor, d.From, d.To, d.Study)
	case "assessment.returned":
		return fmt.Sprintf("%s returned it to its source: “%s”", l.Actor, d.Reason)
	case "assessment.signed":
		return fmt.Sprintf("%s signed it%s: “%s” It is event %d of the study.%s%s", l.Actor, by(d), d.Meaning, d.Sequence, because(d), reset(d))
	case "report.superseded":
		return fmt.Sprintf("%s signed a higher revision of the case, which took it back. That is event %d of the study.", l.Actor, d.Sequence)
	case "report.withdrawn":
		return fmt.Sprintf("%s withdrew it%s: “%s”%s It is event %d of the study.%s", l.Actor, by(d), d.Meaning, because(d), d.Sequence, reset(d))
	case "assessment.sign-refused":
		return fmt.Sprintf("A sign-off by %s was refused: %s", l.Actor, d.Message)
	case "report.withdraw-refused":
		return fmt.Sprintf("A withdrawal by %s was refused: %s", l.Actor, d.Message)
	}
	return l.Actor + ": " + l.Action
}

// by returns by which way a signature came.
func by(d detail) string {
	switch d.Channel {
	case "desk":
		return " at the desk"
	case "api":
		return " over the interface for programs"
	}
	return ""
}

func because(d detail) string {
	if d.Reason == "" {
		return ""
	}
	return " Reason: “" + d.Reason + "”"
}

func reset(d detail) string {
	if d.Reset == "" {
		return ""
	}
	return " An operator had set the password at " + d.Reset + ", less than 72 hours before."
}
