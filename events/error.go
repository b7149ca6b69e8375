package events

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Code is the closed set of reasons for which something is refused. A Code is
// itself an error, so errors.Is(err, events.NotFound) asks for the reason
// while the cause stays reachable behind it.
type Code string

// Reasons that a caller can act on.
const (
	Invalid          Code = "invalid"            // a value is malformed or out of range
	Required         Code = "required"           // something needed is missing
	Unsupported      Code = "unsupported"        // well-formed, but not offered here
	Unauthenticated  Code = "unauthenticated"    // who is asking is not known
	Expired          Code = "expired"            // a credential was good once
	Forbidden        Code = "forbidden"          // known, but not allowed to
	NotFound         Code = "not-found"          // no such thing
	MethodNotAllowed Code = "method-not-allowed" // the resource has no such method
	NotAcceptable    Code = "not-acceptable"     // no representation the caller takes
	Conflict         Code = "conflict"           // contradicts what is recorded
	Gone             Code = "gone"               // was available once
	TooLarge         Code = "too-large"          // over a size limit
	UnsupportedMedia Code = "unsupported-media"  // a media type nobody here reads
	Throttled        Code = "throttled"          // too many failures; try later
	Unavailable      Code = "unavailable"        // a part of ours is away; try again
	Outdated         Code = "outdated"           // only a newer version of the program can answer
	Internal         Code = "internal"           // a fault of ours
)

// Reasons for which an event does not continue what was held before it.
const (
	Gap     Code = "gap"     // numbers between the two are missing
	Repeat  Code = "repeat"  // the event is the one held already
	Reorder Code = "reorder" // an older number than the one held
	Ahead   Code = "ahead"   // what is held is beyond the end of the log
	Altered Code = "altered" // a hash does not match its content or its predecessor
)

// Error makes a Code an error, so that errors.Is finds it.
func (c Code) Error() string { return string(c) }

// Error is a refusal that may be shown to whoever asked: Message says what is
// wrong and what to do. Err, the cause, is for logs only.
type Error struct {
	Code    Code
	Field   string // path of the offending input, such as "measurement.value"; may be empty
	Message string
	Err     error

	RetryAfter time.Duration // with Throttled and Unavailable; 0 where unknown
}

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

// Is reports whether target is the error's Code.
func (e *Error) Is(target error) bool {
	code, ok := target.(Code)
	return ok && code == e.Code
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error of the code with a message for the caller.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Fieldf makes an Invalid Error about one field of the input.
func Fieldf(field, format string, args ...any) *Error {
	return &Error{Code: Invalid, Field: field, Message: fmt.Sprintf(format, args...)}
}

// clip shortens input that is quoted in a message.
func clip(text string) string {
	const most = 80
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// CodeOf returns the code of the outermost Error in err; Internal if there is
// none, and the empty Code for nil.
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
