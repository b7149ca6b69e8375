package intake

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir/strictjson"
)

// whiteSpace is that of JSON. A no-break space is none.
const whiteSpace = " \t\r\n"

// piece is a value as it stands in a file.
type piece struct {
	raw  []byte // valid until the next piece is read
	line int    // where it starts
	over bool   // longer than the limit; raw is its beginning
}

// at returns the value at a path in the piece; without such a value, its raw is
// nil and its line that of the innermost value around it.
func (p piece) at(path string) piece {
	value, offset := strictjson.Find(p.raw, path)
	return piece{raw: value, line: p.lineOf(offset)}
}

func (p piece) lineOf(offset int) int {
	return p.line + bytes.Count(p.raw[:offset], []byte{'\n'})
}

// refusal returns the Refusal of the piece for the error. Its line is that of the
// field that the error is about, or where the text stops being JSON.
func (p piece) refusal(err error) *Refusal {
	e := AsError(err, "")
	line := p.at(e.Field).line
	var syntax *strictjson.SyntaxError
	if errors.As(err, &syntax) {
		if syntax.Duplicate {
			e.Message = fmt.Sprintf("%s, first in line %d", e.Message, line)
		}
		line = p.lineOf(syntax.Offset)
	}
	return &Refusal{Line: line, Err: e}
}

// splitter cuts a text into lines, or a JSON text into the values of its
// outermost array or object, and keeps one of them in memory at a time.
//
// It finds the end of a value by brackets and quotes alone, and leaves it to
// strictjson whether the value is JSON. So a file goes on behind a record that
// is malformed or too large, where a decoder would have to stop.
type splitter struct {
	reader *bufio.Reader
	line   int // of the next byte
	buffer []byte
}

func newSplitter(r io.Reader, line int) *splitter {
	return &splitter{reader: bufio.NewReaderSize(r, 64<<10), line: line}
}

// skipByteOrderMark skips the mark that some programs put before UTF-8.
func (s *splitter) skipByteOrderMark() {
	if mark, _ := s.reader.Peek(3); string(mark) == "\ufeff" {
		s.reader.Discard(len(mark))
	}
}

// startsWithObjects reports whether the first line begins an object, and the next
// one another that cannot be in it. It does not look beyond what is buffered.
func (s *splitter) startsWithObjects() bool {
	beginning, _ := s.reader.Peek(s.reader.Size())
	first, rest, _ := bytes.Cut(bytes.TrimLeft(beginning, whiteSpace), []byte{'\n'})
	first = bytes.TrimRight(first, whiteSpace)
	return bytes.HasPrefix(first, []byte{'{'}) && !bytes.ContainsAny(first[len(first)-1:], "[,:") &&
		bytes.HasPrefix(bytes.TrimLeft(rest, whiteSpace), []byte{'{'})
}

// chunk returns what is buffered, at least a byte, without consuming it.
func (s *splitter) chunk() ([]byte, error) {
	if _, err := s.reader.Peek(1); err != nil {
		return nil, err
	}
	return s.reader.Peek(s.reader.Buffered())
}

func (s *splitter) consume(read []byte) {
	s.line += bytes.Count(read, []byte{'\n'})
	s.reader.Discard(len(read))
}

// readLine reads the next line without the white space around it; of one that
// is longer than a record may be, the beginning. Its error is io.EOF at the end.
func (s *splitter) readLine() (piece, error) {
	p := piece{line: s.line}
	s.buffer = s.buffer[:0]
	for read := false; ; read = true {
		chunk, err := s.chunk()
		if errors.Is(err, io.EOF) && read {
			break
		}
		if err != nil {
			return p, err
		}
		end := bytes.IndexByte(chunk, '\n')
		if end >= 0 {
			chunk = chunk[:end+1]
		}
		if !p.over {
			s.buffer = append(s.buffer, chunk...)
			p.over = len(s.buffer) > MaxRecord
		}
		s.consume(chunk)
		if end >= 0 {
			break
		}
	}
	p.raw = bytes.Trim(s.buffer, whiteSpace)
	if p.over && len(p.raw) == 0 {
		p.raw = s.buffer
	}
	return p, nil
}

// next skips white space and returns the byte after it, unconsumed. Its error
// is io.EOF at the end of the text.
func (s *splitter) next() (byte, error) {
	for skipped := 0; skipped <= MaxRecord; {
		chunk, err := s.chunk()
		if err != nil {
			return 0, err
		}
		rest := bytes.TrimLeft(chunk, whiteSpace)
		s.consume(chunk[:len(chunk)-len(rest)])
		if len(rest) > 0 {
			return rest[0], nil
		}
		skipped += len(chunk)
	}
	return 0, Refusef(s.line, events.TooLarge, "", "more than 1 MiB of white space; the rest of the file is not read")
}

