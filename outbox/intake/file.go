package intake

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
)

// ReadFrom reads a file and hands on each record in it, good or refused, in the
// file's order. Name stands for the file in the records and tells its form: one
// that ends in .ndjson or .jsonl holds one record a line; any other holds one
// record, an array of records, or a FHIR Bundle. ReadFrom stops at the first
// error of emit and returns it; what is wrong with the content is never an error
// of ReadFrom but a refused Record.
func ReadFrom(ctx context.Context, src io.Reader, name string, emit func(Record) error) error {
	d := &document{ctx: ctx, name: name, emit: emit, source: newSource(src, 1), seen: map[[16]byte]int32{}}
	err := d.read()
	var f *fault
	if errors.As(err, &f) {
		return d.refuse(f)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}

// document is one file while it is read.
type document struct {
	ctx    context.Context
	name   string
	emit   func(Record) error
	source *source
	seen   map[[16]byte]int32 // line by identity of each record handed on
}

// read gives a *fault where the file cannot be read on.
func (d *document) read() error {
	d.source.skipMark()
	if ext := strings.ToLower(filepath.Ext(d.name)); ext == ".ndjson" || ext == ".jsonl" {
		return d.readLines()
	}
	first, err := d.source.next()
	if errors.Is(err, io.EOF) {
		return faultf(d.source.line, events.Required, "", "the file is empty")
	}
	if err != nil {
		return err
	}
	if first != '[' {
		return d.readOne()
	}
	if err := d.source.elements(func(p piece) error { return d.record(p) }); err != nil {
		return err
	}
	return d.atEnd()
}

// readOne reads a file of a single record, which may be a Bundle.
func (d *document) readOne() error {
	p, err := d.source.valueGrowing(maxRecord, func(beginning []byte) int {
		if isBundle(beginning) {
			return maxBundle
		}
		return maxRecord
	})
	if err != nil {
		return err
	}
	if err := d.atEnd(); err != nil {
		return err
	}
	return d.record(p)
}

// atEnd makes sure that nothing follows.
func (d *document) atEnd() error {
	if _, err := d.source.next(); !errors.Is(err, io.EOF) {
		if err != nil {
			return err
		}
		return faultf(d.source.line, events.Invalid, "", "something follows the end of the document; one record a line is the form of a .ndjson file")
	}
	return nil
}

// readLines reads one record a line.
func (d *document) readLines() error {
	for {
		p, err := d.source.lineOfText(maxRecord)
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

// record reads one piece of the file and hands on what is in it.
func (d *document) record(p piece) error {
	if err := d.ctx.Err(); err != nil {
		return err
	}
	if isBundle(p.raw) {
		return d.bundle(p)
	}
	a, err := readRecord(p)
	if err != nil {
		return d.refused(err)
	}
	return d.accept(a, p.line, "id")
}

// readRecord reads an assessment or a DiagnosticReport.
func readRecord(p piece) (assessment, error) {
	if p.over {
		return assessment{}, tooLarge(p.line)
	}
	n, err := parse(p.raw, p.line)
	if err != nil {
		return assessment{}, err
	}
	if _, ok := n.member("resourceType"); ok {
		return readReport(p.raw, n)
	}
	return readAssessment(n)
}

func tooLarge(line int) *fault {
	return faultf(line, events.TooLarge, "", "the record has more than 1 MiB")
}

// accept hands on a good record unless the file had it before. Field is where
// its id stands.
func (d *document) accept(a assessment, line int, field string) error {
	if first, twice := d.seen[identity(a)]; twice {
		return d.refuse(faultf(line, events.Conflict, field, "%s with %s is in this file twice, first in line %d", a.ID, a.Version(), first))
	}
	if len(d.seen) == maxRecords {
		return faultf(line, events.TooLarge, "", "the file holds more than %d records; the rest is not read", maxRecords)
	}
	d.seen[identity(a)] = int32(line)
	return d.emit(Record{Submission: events.Submission{Assessment: a}, File: d.name, Line: line})
}

// identity is what a record has in common only with its repetition.
func identity(a assessment) [16]byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d", a.ID, a.Case.Revision, a.Revision))
	return [16]byte(sum[:16])
}

// refused hands on the refusal that err is; any other error it gives back.
func (d *document) refused(err error) error {
	var f *fault
	if errors.As(err, &f) {
		return d.refuse(f)
	}
	return err
}

func (d *document) refuse(f *fault) error {
	return d.emit(Record{File: d.name, Line: f.line, Err: f.err})
}
