package token

import (
	"errors"
	"net/http"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
)

// The error codes of RFC 6749, section 5.2; the last two are of section 4.1.2.1,
// because section 5.2 has none for such errors.
const (
	invalidRequest       = "invalid_request"
	invalidClient        = "invalid_client"
	unsupportedGrantType = "unsupported_grant_type"
	invalidScope         = "invalid_scope"
	unavailable          = "temporarily_unavailable"
	serverError          = "server_error"
)

// refusal is an answer without an access token. By RFC 6749 the status is 400 for
// every fault of the request, including its media type and size, except where HTTP
// requires another status.
type refusal struct {
	status      int
	code        string
	description string // ASCII without quotes and backslashes, as the RFC requires
	retryAfter  time.Duration
	err         error // for the log
}

// refuse returns a refusal with status 400 whose description is also its cause in the
// log.
func refuse(reason events.Code, code, description string) *refusal {
	return &refusal{
		status: http.StatusBadRequest, code: code, description: description,
		err: &events.Error{Code: reason, Message: description, Err: errors.New(description)},
	}
}

// malformed returns a refusal of a request that cannot be read. The cause is for the
// log; it may be nil.
func malformed(description string, cause error) *refusal {
	r := refuse(events.Invalid, invalidRequest, description)
	if cause != nil {
		r.err = &events.Error{Code: events.Invalid, Message: description, Err: cause}
	}
	return r
}

func methodNotAllowed() *refusal {
	r := refuse(events.MethodNotAllowed, invalidRequest, "the method must be POST")
	r.status = http.StatusMethodNotAllowed
	return r
}

// unknownClient returns a refusal with status 401. The cause is for the log; it may be
// nil.
func unknownClient(description string, cause error) *refusal {
	r := refuse(events.Unauthenticated, invalidClient, description)
	r.status = http.StatusUnauthorized
	if cause != nil {
		r.err = cause
	}
	return r
}

// refuseClient returns the refusal for an error of Clients or of Config.Ready. It is
// the same for an unknown client and for a wrong secret.
func refuseClient(err error) *refusal {
	var e *events.Error
	switch code := events.CodeOf(err); {
	case code == events.Unauthenticated || code == events.Expired || code == events.Forbidden || code == events.NotFound || code == events.Invalid:
		return unknownClient("client_id or client_secret is wrong", err)
	case (code == events.Throttled || code == events.Unavailable || code == events.Outdated) && errors.As(err, &e):
		r := &refusal{status: http.StatusServiceUnavailable, code: unavailable, description: "try again later", retryAfter: e.RetryAfter, err: err}
		if code == events.Throttled {
			r.status, r.description = http.StatusTooManyRequests, "too many failed attempts; try again later"
		}
		return r
	default:
		return internalError(err)
	}
}

func internalError(err error) *refusal {
	return &refusal{status: http.StatusInternalServerError, code: serverError, description: "internal error", err: err}
}

// outcome returns the refusal's label in the metrics.
func (r *refusal) outcome() string {
	if r.status == http.StatusTooManyRequests {
		return throttled
	}
	return r.code
}

// write writes the whole answer.
func (r *refusal) write(w http.ResponseWriter) {
	switch r.status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Basic realm="signoff", charset="UTF-8"`)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", rest.RetrySeconds(r.retryAfter))
	}
	writeJSON(w, r.status, struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{r.code, r.description})
}
