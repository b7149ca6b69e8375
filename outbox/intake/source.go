package intake

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
)

const bufferSize = 64 << 10

// source cuts a JSON text into the values of its outermost array or object
// without holding more than one of them. It finds only where values end;
// whether they are well-formed is for parse to say.
type source struct {
	r      *bufio.Reader
	line   int // of the next byte
	buffer []byte
}

// piece is one value as it stands in the text. Its bytes are valid until the
// next value is read.
type piece struct {
	raw  []byte
	line int
	over bool // longer than the limit; raw is its beginning
}

func newSource(r io.Reader, line int) *source {
	return &source{r: bufio.NewReaderSize(r, bufferSize), line: line}
}

// skipMark skips a byte order mark.
func (s *source) skipMark() {
	if mark, _ := s.r.Peek(3); bytes.Equal(mark, utf8Mark) {
		s.r.Discard(len(mark))
	}
}

var utf8Mark = []byte("\xef\xbb\xbf")

// chunk gives what is buffered, at least a byte, without consuming it.
func (s *source) chunk() ([]byte, error) {
	if _, err := s.r.Peek(1); err != nil {
		return nil, err
	}
	return s.r.Peek(s.r.Buffered())
}

func (s *source) consume(read []byte) {
	s.line += bytes.Count(read, []byte{'\n'})
	s.r.Discard(len(read))
}

// next skips white space and gives the byte after it, unconsumed. Its error is
// io.EOF at the end of the text.
func (s *source) next() (byte, error) {
	for skipped := 0; skipped <= maxRecord; {
		chunk, err := s.chunk()
		if err != nil {
			return 0, err
		}
		rest := bytes.TrimLeft(chunk, " \t\r\n")
		s.consume(chunk[:len(chunk)-len(rest)])
		if len(rest) > 0 {
			return rest[0], nil
		}
		skipped += len(chunk)
	}
	return 0, faultf(s.line, events.TooLarge, "", "more than 1 MiB of white space; the rest of the file is not read")
}

// expect consumes the next byte, which must be one of those wanted.
func (s *source) expect(wanted string) (byte, error) {
	c, err := s.next()
	if errors.Is(err, io.EOF) {
		return 0, faultf(s.line, events.Invalid, "", "the file ends in the middle")
	}
	if err != nil {
		return 0, err
	}
	if strings.IndexByte(wanted, c) < 0 {
		return 0, faultf(s.line, events.Invalid, "", "found %q where one of %q should be; the rest of the file is not read", string(rune(c)), wanted)
	}
	s.r.Discard(1)
	return c, nil
}

// value reads the next value; the byte after white space must be there. Of
// what is longer than the limit it keeps the beginning only. Where the text
// ends within the value, it gives what there is.
func (s *source) value() (piece, error) { return s.valueGrowing(maxRecord, nil) }

// valueGrowing is value with a second thought: grow sees the beginning of a
// value that passes the limit and gives the limit to go on with.
func (s *source) valueGrowing(limit int, grow func(beginning []byte) int) (piece, error) {
	p := piece{line: s.line}
	s.buffer = s.buffer[:0]
	var end ending
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

// elements reads an array and hands on each of its values.
func (s *source) elements(each func(piece) error) error {
	return s.listed("[", "]", each)
}

// members reads an object and calls each with every member's name; each must
// consume the member's value.
func (s *source) members(each func(name string, line int) error) error {
	return s.listed("{", "}", func(p piece) error {
		name, err := parse(p.raw, p.line)
		if err != nil {
			return err
		}
		if name.kind != text {
			return faultf(p.line, events.Invalid, "", "the name of a member must be a string")
		}
		if _, err := s.expect(":"); err != nil {
			return err
		}
		if err := s.atValue(); err != nil {
			return err
		}
		return each(name.text, p.line)
	})
}

// listed reads what stands between brackets, separated by commas, and hands on
// the value that each part begins with.
func (s *source) listed(first, last string, each func(piece) error) error {
	if _, err := s.expect(first); err != nil {
		return err
	}
	if c, err := s.next(); err == nil && c == last[0] {
		_, err := s.r.Discard(1)
		return err
	}
	for {
		if err := s.atValue(); err != nil {
			return err
		}
		p, err := s.value()
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

// atValue skips white space before a value that must follow.
func (s *source) atValue() error {
	c, err := s.next()
	if errors.Is(err, io.EOF) {
		return faultf(s.line, events.Invalid, "", "the file ends in the middle")
	}
	if err != nil {
		return err
	}
	if strings.IndexByte(",:]}", c) >= 0 {
		return faultf(s.line, events.Invalid, "", "found %q where a value should be; the rest of the file is not read", string(rune(c)))
	}
	return nil
}

// ending finds where a value ends, by brackets and quotes alone.
type ending struct {
	depth           int
	quoted, escaped bool
	scalar          bool
}

// find gives how many bytes of the chunk belong to the value, and whether it
// ends there.
func (e *ending) find(chunk []byte) (n int, done bool) {
	for i, c := range chunk {
		switch {
		case e.quoted:
			if e.within(c) && e.depth == 0 {
				return i + 1, true
			}
		case e.scalar:
			if isDelimiter(c) {
				return i, true
			}
		case c == '"':
			e.quoted = true
		case c == '{' || c == '[':
			e.depth++
		case c == '}' || c == ']':
			e.depth--
			if e.depth <= 0 {
				return i + 1, true
			}
		case e.depth == 0:
			e.scalar = true
		}
	}
	return len(chunk), false
}

// within takes a byte of a string, and reports whether it ends the string.
func (e *ending) within(c byte) bool {
	switch {
	case e.escaped:
		e.escaped = false
	case c == '\\':
		e.escaped = true
	case c == '"':
		e.quoted = false
		return true
	}
	return false
}

func isDelimiter(c byte) bool {
	switch c {
	case ' ', '\t', '\r', '\n', ',', ']', '}', ':':
		return true
	}
	return false
}
