package strictjson

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/seed-e88a4ece/signoff/events"
)

// SyntaxError is the error for text that is not JSON, or for a name that an object has
// twice.
type SyntaxError struct {
	Offset    int  // of the first byte that cannot be read, or of the second name
	Duplicate bool // whether it is the second of two equal names

	err *events.Error
}

func (e *SyntaxError) Error() string { return e.err.Error() }

// Unwrap returns the events.Error.
func (e *SyntaxError) Unwrap() error { return e.err }

// malformed returns the SyntaxError for text that is not JSON.
func malformed(offset int, message string) *SyntaxError {
	return &SyntaxError{Offset: offset, err: events.Errorf(events.Invalid, "is not valid JSON: %s", message)}
}

// syntax returns the SyntaxError for an error of the decoder.
func (r *Reader) syntax(err error) error {
	var syntactic *jsontext.SyntacticError
	switch ok := errors.As(err, &syntactic); {
	case !ok || errors.Is(err, io.ErrUnexpectedEOF): // another error than a syntactic one is io.EOF
		return malformed(len(r.data), "it ends in the middle")
	case errors.Is(err, jsontext.ErrDuplicateName):
		name := step([]byte(syntactic.JSONPointer.LastToken()))
		return &SyntaxError{Offset: int(syntactic.ByteOffset), Duplicate: true, err: events.Fieldf(name, "is there twice")}
	}
	offset, message := int(syntactic.ByteOffset), syntactic.Err.Error()
	if rest, ok := bytes.CutPrefix(r.data[min(offset, len(r.data)):], []byte(",")); ok {
		// The decoder's offset is that of the comma. A bracket after it is what is wrong.
		rest = bytes.TrimLeft(rest, " \t\r\n")
		if len(rest) > 0 && (rest[0] == '}' || rest[0] == ']') {
			offset, message = len(r.data)-len(rest), fmt.Sprintf("invalid character %q after a comma", rest[0])
		}
	}
	return malformed(offset, message)
}
