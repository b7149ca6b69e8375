package events

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Code is a reason for which a request or an event is refused. The constants are all
// codes there are. A Code is an error, so errors.Is(err, events.NotFound) reports whether
// err has that code.
type Code string

// Reasons that a caller can act on.
const (
	Invalid              Code = "invalid"               // a value is malformed or out of range
	Required             Code = "required"              // a value is missing
	Unsupported          Code = "unsupported"           // well-formed, but not supported
	Unauthenticated      Code = "unauthenticated"       // the caller is not known
	Expired              Code = "expired"               // the credential was valid before
	Forbidden            Code = "forbidden"             // the caller is known, but not allowed to
	NotFound             Code = "not-found"             // does not exist
	MethodNotAllowed     Code = "method-not-allowed"    // the resource has no such method
	NotAcceptable        Code = "not-acceptable"        // no representation that the caller accepts
	Conflict             Code = "conflict"              // contradicts what is stored
	Stale                Code = "stale"                 // what the request is about has changed since the caller read it
	PreconditionRequired Code = "precondition-required" // the request does not name the state that the caller has read
	Gone                 Code = "gone"                  // was available before
	TooLarge             Code = "too-large"             // over a size limit
	UnsupportedMedia     Code = "unsupported-media"     // a media type that is not read here
	Throttled            Code = "throttled"             // too many failures; try later
	Unavailable          Code = "unavailable"           // a part of the program is not reachable; try again
	NotYet               Code = "not-yet"               // a number that the study does not have yet; try again
	Outdated             Code = "outdated"              // only a newer version of the program can answer
	Internal             Code = "internal"              // an error of the program
)

// Reasons for which an event does not continue the chain of its study.
const (
	Gap     Code = "gap"     // numbers between the chain head and the event are missing
	Repeat  Code = "repeat"  // the event is the one at the chain head
	Reorder Code = "reorder" // a lower number than the chain head
	Ahead   Code = "ahead"   // the chain head is beyond the end of the log
	Altered Code = "altered" // a hash does not match its content or its predecessor
)

// Error returns the code as text.
func (c Code) Error() string { return string(c) }

// Error is an error that may be shown to the caller: Message is what is wrong and
// what to do. Err, the cause, is for logs only.
type Error struct {
	Code    Code
	Field   string // path of the offending input, such as "measurement.value"; may be empty
	Message string
	Err     error

	RetryAfter time.Duration // with Throttled, Unavailable and NotYet; 0 where unknown
}

// Error returns the field, the message and the cause, for logs.
func (e *Error) Error() string {
	text := e.Message
	if e.Field != "" {
		text = e.Field + ": " + text
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Is reports whether target is the error's Code; see errors.Is.
func (e *Error) Is(target error) bool {
	code, ok := target.(Code)
	return ok && code == e.Code
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf returns an Error with the code and a message for the caller.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Fieldf returns an Invalid Error about one field of the input.
func Fieldf(field, format string, args ...any) *Error {
	return &Error{Code: Invalid, Field: field, Message: fmt.Sprintf(format, args...)}
}

// clip returns text, cut to 80 bytes if it is longer, so that it can be quoted in a
// message.
func clip(text string) string {
	const most = 80
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// CodeOf returns the code of the outermost Error in err. Without an Error it returns the
// Code that err is or wraps, or Internal. For nil it returns the empty Code.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	var c Code
	if errors.As(err, &c) {
		return c
	}
	return Internal
}
