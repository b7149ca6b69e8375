package fhir

import (
	"bytes"

	"github.com/seed-e88a4ece/signoff/events"
)

// maxDepth is of nested values that are passed over.
const maxDepth = 32

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
