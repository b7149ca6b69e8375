// Package strictjson reads one JSON text (RFC 8259) exactly, with the decoder of
// jsontext.
//
// A path names a value in the text by member names and indexes, such as
// lesions[2].state. A step is one name or index of a path.
//
// It refuses what encoding/json accepts: a name that an object has twice, bytes
// that are not UTF-8, half of a surrogate pair. A number is returned as the text
// that stands in the input and never becomes a float64. The error of a value is
// an Invalid events.Error whose Field is the path of that value. The error of text
// that is not JSON is a SyntaxError, which has the offset too.
//
// The package knows no resource and no record. It reads from memory; its caller
// limits the size of the text.
package strictjson

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/seed-e88a4ece/signoff/events"
)

// Limits on what is read.
const (
	MaxDepth  = 32     // of nested objects and arrays
	MaxValues = 50_000 // objects, arrays and other values in one text; see Check
)

// Reader reads the values of a JSON text from front to back. After an error it
// must not be used again.
type Reader struct {
	data    []byte
	buffer  bytes.Buffer // of data, so that the decoder reads data without a copy
	decoder jsontext.Decoder
}

// readers is a pool of Readers, because a used decoder, whose tables have grown,
// reads a small text in half the time.
var readers = sync.Pool{New: func() any { return new(Reader) }}

// Read calls value, which must read one JSON value from the Reader. It refuses data
// with anything but white space after that value. The Reader is valid during the
// call. Options relax the rules for text that has been checked before.
func Read(data []byte, value func(*Reader) error, options ...jsontext.Options) error {
	r, ok := readers.Get().(*Reader)
	if !ok {
		r = new(Reader)
	}
	defer readers.Put(r)
	r.data, r.buffer = data, *bytes.NewBuffer(data)
	r.decoder.Reset(&r.buffer, options...)
	if err := value(r); err != nil {
		return err
	}
	if rest := bytes.TrimLeft(data[r.decoder.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return malformed(len(data)-len(rest), "something follows the end of the value")
	}
	return nil
}

// Object reads an object and calls member with each name; member must read the
// value, and may keep the name. Object returns the number of members.
func (r *Reader) Object(member func(name []byte) error) (n int, err error) {
	if err := r.begin(jsontext.KindBeginObject, "an object"); err != nil {
		return 0, err
	}
	for ; r.decoder.PeekKind() != jsontext.KindEndObject; n++ {
		name, err := r.Bytes()
		if err != nil {
			return n, err
		}
		if err := member(name); err != nil {
			return n, Within(step(name), err)
		}
	}
	_, err = r.decoder.ReadToken()
	return n, err
}

// Array reads an array and calls element with each index; element must read the
// value. Array returns the number of elements.
func (r *Reader) Array(element func(i int) error) (n int, err error) {
	if err := r.begin(jsontext.KindBeginArray, "an array"); err != nil {
		return 0, err
	}
	for ; r.decoder.PeekKind() != jsontext.KindEndArray; n++ {
		if err := element(n); err != nil {
			return n, Within("["+strconv.Itoa(n)+"]", err)
		}
	}
	_, err = r.decoder.ReadToken()
	return n, err
}

// begin reads the opening bracket of an object or array. Wanted is its name in the
// error.
func (r *Reader) begin(kind jsontext.Kind, wanted string) error {
	token, err := r.decoder.ReadToken()
	if err != nil {
		return r.syntax(err)
	}
	if found := token.Kind(); found != kind {
		return mismatch(wanted, found)
	}
	return nil
}

// Bytes reads a string and returns its text. The result shares memory with the input
// unless the string has escapes.
func (r *Reader) Bytes() ([]byte, error) {
	quoted, err := r.Value()
	if err != nil {
		return nil, err
	}
	if quoted[0] != '"' {
		return nil, mismatch("a string", jsontext.Value(quoted).Kind())
	}
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1], nil
	}
	return jsontext.AppendUnquote(nil, quoted)
}

// Text reads a string.
func (r *Reader) Text() (string, error) {
	b, err := r.Bytes()
	return string(b), err
}

// Number reads a number and returns it as it is written.
func (r *Reader) Number() (string, error) {
	number, err := r.Value()
	if err != nil {
		return "", err
	}
	if kind := jsontext.Value(number).Kind(); kind != jsontext.KindNumber {
		return "", mismatch("a number", kind)
	}
	return string(number), nil
}

// Integer reads a number that is written without fraction and exponent and fits into
// an int32.
func (r *Reader) Integer() (int32, error) {
	digits, err := r.Number()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(digits, 10, 32)
	if err != nil {
		return 0, events.Errorf(events.Invalid, "%.100s is not an integer of at most %d", digits, math.MaxInt32)
	}
	return int32(n), nil
}

// Value reads a value of any type and returns it as it stands in the input.
//
// Of 05 or nullx, jsontext would read the value 0 or null, and then report the rest as
// an error of the object or array around it. Value refuses the whole, so that the
// error has the path of the value itself.
func (r *Reader) Value() ([]byte, error) {
	value, err := r.decoder.ReadValue()
	if err != nil {
		return nil, r.syntax(err)
	}
	end := int(r.decoder.InputOffset())
	if end < len(r.data) && !isDelimiter(r.data[end]) && !isDelimiter(value[len(value)-1]) {
		return nil, malformed(end, fmt.Sprintf("invalid character %q after %.100s", r.data[end], value))
	}
	return r.data[end-len(value) : end : end], nil
}

// isDelimiter reports whether b cannot be a part of a number or word.
func isDelimiter(b byte) bool {
	switch b {
	case ',', ':', '"', '[', ']', '{', '}', ' ', '\t', '\r', '\n':
		return true
	}
	return false
}

// Skip reads a value of any type and refuses one that is nested too deeply.
func (r *Reader) Skip() error {
	for outside := r.decoder.StackDepth(); ; {
		if _, err := r.decoder.ReadToken(); err != nil {
			return r.syntax(err)
		}
		switch depth := r.decoder.StackDepth() - outside; {
		case depth == 0:
			return nil
		case depth > MaxDepth:
			return events.Errorf(events.Invalid, "is nested deeper than %d levels", MaxDepth)
		}
	}
}

// Check returns an error if data is not one JSON value, is nested deeper than MaxDepth
// or has more than MaxValues values.
func Check(data []byte) error {
	values := 0
	var check func(r *Reader, depth int) error
	check = func(r *Reader, depth int) (err error) {
		if values++; depth > MaxDepth || values > MaxValues {
			return events.Errorf(events.TooLarge, "is nested deeper than %d levels, or the record has more than %d values", MaxDepth, MaxValues)
		}
		switch r.decoder.PeekKind() {
		case jsontext.KindBeginObject:
			_, err = r.Object(func([]byte) error { return check(r, depth+1) })
		case jsontext.KindBeginArray:
			_, err = r.Array(func(int) error { return check(r, depth+1) })
		default:
			_, err = r.Value()
		}
		return err
	}
	return Read(data, func(r *Reader) error { return check(r, 0) })
}

// mismatch returns the error for a value of another type than wanted.
func mismatch(wanted string, kind jsontext.Kind) error {
	found := map[jsontext.Kind]string{
		jsontext.KindNull: "null; leave out what has no value", jsontext.KindTrue: "true", jsontext.KindFalse: "false",
		jsontext.KindString: "a string", jsontext.KindNumber: "a number",
		jsontext.KindBeginObject: "an object", jsontext.KindBeginArray: "an array",
	}[kind]
	return events.Errorf(events.Invalid, "must be %s, not %s", wanted, found)
}
