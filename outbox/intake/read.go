package intake

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir"
	"github.com/seed-e88a4ece/signoff/fhir/strictjson"
)

// Format is the form in which a file has its records.
type Format string

// The formats. The zero Format is recognised from the content.
const (
	JSON   Format = "json"   // a record, or an array of them
	NDJSON Format = "ndjson" // a record or FHIR resource a line
	FHIR   Format = "fhir"   // a DiagnosticReport or Bundle, an array of them, or one a line
)

// ReadFrom is ReadFormat for a file whose format is recognised. A file has a record a
// line if its name ends in .ndjson or .jsonl, or if it has several values and the
// first is on one line. Any other file has one record, an array of records, or a
// FHIR Bundle.
func ReadFrom(ctx context.Context, src io.Reader, name string, emit func(Record) error) error {
	return ReadFormat(ctx, src, name, "", emit)
}

// ReadFormat reads a file and calls emit with each record in it, good or refused,
// in the file's order. Name stands for the file in the records. ReadFormat stops
// at the first error of emit and returns it. What is wrong with the content is a
// refused Record and never an error of ReadFormat.
func ReadFormat(ctx context.Context, src io.Reader, name string, format Format, emit func(Record) error) error {
	d := &document{ctx: ctx, name: name, format: format, emit: emit, splitter: newSplitter(src, 1), seen: map[[16]byte]int32{}}
	err := d.refused(d.read())
	if err != nil {
		return fmt.Errorf("read %s: %w", Quoted(name), err)
	}
	return nil
}

// document is one file while it is read.
type document struct {
	ctx      context.Context
	name     string
	format   Format
	emit     func(Record) error
	splitter *splitter
	seen     map[[16]byte]int32 // line of each good record, by a hash of its id and revisions
}

// read reads the whole file and emits its records. It returns a *Refusal if the rest
// of the file cannot be read.
func (d *document) read() error {
	d.splitter.skipByteOrderMark()
	beginning, _ := d.splitter.reader.Peek(len(longestMagic))
	if other := OtherFormat(beginning); other != "" {
		return Refusef(1, events.Unsupported, "", "the file is %s; write it as JSON in UTF-8, not compressed", other)
	}
	ext := strings.ToLower(filepath.Ext(d.name))
	if d.format == NDJSON || d.format == "" && (ext == ".ndjson" || ext == ".jsonl") || d.format != JSON && d.splitter.startsWithObjects() {
		return d.readLines()
	}
	first, err := d.splitter.next()
	if errors.Is(err, io.EOF) {
		return Refusef(d.splitter.line, events.Required, "", "the file is empty")
	}
	if err != nil {
		return err
	}
	if first != '[' {
		return d.readOne()
	}
	if err := d.splitter.elements(d.record); err != nil {
		return err
	}
	return d.atEnd()
}

// readOne reads a file of a single record, which may be a Bundle. If the record is on
// one line and something follows on another, it reads the file as one record a line,
// unless the format is given as JSON.
func (d *document) readOne() error {
	p, err := d.splitter.value(func(beginning []byte) int {
		if isBundle(beginning) {
			return maxBundle
		}
		return MaxRecord
	})
	if err != nil {
		return err
	}
	if err := d.atEnd(); err != nil {
		if oneLine := !bytes.Contains(p.raw, []byte{'\n'}); oneLine && d.splitter.line > p.line && d.format != JSON {
			if err := d.record(p); err != nil {
				return err
			}
			return d.readLines()
		}
		if syntax := strictjson.Check(p.raw); syntax != nil && !p.tooLong {
			return p.refusal(syntax) // what follows is most likely a consequence of it
		}
		return err
	}
	return d.record(p)
}

// atEnd returns nil at the end of the file, and a *Refusal if something follows.
func (d *document) atEnd() error {
	_, err := d.splitter.next()
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	}
	return Refusef(d.splitter.line, events.Invalid, "", "something follows the end of the document; write one record a line, or put the records into an array")
}

// readLines reads one record a line up to the end of the file. Blank lines are
// ignored.
func (d *document) readLines() error {
	for {
		p, err := d.splitter.readLine()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(p.raw) == 0 {
			continue
		}
		if err := d.record(p); err != nil {
			return err
		}
	}
}

// record reads one piece of the file and emits the record or the reports of the
// Bundle in it, or their refusals.
func (d *document) record(p piece) error {
	if err := d.ctx.Err(); err != nil {
		return err
	}
	if d.format != JSON && isBundle(p.raw) {
		return d.bundle(p)
	}
	a, err := d.readRecord(p)
	if err != nil {
		return d.refused(err)
	}
	return d.accept(a, p.line, "id")
}

