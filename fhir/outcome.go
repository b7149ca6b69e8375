package fhir

import "strings"

// OperationOutcome is the FHIR resource that explains the result of a request,
// in particular why it failed.
type OperationOutcome struct {
	Issues []Issue // at least one
}

// Issue is one message. Code is of the FHIR value set issue-type.
type Issue struct {
	Severity    string // fatal, error, warning or information
	Code        string
	Text        string // for the caller
	Diagnostics string // such as the request's id; may be empty
}

// Append appends the outcome's JSON to dst. Bytes of a text that are not UTF-8
// are replaced by U+FFFD, because it may quote what the caller sent.
func (o OperationOutcome) Append(dst []byte) []byte {
	e := encoder{out: dst}
	e.raw(`{"resourceType":"OperationOutcome"`)
	for i, issue := range o.Issues {
		e.next(i, `,"issue":[`)
		e.raw(`{"severity":`)
		e.text(issue.Severity)
		e.raw(`,"code":`)
		e.text(issue.Code)
		e.raw(`,"details":{"text":`)
		e.text(strings.ToValidUTF8(issue.Text, "\uFFFD"))
		e.raw(`}`)
		if issue.Diagnostics != "" {
			e.raw(`,"diagnostics":`)
			e.text(strings.ToValidUTF8(issue.Diagnostics, "\uFFFD"))
		}
		e.raw(`}`)
	}
	e.close(len(o.Issues))
	e.raw(`}`)
	return e.out
}
