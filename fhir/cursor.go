package fhir

import (
	"bytes"
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

// maxMembers is of an object that is read; none of ours has more.
const maxMembers = 16

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