// readRecord reads an assessment or a DiagnosticReport. A text with a resourceType is
// FHIR. The error is a *Refusal.
func (d *document) readRecord(p piece) (events.Assessment, error) {
	if p.tooLong {
		return events.Assessment{}, tooLarge(p.line)
	}
	if err := strictjson.Check(p.raw); err != nil {
		return events.Assessment{}, p.refusal(err)
	}
	switch kind := p.at("resourceType"); {
	case kind.raw != nil && d.format == JSON:
		return events.Assessment{}, Refusef(kind.line, events.Unsupported, "resourceType", "this is a FHIR resource, and the format was given as %s", JSON)
	case kind.raw == nil && d.format == FHIR:
		return events.Assessment{}, Refusef(p.line, events.Required, "resourceType", "is missing, and the format was given as %s", FHIR)
	case kind.raw == nil:
		return readAssessment(p)
	}
	return readReport(p)
}

// readReport reads a DiagnosticReport whose JSON has been checked. The error is a
// *Refusal.
func readReport(p piece) (events.Assessment, error) {
	kind := p.at("resourceType")
	if kind.raw == nil {
		return events.Assessment{}, Refusef(p.line, events.Required, "resourceType", "is missing")
	}
	var name string
	err := strictjson.Read(kind.raw, func(r *strictjson.Reader) (err error) {
		name, err = r.Text()
		return err
	})
	if err == nil && name != "DiagnosticReport" {
		return events.Assessment{}, Refusef(kind.line, events.Unsupported, "resourceType",
			"%s cannot be imported; a DiagnosticReport can, and in a Bundle the Observations of its lesions", Printable(name))
	}
	if err := checkWhole(p); err != nil {
		return events.Assessment{}, err
	}
	a, err := fhir.ParseReport(p.raw)
	if err != nil {
		return events.Assessment{}, p.refusal(err)
	}
	return a, nil
}

func tooLarge(line int) *Refusal {
	return Refusef(line, events.TooLarge, "", "the record has more than 1 MiB")
}

// accept emits a good record. If the file had the same revision before, it emits a
// refusal about field, where the id stands. Beyond maxRecords it returns a *Refusal
// of the rest of the file.
func (d *document) accept(a events.Assessment, line int, field string) error {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d", a.ID, a.Case.Revision, a.Revision))
	identity := [16]byte(sum[:])
	if first, twice := d.seen[identity]; twice {
		return d.refuse(Refusef(line, events.Conflict, field, "%s with %s is in this file twice, first in line %d", a.ID, a.Version(), first))
	}
	if len(d.seen) == maxRecords {
		return Refusef(line, events.TooLarge, "", "the file has more than %d records; the rest is not read", maxRecords)
	}
	d.seen[identity] = int32(line)
	return d.emit(Record{Submission: events.Submission{Assessment: a}, File: d.name, Line: line})
}

// refused emits the refusal in err, or returns err if it is another error.
func (d *document) refused(err error) error {
	var r *Refusal
	if errors.As(err, &r) {
		return d.refuse(r)
	}
	return err
}

// refuse emits a refusal.
func (d *document) refuse(r *Refusal) error { return d.emit(r.Record(d.name)) }

// OtherFormat recognises a file that is not plain text from its beginning: one that is
// compressed, in UTF-16, or a spreadsheet, for example. It returns what the file is,
// for a message, or "" if it recognises nothing.
func OtherFormat(beginning []byte) string {
	for _, f := range otherFormats {
		if strings.HasPrefix(string(beginning), f.beginning) {
			return f.name
		}
	}
	return ""
}

// longestMagic is the longest beginning in otherFormats.
const longestMagic = "HEADER RECORD*******"

var otherFormats = []struct{ beginning, name string }{
	{"\x1f\x8b", "compressed with gzip"},
	{"PK\x03\x04", "a ZIP archive, or a spreadsheet in one"},
	{"BZh", "compressed with bzip2"},
	{"\xfd7zXZ\x00", "compressed with xz"},
	{"\x28\xb5\x2f\xfd", "compressed with zstd"},
	{"\xff\xfe", "text in UTF-16"},
	{"{\x00", "text in UTF-16"},
	{"\x00{", "text in UTF-16"},
	{"<", "XML or HTML"},
	{"%PDF", "a PDF"},
	{"\xd0\xcf\x11\xe0", "an old spreadsheet or text document"},
	{"\xfe\xff", "text in UTF-16"},
	{longestMagic, "a SAS transport file"},
}
