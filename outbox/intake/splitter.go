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

// whiteSpace is the white space of JSON, which has no other characters.
const whiteSpace = " \t\r\n"

// piece is a value as it stands in a file.
type piece struct {
	raw     []byte // valid until the next piece is read
	line    int    // where it starts
	tooLong bool   // longer than the limit; raw is its beginning
}

// at returns the value at a path in the piece. If there is no such value, raw is nil
// and line is that of the innermost value that is there.
func (p piece) at(path string) piece {
	value, offset := strictjson.Find(p.raw, path)
	return piece{raw: value, line: p.lineOf(offset)}
}

// lineOf returns the line of the byte at an offset in the piece.
func (p piece) lineOf(offset int) int {
	return p.line + bytes.Count(p.raw[:offset], []byte{'\n'})
}

// refusal returns the Refusal of the piece for an error. Its line is that of the
// field that the error names, or of the place where the text is not JSON.
func (p piece) refusal(err error) *Refusal {
	e := AsError(err, "")
	line := p.at(e.Field).line
	var syntax *strictjson.SyntaxError
	if errors.As(err, &syntax) {
		if syntax.Duplicate { // at found the first of the two names; Offset is of the second
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
// strictjson whether the value is JSON. So the records after one that is malformed
// or too large can be read, where a decoder would have to stop.
type splitter struct {
	reader *bufio.Reader
	line   int    // of the next byte
	buffer []byte // of the current piece; used again for the next
}

func newSplitter(r io.Reader, line int) *splitter {
	return &splitter{reader: bufio.NewReaderSize(r, 64<<10), line: line}
}

// skipByteOrderMark skips the byte order mark that some programs put before UTF-8.
func (s *splitter) skipByteOrderMark() {
	if mark, _ := s.reader.Peek(3); string(mark) == "\ufeff" {
		s.reader.Discard(len(mark))
	}
}

// startsWithObjects reports whether the text seems to have an object a line. It looks
// at the first two lines that are not blank: both must begin with a brace, and the
// first must not end where a value is still to come. It does not look beyond what
// fits into the reader's buffer.
func (s *splitter) startsWithObjects() bool {
	beginning, _ := s.reader.Peek(s.reader.Size())
	first, rest, _ := bytes.Cut(bytes.TrimLeft(beginning, whiteSpace), []byte{'\n'})
	first = bytes.TrimRight(first, whiteSpace)
	return bytes.HasPrefix(first, []byte{'{'}) && !bytes.ContainsAny(first[len(first)-1:], "[,:") &&
		bytes.HasPrefix(bytes.TrimLeft(rest, whiteSpace), []byte{'{'})
}

// chunk returns the buffered bytes, at least one, without consuming them. It reads
// only if the buffer is empty.
func (s *splitter) chunk() ([]byte, error) {
	if _, err := s.reader.Peek(1); err != nil {
		return nil, err
	}
	return s.reader.Peek(s.reader.Buffered())
}

// consume advances past bytes that chunk returned, and counts their lines.
func (s *splitter) consume(read []byte) {
	s.line += bytes.Count(read, []byte{'\n'})
	s.reader.Discard(len(read))
}

// readLine reads the next line without the white space around it. Of a line that is
// longer than MaxRecord it keeps the beginning. Its error is io.EOF at the end.
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
		if !p.tooLong {
			s.buffer = append(s.buffer, chunk...)
			p.tooLong = len(s.buffer) > MaxRecord
		}
		s.consume(chunk)
		if end >= 0 {
			break
		}
	}
	p.raw = bytes.Trim(s.buffer, whiteSpace)
	if p.tooLong && len(p.raw) == 0 { // all white space; not blank, so that it is refused
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

// nextInside is like next, but refuses the end of the text. It is called inside an
// array or object.
func (s *splitter) nextInside() (byte, error) {
	c, err := s.next()
	if errors.Is(err, io.EOF) {
		err = Refusef(s.line, events.Invalid, "", "the file ends in the middle")
	}
	return c, err
}

// expect consumes and returns the next byte after white space. It refuses a byte that
// is not one of those in wanted.
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

// beforeValue skips white space. It refuses a byte that cannot begin a value.
func (s *splitter) beforeValue() error {
	c, err := s.nextInside()
	if err == nil && strings.IndexByte(",:]}", c) >= 0 {
		err = Refusef(s.line, events.Invalid, "", "found %q instead of a value; the rest of the file is not read", string(rune(c)))
	}
	return err
}

// value reads the value that begins at the next byte. If the text ends within the
// value, value returns what there is. Of a value longer than MaxRecord it keeps the
// beginning. If grow is not nil, it is called once with the beginning of such a value
// and returns the limit to use instead.
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
		if !p.tooLong {
			s.buffer = append(s.buffer, chunk[:n]...)
		}
		if !p.tooLong && len(s.buffer) > limit && grow != nil {
			limit, grow = grow(s.buffer), nil
		}
		p.tooLong = p.tooLong || len(s.buffer) > limit
		s.consume(chunk[:n])
		if done || errors.Is(err, io.EOF) {
			p.raw = s.buffer
			return p, nil
		}
	}
}

// elements reads an array and calls each with every element.
func (s *splitter) elements(each func(piece) error) error {
	return s.list("[", "]", each)
}

// members reads an object and calls each with the name of every member and its line.
// Each must read the value of the member.
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

// list reads an array or an object from the bracket first to the bracket last. It
// calls each with every element of the array, or every name in the object; for a
// name, each must read the rest of the member.
func (s *splitter) list(first, last string, each func(piece) error) error {
	if _, err := s.expect(first); err != nil {
		return err
	}
	if c, err := s.next(); err == nil && c == last[0] { // empty
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

// valueEnd finds where a value ends. A value may reach over several chunks; valueEnd
// holds the state between them.
type valueEnd struct {
	depth           int  // of open brackets
	quoted, escaped bool // inside a string; after a backslash in it
	scalar          bool // inside a number or word that is the value itself
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

// closes is called with each byte of a string. It reports whether the byte ends the
// string.
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

// structure is called with each byte that is outside of strings and scalars. It
// reports whether the byte ends the value.
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
