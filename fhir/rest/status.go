package rest

import (
	"context"
	"errors"
	"net/http"

	"github.com/seed-e88a4ece/signoff/events"
)

// answer is the HTTP answer to an error.
type answer struct {
	status int
	issue  string // code of the OperationOutcome's issue
	text   string // for the caller, if the error has no message
}

// answers maps each error code to its answer. A code that is missing is answered as
// events.Internal.
var answers = map[events.Code]answer{
	events.Invalid:              {http.StatusBadRequest, "value", "The request is malformed."},
	events.Required:             {http.StatusBadRequest, "required", "Something required is missing."},
	events.Unsupported:          {http.StatusBadRequest, "not-supported", "This is not offered here."},
	events.Unauthenticated:      {http.StatusUnauthorized, "login", "Sign in first."},
	events.Expired:              {http.StatusUnauthorized, "expired", "The credential has expired."},
	events.Forbidden:            {http.StatusForbidden, "security", "Access denied."},
	events.NotFound:             {http.StatusNotFound, "not-found", "There is no such thing."},
	events.MethodNotAllowed:     {http.StatusMethodNotAllowed, "not-supported", "The method is not offered here."},
	events.NotAcceptable:        {http.StatusNotAcceptable, "not-supported", "None of the formats asked for is offered."},
	events.Conflict:             {http.StatusConflict, "conflict", "This contradicts what is recorded."},
	events.Stale:                {http.StatusPreconditionFailed, "conflict", "This has changed since it was read; read it again."},
	events.PreconditionRequired: {http.StatusPreconditionRequired, "required", "The request must name the state that it is about; send If-Match."},
	events.Gone:                 {http.StatusGone, "deleted", "This is no longer available."},
	events.TooLarge:             {http.StatusRequestEntityTooLarge, "too-long", "The request is too large."},
	events.UnsupportedMedia:     {http.StatusUnsupportedMediaType, "not-supported", "The media type of the body is not supported."},
	events.Throttled:            {http.StatusTooManyRequests, "throttled", "Too many attempts; try again later."},
	events.Unavailable:          {http.StatusServiceUnavailable, "transient", internalText},
	events.NotYet:               {http.StatusServiceUnavailable, "transient", "The study does not have this number yet; ask again later."},
	events.Outdated:             {http.StatusServiceUnavailable, "transient", "This needs a newer version of the service; ask again later."},
	events.Internal:             internalAnswer,
}

const internalText = "Internal error"

var internalAnswer = answer{http.StatusInternalServerError, "exception", internalText}

// refusal returns the events.Error in err, or a new one with the code of translate,
// and the answer. The answer has the error's message unless its status is 500 or
// higher, because such a message may be internal.
func refusal(err error) (*events.Error, answer) {
	var e *events.Error
	if !errors.As(err, &e) {
		e = &events.Error{Code: translate(err)}
	}
	a, ok := answers[e.Code]
	if !ok {
		a = internalAnswer
	}
	if e.Message != "" && a.status < http.StatusInternalServerError {
		a.text = e.Message
		if e.Field != "" {
			a.text = e.Field + ": " + e.Message
		}
	}
	return e, a
}

// StatusOf returns the HTTP status for an error and the text that a caller may see. It is
// for a handler whose answers are pages: one that answers with WriteError needs it not.
func StatusOf(err error) (status int, text string) {
	_, a := refusal(err)
	return a.status, a.text
}

// translate returns the code for an error that has no events.Error in it. It is
// Internal for an error that is not known here.
func translate(err error) events.Code {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return events.TooLarge
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return events.Unavailable
	default:
		return events.CodeOf(err)
	}
}
