package sdtm

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/intake"
)

// table reads a CSV file (RFC 4180) with a header, one record at a time.
type table struct {
	file     string
	csv      *csv.Reader
	input    *limitedReader
	width    int            // fields in a record
	columns  map[string]int // index by name
	required []string
	after    int // the line after the last record that was read
}

// row is a record of a table, valid until the next is read.
type row struct {
	table  *table
	line   int
	fields []string
}

// get returns the value in a required column.
func (r row) get(column string) string { return r.fields[r.table.columns[column]] }

// refusef returns a Refusal of the row, about a column that may be empty.
func (r row) refusef(code events.Code, column, format string, args ...any) *intake.Refusal {
	refusal := intake.Refusef(r.line, code, column, format, args...)
	refusal.File = r.table.file
	return refusal
}

// limitedReader fails in the middle of a record that is too large, because
// csv.Reader reads a record whole, whatever its size.
type limitedReader struct {
	r        io.Reader
	left     int
	exceeded bool
}

func (b *limitedReader) Read(p []byte) (int, error) {
	if b.left <= 0 {
		b.exceeded = true
		return 0, errors.New("record too large")
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// openTable reads the header. The required columns may stand in any order among
// others. A header that lacks one is a *Refusal.
func openTable(file string, r io.Reader, required []string) (*table, error) {
	buffered := bufio.NewReaderSize(r, 64<<10)
	if mark, _ := buffered.Peek(3); string(mark) == "\ufeff" {
		buffered.Discard(len(mark))
	}
	input := &limitedReader{r: buffered}
	t := &table{file: file, csv: csv.NewReader(input), input: input, columns: map[string]int{}, required: required, after: 1}
	t.csv.FieldsPerRecord = -1
	t.csv.ReuseRecord = true
	header, _, err := t.read()
	if errors.Is(err, io.EOF) {
		return nil, t.refusef(1, events.Required, "", "the file is empty")
	}
	if err != nil {
		return nil, err
	}
	return t, t.readHeader(header)
}

func (t *table) readHeader(header []string) error {
	t.width = len(header)
	for i, name := range header {
		if _, twice := t.columns[name]; twice && slices.Contains(t.required, name) {
			return t.refusef(1, events.Invalid, name, "the header has this column twice")
		}
		t.columns[strings.Clone(name)] = i
	}
	for _, name := range t.required {
		if _, ok := t.columns[name]; !ok {
			return t.refusef(1, events.Required, name, "the header lacks this column; add it, empty if it has no values")
		}
	}
	return nil
}

func (t *table) refusef(line int, code events.Code, column, format string, args ...any) *intake.Refusal {
	return row{table: t, line: line}.refusef(code, column, format, args...)
}

// next returns the next record, or io.EOF. After a *Refusal the next one can be
// read, unless the record was too large.
func (t *table) next() (row, error) {
	fields, line, err := t.read()
	if err != nil {
		return row{}, err
	}
	if len(fields) != t.width {
		return row{}, t.refusef(line, events.Invalid, "", "the record has %d fields where the header has %d", len(fields), t.width)
	}
	r := row{table: t, line: line, fields: fields}
	for _, name := range t.required {
		if !utf8.ValidString(r.get(name)) {
			return row{}, r.refusef(events.Invalid, name, "is not valid UTF-8")
		}
	}
	return r, nil
}

// read returns the fields of a record, valid until the next is read, and its line.
func (t *table) read() ([]string, int, error) {
	t.input.left = intake.MaxRecord
	fields, err := t.csv.Read()
	var malformed *csv.ParseError
	switch {
	case t.input.exceeded:
		return nil, 0, t.refusef(t.after, events.TooLarge, "", "a record has more than 1 MiB; the rest of the file is not read")
	case errors.As(err, &malformed):
		t.after = malformed.Line + 1
		return nil, 0, t.refusef(malformed.StartLine, events.Invalid, "", "what stands from here to line %d is not CSV: %v", malformed.Line, malformed.Err)
	case errors.Is(err, io.EOF):
		return nil, 0, err
	case err != nil:
		return nil, 0, fmt.Errorf("read %s: %w", t.file, err)
	}
	line, _ := t.csv.FieldPos(0)
	last, _ := t.csv.FieldPos(len(fields) - 1)
	t.after = last + strings.Count(fields[len(fields)-1], "\n") + 1
	return fields, line, nil
}
