package intake

import (
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
)

// Limits on what is read into memory at once, in bytes.
const (
	maxRecord = 1 << 20   // one assessment, resource or CSV record
	maxBundle = 64 << 20  // one FHIR Bundle
	maxSDTM   = 256 << 20 // the SDTM records of one evaluator
)

// maxRecords is the number of records of one file. Their identities are
// remembered, at some 50 bytes each, to find one that comes twice.
const maxRecords = 2_000_000

// Record is one assessment found in a file, or the refusal of one.
type Record struct {
	Submission events.Submission // empty if refused
	File       string
	Line       int           // where the record starts; of a refusal, where the offending field stands
	Err        *events.Error // the refusal; its Field is the path of the field
	Warnings   []string      // what was taken all the same but should be looked at
}

// Place is where the record stands, as file:line.
func (r Record) Place() string { return fmt.Sprintf("%s:%d", r.File, r.Line) }

// fault is a refusal with the place it stands at.
type fault struct {
	file string // empty where there is only one
	line int
	err  *events.Error
}

func (f *fault) Error() string { return fmt.Sprintf("line %d: %s", f.line, f.err.Error()) }

func faultf(line int, code events.Code, field, format string, args ...any) *fault {
	return &fault{line: line, err: &events.Error{Code: code, Field: field, Message: fmt.Sprintf(format, args...)}}
}

// within puts the name of the enclosing member, or [i], before the field.
func (f *fault) within(segment string) *fault {
	switch {
	case f.err.Field == "":
		f.err.Field = segment
	case f.err.Field[0] == '[':
		f.err.Field = segment + f.err.Field
	default:
		f.err.Field = segment + "." + f.err.Field
	}
	return f
}
