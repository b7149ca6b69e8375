package sdtm

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/intake"
)

// table reads a CSV file (RFC 4180) with a header, one record at a time. It ignores
// white space around names and values, and records whose fields are all blank.
type table struct {
	file     string
	csv      *csv.Reader
	input    *limitedReader
	width    int            // fields in a record
	columns  map[string]int // index by name in upper case; only columns that are used
	names    []string       // by index; empty for columns that are not used
	nextLine int            // the line after the last record that was read
	seeds    [2]maphash.Seed
}

const missing = "NA"

// row is a record of a table, valid until the next is read.
type row struct {
	table  *table
	line   int
	fields []string
}

// get returns the value in a column that the domain uses. It returns "" if the file
// lacks the column or the value is missing: blank, or NA as R writes it.
func (r row) get(column string) string {
	i, ok := r.table.columns[column]
	if !ok {
		return ""
	}
	value := strings.TrimSpace(r.fields[i])
	if value == missing {
		return ""
	}
	return value
}

// hash returns a hash of all values of the row but that in the column. It has 128
// bits of two random seeds, so that no file can be made with equal hashes.
func (r row) hash(column string) (sum [2]uint64) {
	without, ok := r.table.columns[column]
	for i, seed := range r.table.seeds {
		var h maphash.Hash
		h.SetSeed(seed)
		for j, field := range r.fields {
			if !ok || j != without {
				_, _ = h.WriteString(strings.TrimSpace(field))
			}
			_ = h.WriteByte(0xff) // separates the fields; occurs in no valid UTF-8
		}
		sum[i] = h.Sum64()
	}
	return sum
}

// refusef returns a Refusal of the row, about a column that may be empty.
func (r row) refusef(code events.Code, column, format string, args ...any) *intake.Refusal {
	refusal := intake.Refusef(r.line, code, column, format, args...)
	refusal.File = r.table.file
	return refusal
}

// limitedReader returns an error after left bytes and sets exceeded. Without it
// csv.Reader would read a record of any size into memory. The table sets left
// before each record.
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

// openTable returns a table whose header has been read. The columns that d uses may
// stand in any order, between others, in upper or lower case. The error is a
// *Refusal if the file is not CSV or the header lacks a required column.
func openTable(file string, r io.Reader, d domain) (*table, error) {
	buffered := bufio.NewReaderSize(r, 64<<10)
	beginning, _ := buffered.Peek(512)
	if bytes.HasPrefix(beginning, []byte("\ufeff")) {
		buffered.Discard(len("\ufeff"))
	}
	input := &limitedReader{r: buffered}
	t := &table{
		file: file, csv: csv.NewReader(input), input: input, columns: map[string]int{}, nextLine: 1,
		seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
	}
	t.csv.FieldsPerRecord = -1
	t.csv.ReuseRecord = true
	if format := intake.OtherFormat(beginning); format != "" {
		return nil, t.refusef(1, events.Unsupported, "", "the file is %s, not CSV; write it as CSV in UTF-8", format)
	}
	header, line, err := t.read()
	if errors.Is(err, io.EOF) {
		return nil, t.refusef(1, events.Required, "", "the file is empty")
	}
	if err != nil {
		return nil, err
	}
	return t, t.readHeader(header, line, d)
}

// readHeader finds the columns that d uses in the header.
func (t *table) readHeader(header []string, line int, d domain) error {
	t.width, t.names = len(header), make([]string, len(header))
	for i, name := range header {
		name = strings.ToUpper(strings.TrimSpace(name))
		if !d.uses(name) {
			continue
		}
		if _, twice := t.columns[name]; twice {
			return t.refusef(line, events.Invalid, name, "the header has this column twice")
		}
		t.columns[name], t.names[i] = i, name
	}
	if len(header) == 1 { // most likely another separator than the comma
		for _, separator := range []string{";", "\t", "|"} {
			if strings.Contains(header[0], separator) {
				return t.refusef(line, events.Unsupported, "", "the columns are separated by %q; write the file with commas", separator)
			}
		}
	}
	for _, alternatives := range d.required {
		if !slices.ContainsFunc(alternatives, t.has) {
			return t.refusef(line, events.Required, alternatives[0], "the header lacks %s; add it, empty if it has no values", strings.Join(alternatives, " or "))
		}
	}
	return nil
}

// has reports whether the header has a column.
func (t *table) has(column string) bool {
	_, ok := t.columns[column]
	return ok
}

// refusef returns a Refusal of the line, about a column that may be empty.
func (t *table) refusef(line int, code events.Code, column, format string, args ...any) *intake.Refusal {
	return row{table: t, line: line}.refusef(code, column, format, args...)
}

// next returns the next record, or io.EOF at the end. Empty fields beyond the header's
// are ignored. After a *Refusal the next record can be read, unless the refused one
// was too large.
func (t *table) next() (row, error) {
	fields, line, err := t.read()
	if err != nil {
		return row{}, err
	}
	for len(fields) > t.width && strings.TrimSpace(fields[len(fields)-1]) == "" {
		fields = fields[:len(fields)-1]
	}
	if len(fields) != t.width {
		return row{}, t.refusef(line, events.Invalid, "", "the record has %d fields where the header has %d", len(fields), t.width)
	}
	r := row{table: t, line: line, fields: fields}
	for i, name := range t.names {
		if name != "" && !utf8.ValidString(fields[i]) {
			return row{}, r.refusef(events.Invalid, name, "is not valid UTF-8")
		}
	}
	return r, nil
}

// read returns the fields and the line of the next record that is not blank. The
// fields are valid until the next record is read.
func (t *table) read() ([]string, int, error) {
	for {
		fields, line, err := t.readRecord()
		if err != nil || slices.ContainsFunc(fields, func(f string) bool { return strings.TrimSpace(f) != "" }) {
			return fields, line, err
		}
	}
}

// readRecord reads one record, blank or not, and keeps the line that follows it for
// the message about a record that is too large.
func (t *table) readRecord() ([]string, int, error) {
	t.input.left = intake.MaxRecord
	fields, err := t.csv.Read()
	var malformed *csv.ParseError
	switch {
	case t.input.exceeded:
		return nil, 0, t.refusef(t.nextLine, events.TooLarge, "", "a record has more than 1 MiB; the rest of the file is not read")
	case errors.As(err, &malformed):
		t.nextLine = malformed.Line + 1
		return nil, 0, t.refusef(malformed.StartLine, events.Invalid, "", "what stands from here to line %d is not CSV: %v", malformed.Line, malformed.Err)
	case errors.Is(err, io.EOF):
		return nil, 0, err
	case err != nil:
		return nil, 0, fmt.Errorf("read %s: %w", intake.Quoted(t.file), err)
	}
	line, _ := t.csv.FieldPos(0)
	last, _ := t.csv.FieldPos(len(fields) - 1)
	t.nextLine = last + strings.Count(fields[len(fields)-1], "\n") + 1
	return fields, line, nil
}
