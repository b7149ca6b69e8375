package fhir

import (
	"bytes"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/seed-e88a4ece/signoff/events"
)

// cursor reads JSON front to back without building a tree. It takes what
// RFC 8259 defines, in UTF-8, except an object that has a key twice. Every
// error is an Invalid Error; object and array put the path before its field.
type cursor struct {
	data []byte
	at   int
}

const (
	maxDepth   = 32 // of nested values that are passed over
	maxMembers = 16 // of an object that is read; none of ours has more
)

// newCursor is for one JSON text. What follows the value is refused by end.
func newCursor(data []byte) (*cursor, error) {
	if !utf8.Valid(data) {
		return nil, events.Errorf(events.Invalid, "is not valid UTF-8")
	}
	return &cursor{data: data}, nil
}

// peek skips white space and gives the next byte, 0 at the end.
func (c *cursor) peek() byte {
	for c.at < len(c.data) {
		switch b := c.data[c.at]; b {
		case ' ', '\t', '\n', '\r':
			c.at++
		default:
			return b
		}
	}
	return 0
}

// take consumes the next byte if it is b, white space before it included.
func (c *cursor) take(b byte) bool {
	if c.peek() != b {
		return false
	}
	c.at++
	return true
}

// malformed says that the text is not JSON, and where.
func (c *cursor) malformed(want string) error {
	if c.peek() == 0 && c.at >= len(c.data) {
		return events.Errorf(events.Invalid, "is not valid JSON: it ends where %s should be", want)
	}
	return events.Errorf(events.Invalid, "is not valid JSON: at byte %d there should be %s", c.at, want)
}

// mismatch says that the value is JSON, but of another type than wanted.
func (c *cursor) mismatch(want string) error {
	switch b := c.peek(); {
	case b == 'n':
		return events.Errorf(events.Invalid, "is null; leave it out or give %s", want)
	case b == '"' || b == '{' || b == '[' || b == 't' || b == 'f' || b == '-' || b >= '0' && b <= '9':
		return events.Errorf(events.Invalid, "must be %s", want)
	default:
		return c.malformed(want)
	}
}

// end refuses anything but white space after the value.
func (c *cursor) end() error {
	if c.peek() != 0 || c.at < len(c.data) {
		return c.malformed("nothing more")
	}
	return nil
}

// object reads an object and calls member with each key; member must read the
// value. The key is valid during the call only.
func (c *cursor) object(member func(key []byte) error) error {
	if !c.take('{') {
		return c.mismatch("an object")
	}
	if c.take('}') {
		return events.Errorf(events.Invalid, "is an empty object")
	}
	var room [maxMembers][]byte
	for keys := room[:0]; ; {
		key, err := c.key()
		if err != nil {
			return err
		}
		for _, k := range keys {
			if bytes.Equal(k, key) {
				return within(keyStep(key), events.Errorf(events.Invalid, "is there twice"))
			}
		}
		if len(keys) == maxMembers {
			return events.Errorf(events.Invalid, "has more than %d members", maxMembers)
		}
		keys = append(keys, key)
		if err := member(key); err != nil {
			return within(keyStep(key), err)
		}
		if c.take('}') {
			return nil
		}
		if !c.take(',') {
			return c.malformed("a comma or }")
		}
	}
}

func (c *cursor) key() ([]byte, error) {
	if c.peek() != '"' {
		return nil, c.malformed("a key")
	}
	key, err := c.bytes()
	if err != nil {
		return nil, err
	}
	if !c.take(':') {
		return nil, c.malformed("a colon")
	}
	return key, nil
}

// array reads an array and calls element for each index; element must read
// the value.
func (c *cursor) array(element func(i int) error) error {
	if !c.take('[') {
		return c.mismatch("an array")
	}
	if c.take(']') {
		return events.Errorf(events.Invalid, "is an empty array")
	}
	for i := 0; ; i++ {
		if err := element(i); err != nil {
			return within("["+strconv.Itoa(i)+"]", err)
		}
		if c.take(']') {
			return nil
		}
		if !c.take(',') {
			return c.malformed("a comma or ]")
		}
	}
}

// only reads an array of exactly one element.
func (c *cursor) only(element func() error) error {
	return c.array(func(i int) error {
		if i > 0 {
			return events.Errorf(events.Invalid, "is one element too many")
		}
		return element()
	})
}

// text reads a string.
func (c *cursor) text() (string, error) {
	b, err := c.bytes()
	return string(b), err
}

// number reads a number as it is written.
func (c *cursor) number() (string, error) {
	c.peek()
	n := scanNumber(c.data[c.at:])
	if n == 0 {
		return "", c.mismatch("a number")
	}
	c.at += n
	return string(c.data[c.at-n : c.at]), nil
}

// parseInteger takes a FHIR integer: digits, and no fraction or exponent.
func parseInteger(text string) (int32, error) {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return 0, events.Errorf(events.Invalid, "must be an integer of at most %d", math.MaxInt32)
	}
	return int32(n), nil
}

// skip passes over a value of any type.
func (c *cursor) skip() error { return c.skipValue(0) }

func (c *cursor) skipValue(depth int) error {
	if depth > maxDepth {
		return events.Errorf(events.Invalid, "is nested deeper than %d levels", maxDepth)
	}
	switch b := c.peek(); b {
	case '"':
		return c.skipText()
	case '{', '[':
		return c.skipNested(b, depth)
	case 't':
		return c.skipWord("true")
	case 'f':
		return c.skipWord("false")
	case 'n':
		return c.skipWord("null")
	default:
		n := scanNumber(c.data[c.at:])
		if n == 0 {
			return c.malformed("a value")
		}
		c.at += n
		return nil
	}
}

func (c *cursor) skipNested(open byte, depth int) error {
	c.at++
	closing := open + 2 // in ASCII, of both { and [
	if c.take(closing) {
		return nil
	}
	for {
		if open == '{' {
			if c.peek() != '"' {
				return c.malformed("a key")
			}
			if err := c.skipText(); err != nil {
				return err
			}
			if !c.take(':') {
				return c.malformed("a colon")
			}
		}
		if err := c.skipValue(depth + 1); err != nil {
			return err
		}
		if c.take(closing) {
			return nil
		}
		if !c.take(',') {
			return c.malformed("a comma or " + string(rune(closing)))
		}
	}
}

func (c *cursor) skipWord(word string) error {
	if !bytes.HasPrefix(c.data[c.at:], []byte(word)) {
		return c.malformed("a value")
	}
	c.at += len(word)
	return nil
}

// scanNumber gives the length of the JSON number at the start of data, 0 where
// there is none.
func scanNumber(data []byte) int {
	i := 0
	if i < len(data) && data[i] == '-' {
		i++
	}
	whole := scanDigits(data[i:])
	if whole == 0 || whole > 1 && data[i] == '0' {
		return 0
	}
	i += whole
	if i < len(data) && data[i] == '.' {
		fraction := scanDigits(data[i+1:])
		if fraction == 0 {
			return 0
		}
		i += 1 + fraction
	}
	if i < len(data) && data[i]|0x20 == 'e' {
		i++
		if i < len(data) && (data[i] == '+' || data[i] == '-') {
			i++
		}
		exponent := scanDigits(data[i:])
		if exponent == 0 {
			return 0
		}
		i += exponent
	}
	return i
}

func scanDigits(data []byte) int {
	for i, b := range data {
		if b < '0' || b > '9' {
			return i
		}
	}
	return len(data)
}
