package rest

import (
	"cmp"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir"
)

// retryAfter is the Retry-After of an error that has none.
const retryAfter = 5 * time.Second

// Challenge is the value of WWW-Authenticate for a request without an access
// token. For one with a bad access token, add ", error=..." (RFC 6750, section 3).
const Challenge = `Bearer realm="signoff"`

// WriteError writes the whole answer to a request that failed: status, headers
// and an OperationOutcome. Nothing may have been written before. For an internal
// error the outcome contains only the request's id; the cause is logged.
//
// 401 has the header WWW-Authenticate with Challenge unless one is set; 429 and
// 503 have Retry-After. Allow on 405 must be set before; see Methods.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	e, a := refusal(err)
	x := exchangeOf(r.Context())
	x.failure = err
	body := fhir.OperationOutcome{Issues: []fhir.Issue{{
		Severity: "error", Code: a.issue, Text: a.text, Diagnostics: x.id,
	}}}.Append(nil)

	h := w.Header()
	// The handler may have set these for the answer that it did not write.
	for _, name := range []string{"Content-Encoding", "ETag", "Last-Modified"} {
		h.Del(name)
	}
	h.Set("Content-Type", errorType(r))
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	setHints(h, a.status, e.RetryAfter)
	w.WriteHeader(a.status)
	_, _ = w.Write(body) // fails only if the caller has gone
}

// errorType returns the media type that Negotiate selects, or the default if the
// caller accepts none that is offered.
func errorType(r *http.Request) string {
	contentType, err := Negotiate(r)
	if err != nil {
		return events.MediaFHIR
	}
	return contentType
}

// setHints sets the headers that a status requires, so that the caller knows how to
// authenticate or when to try again.
func setHints(h http.Header, status int, wait time.Duration) {
	switch status {
	case http.StatusUnauthorized:
		if h.Get("WWW-Authenticate") == "" {
			h.Set("WWW-Authenticate", Challenge)
		}
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		h.Set("Retry-After", RetrySeconds(wait))
	}
}

// RetrySeconds returns the value of the header Retry-After: whole seconds, rounded up.
// A wait of 0 means the default of 5 s.
func RetrySeconds(wait time.Duration) string {
	return strconv.Itoa(int(math.Ceil(cmp.Or(wait, retryAfter).Seconds())))
}
