package fhir

import (
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// bytes reads a string. Where it holds no escapes, the result is a part of
// the input.
func (c *cursor) bytes() ([]byte, error) {
	if c.peek() != '"' {
		return nil, c.mismatch("a string")
	}
	start := c.at + 1
	i := scanPlain(c.data, start)
	if i < len(c.data) && c.data[i] == '"' {
		c.at = i + 1
		return c.data[start:i:i], nil
	}
	return c.unescape(start, i)
}

// scanPlain gives the index of the first byte from i on that does not stand
// for itself in a string: a quote, a backslash or a control character.
func scanPlain(data []byte, i int) int {
	for i < len(data) && data[i] >= ' ' && data[i] != '"' && data[i] != '\\' {
		i++
	}
	return i
}

// unescape reads the rest of a string that began at start and is plain up to i.
func (c *cursor) unescape(start, i int) ([]byte, error) {
	out := append([]byte(nil), c.data[start:i]...)
	for {
		c.at = i
		switch {
		case i >= len(c.data):
			return nil, c.malformed("the end of a string")
		case c.data[i] == '"':
			c.at++
			return out, nil
		case c.data[i] != '\\':
			return nil, c.malformed("no control character")
		}
		r, n := unescapeOne(c.data[i:])
		if n == 0 {
			return nil, c.malformed("an escape of JSON")
		}
		out = utf8.AppendRune(out, r)
		i += n
		plain := scanPlain(c.data, i)
		out = append(out, c.data[i:plain]...)
		i = plain
	}
}

// skipText passes over a string, which is next.
func (c *cursor) skipText() error {
	start := c.at + 1
	i := scanPlain(c.data, start)
	if i < len(c.data) && c.data[i] == '"' {
		c.at = i + 1
		return nil
	}
	_, err := c.unescape(start, i)
	return err
}

// unescapeOne reads the escape at the start of data and gives its length, 0
// where it is none. Half of a surrogate pair is none.
func unescapeOne(data []byte) (r rune, n int) {
	if len(data) < 2 {
		return 0, 0
	}
	switch b := data[1]; b {
	case '"', '\\', '/':
		return rune(b), 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'u':
		return unescapeUnicode(data)
	}
	return 0, 0
}

func unescapeUnicode(data []byte) (r rune, n int) {
	r, ok := hexUnit(data)
	if !ok {
		return 0, 0
	}
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	low, ok := hexUnit(data[6:])
	r = utf16.DecodeRune(r, low)
	if !ok || r == utf8.RuneError {
		return 0, 0
	}
	return r, 12
}

// hexUnit reads \uXXXX.
func hexUnit(data []byte) (rune, bool) {
	if len(data) < 6 || data[0] != '\\' || data[1] != 'u' {
		return 0, false
	}
	for _, b := range data[2:6] {
		if (b < '0' || b > '9') && (b|0x20 < 'a' || b|0x20 > 'f') {
			return 0, false
		}
	}
	unit, err := strconv.ParseUint(string(data[2:6]), 16, 16)
	return rune(unit), err == nil
}
