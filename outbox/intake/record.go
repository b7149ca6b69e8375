package intake

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/seed-e88a4ece/signoff/events"
)

// Limits on what is read into memory at once, in bytes.
const (
	MaxRecord = 1 << 20  // one assessment, resource or CSV record
	maxBundle = 64 << 20 // one FHIR Bundle
)

// maxRecords is the limit on good records of one file. About 50 bytes of each stay in
// memory, to find duplicates.
const maxRecords = 2_000_000

// Record is one assessment of a file, or the refusal of one.
type Record struct {
	Submission events.Submission // empty if refused
	File       string
	Line       int           // where the record starts; of a refusal, where the field stands
	Err        *events.Error // the refusal; its Field is the path of the field
	Warnings   []Warning     // what was left out, replaced or reordered
}

// Warning is what was left out, replaced or reordered for a record.
type Warning struct {
	Kind string // one of a fixed set, by which callers count warnings
	Text string
}

// Place returns where the record stands, as file:line.
func (r Record) Place() string { return fmt.Sprintf("%s:%d", Quoted(r.File), r.Line) }

// Refusal is the reason why a record, or the rest of a file, is not read, and
// where it stands.
type Refusal struct {
	File string // empty where only one file is read
	Line int
	Err  *events.Error
}

// Refusef returns a Refusal of the code, about a field that may be empty.
func Refusef(line int, code events.Code, field, format string, args ...any) *Refusal {
	return &Refusal{Line: line, Err: &events.Error{Code: code, Field: field, Message: fmt.Sprintf(format, args...)}}
}

func (r *Refusal) Error() string { return fmt.Sprintf("line %d: %s", r.Line, r.Err.Error()) }

// Unwrap returns the events.Error.
func (r *Refusal) Unwrap() error { return r.Err }

// Record returns the Record that reports the refusal. File is used if the refusal
// names no file.
func (r *Refusal) Record(file string) Record {
	return Record{File: cmp.Or(r.File, file), Line: r.Line, Err: r.Err}
}

// AsError returns the events.Error in err, or a new Invalid one with its text. If the
// error has no Field, AsError sets it to field.
func AsError(err error, field string) *events.Error {
	e := &events.Error{Code: events.Invalid, Message: err.Error()}
	errors.As(err, &e)
	e.Field = cmp.Or(e.Field, field)
	return e
}

// Printable returns text from outside as it can stand in a message: at most 80
// bytes of it, and quoted if it is empty or has characters that do not print.
func Printable(text string) string {
	const longest = 80
	if len(text) > longest {
		end := longest
		for end > longest-utf8.UTFMax && !utf8.RuneStart(text[end]) {
			end--
		}
		text = text[:end] + "…"
	}
	return Quoted(text)
}

// Quoted is Printable for a text that is never cut, such as the name of a file.
func Quoted(text string) string {
	quoted := strconv.QuoteToGraphic(text)
	if inner := quoted[1 : len(quoted)-1]; inner == text && text != "" {
		return text
	}
	return quoted
}
