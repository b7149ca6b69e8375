// Package signing makes sign-offs of what a PI was shown: exactly these versions, of a case
// that is still as it was, and with a reason for each that contradicts RECIST 1.1.
package signing

import (
	"strings"
	"unicode"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/recist"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// Item is a version that a PI signs.
type Item struct {
	ID     string // of the assessment
	Digest string // of the content that the PI was shown
	Reason string // why it is signed although it contradicts RECIST 1.1; empty for none
}

// Request is what a PI signs at once, of one case.
type Request struct {
	User        string // who was authenticated by the caller
	Credential  string // as in outbox.SignOff
	Meaning     string
	Stamp       string // review.Case.Stamp of the case that the PI was shown
	Items       []Item
	TraceParent string
	Channel     string // as in outbox.SignOff

	// Checked is Check of the case, if the caller has it already.
	Checked map[string]recist.Visit
}

// Refused returns what is audited of a request that is refused before SignOff is called.
func (r Request) Refused() outbox.SignOff {
	s := outbox.SignOff{User: r.User, Meaning: r.Meaning}
	for _, item := range r.Items {
		s.IDs = append(s.IDs, item.ID)
	}
	return s
}

// SignOff returns the sign-off that the request asks for. The case c is as it is now.
//
// The error is Required, with the findings in its text and the field "reason", if an item
// contradicts RECIST 1.1 and has no reason. It is Stale if c has another stamp than the
// PI was shown, unless all items were signed before. Whether the case changes after c was
// read is checked by outbox.SignOff in its transaction: if it does not, the findings are
// those of c.
func SignOff(c review.Case, r Request) (outbox.SignOff, error) {
	s := outbox.SignOff{
		User: r.User, Credential: r.Credential, Meaning: Line(r.Meaning), Stamp: r.Stamp, TraceParent: r.TraceParent, Channel: r.Channel,
		Expected: make(map[string]outbox.Expected), Remarks: make(map[string]outbox.Remark),
	}
	checked := r.Checked
	if checked == nil {
		checked = c.Check()
	}
	for _, item := range r.Items {
		s.IDs = append(s.IDs, item.ID)
		version := meant(c, item)
		if version == nil {
			return s, events.Errorf(events.Stale, "assessment %s has changed since it was read, and nothing was signed; read it again", item.ID)
		}
		s.Expected[item.ID] = outbox.Expected{Version: version.Assessment.Version(), Digest: item.Digest}
		if version.State != review.VersionWaiting {
			continue // it was signed before, and the answer is that of then
		}
		if r.Stamp != c.Stamp { // before a finding that the PI was not shown
			return s, events.Errorf(events.Stale, "the case has changed since it was read, and nothing was signed; read it again")
		}
		remark := outbox.Remark{Reason: Line(item.Reason), Findings: review.Contradictions(checked[item.ID])}
		if len(remark.Findings) > 0 && remark.Reason == "" {
			return s, &events.Error{Code: events.Required, Field: "reason", Message: "assessment " + item.ID +
				" contradicts RECIST 1.1 and is signed with a reason only: " + strings.Join(remark.Findings, "; ")}
		}
		if remark.Reason != "" || len(remark.Findings) > 0 {
			s.Remarks[item.ID] = remark
		}
	}
	return s, nil
}

// meant returns the version that the item means: the waiting or the signed one with its
// digest, or nil if neither has it.
func meant(c review.Case, item Item) *review.Version {
	for _, v := range c.Visits {
		if v.ID != item.ID {
			continue
		}
		for _, version := range []*review.Version{v.Waiting, v.Signed} {
			if version != nil && version.Digest == item.Digest {
				return version
			}
		}
	}
	return nil
}

// Line returns a text that a person typed as one line: without spaces at its ends, and
// with one space for each run of spaces and line breaks.
func Line(text string) string { return strings.Join(strings.FieldsFunc(text, unicode.IsSpace), " ") }