// nextInside is next inside a value, where the text must not end.
func (s *splitter) nextInside() (byte, error) {
	c, err := s.next()
	if errors.Is(err, io.EOF) {
		err = Refusef(s.line, events.Invalid, "", "the file ends in the middle")
	}
	return c, err
}

// expect consumes the next byte, which must be one of those wanted.
func (s *splitter) expect(wanted string) (byte, error) {
	c, err := s.nextInside()
	if err != nil {
		return 0, err
	}
	if strings.IndexByte(wanted, c) < 0 {
		return 0, Refusef(s.line, events.Invalid, "", "found %q instead of one of %q; the rest of the file is not read", string(rune(c)), wanted)
	}
	s.reader.Discard(1)
	return c, nil
}

// beforeValue skips white space before a value that must follow.
func (s *splitter) beforeValue() error {
	c, err := s.nextInside()
	if err == nil && strings.IndexByte(",:]}", c) >= 0 {
		err = Refusef(s.line, events.Invalid, "", "found %q instead of a value; the rest of the file is not read", string(rune(c)))
	}
	return err
}

// value reads the next value, which must have begun. Of a value that is longer
// than a record it keeps the beginning; where the text ends within the value, it
// returns what there is. If grow is not nil, it is called with the beginning of
// a value that exceeds the limit and returns a higher limit.
func (s *splitter) value(grow func(beginning []byte) int) (piece, error) {
	p, limit := piece{line: s.line}, MaxRecord
	s.buffer = s.buffer[:0]
	var end valueEnd
	for {
		chunk, err := s.chunk()
		if err != nil && !errors.Is(err, io.EOF) {
			return p, err
		}
		n, done := end.find(chunk)
		if !p.over {
			s.buffer = append(s.buffer, chunk[:n]...)
		}
		if !p.over && len(s.buffer) > limit && grow != nil {
			limit, grow = grow(s.buffer), nil
		}
		p.over = p.over || len(s.buffer) > limit
		s.consume(chunk[:n])
		if done || errors.Is(err, io.EOF) {
			p.raw = s.buffer
			return p, nil
		}
	}
}

// elements reads an array and calls each with its elements.
func (s *splitter) elements(each func(piece) error) error {
	return s.list("[", "]", each)
}

// members reads an object and calls each with the names of its members; each
// must read the value.
func (s *splitter) members(each func(name string, line int) error) error {
	return s.list("{", "}", func(p piece) error {
		var name string
		err := strictjson.Read(p.raw, func(r *strictjson.Reader) (err error) {
			name, err = r.Text()
			return err
		})
		if err != nil {
			return p.refusal(err)
		}
		if _, err := s.expect(":"); err != nil {
			return err
		}
		if err := s.beforeValue(); err != nil {
			return err
		}
		return each(name, p.line)
	})
}

// list reads what stands between two brackets, separated by commas, and calls
// each with the value that each part begins with.
func (s *splitter) list(first, last string, each func(piece) error) error {
	if _, err := s.expect(first); err != nil {
		return err
	}
	if c, err := s.next(); err == nil && c == last[0] {
		_, err := s.reader.Discard(1)
		return err
	}
	for {
		if err := s.beforeValue(); err != nil {
			return err
		}
		p, err := s.value(nil)
		if err != nil {
			return err
		}
		if err := each(p); err != nil {
			return err
		}
		if c, err := s.expect("," + last); err != nil || c == last[0] {
			return err
		}
	}
}

// valueEnd finds where a value ends. It is kept from one chunk to the next.
type valueEnd struct {
	depth           int
	quoted, escaped bool
	scalar          bool
}

// find returns how many bytes of the chunk belong to the value, and whether
// the value ends there.
func (e *valueEnd) find(chunk []byte) (n int, done bool) {
	for i, c := range chunk {
		switch {
		case e.quoted:
			if e.closes(c) && e.depth == 0 {
				return i + 1, true
			}
		case e.scalar:
			if strings.IndexByte(whiteSpace+",]}:", c) >= 0 {
				return i, true
			}
		case e.structure(c):
			return i + 1, true
		}
	}
	return len(chunk), false
}

// closes takes a byte of a string, and reports whether it ends the string.
func (e *valueEnd) closes(c byte) bool {
	switch {
	case e.escaped:
		e.escaped = false
	case c == '\\':
		e.escaped = true
	case c == '"':
		e.quoted = false
	}
	return !e.quoted
}

// structure takes a byte outside of strings and scalars, and reports whether it
// ends the value.
func (e *valueEnd) structure(c byte) bool {
	switch c {
	case '"':
		e.quoted = true
	case '{', '[':
		e.depth++
	case '}', ']':
		e.depth--
		return e.depth <= 0
	default:
		e.scalar = e.depth == 0
	}
	return false
}
