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

// retryAfter is what a caller is told to wait where the error does not say.
const retryAfter = 5 * time.Second

// WriteError answers with the OperationOutcome of an error, as a whole: call
// it instead of writing, not after. Of an error that is a fault of ours the
// caller learns the request's id only; the cause goes to the access log.
//
// 401 carries WWW-Authenticate: Bearer unless the header says otherwise
// already, 429 and 503 Retry-After. Allow on 405 is up to the caller; see
// Methods.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	e, a := refusal(err)
	x := exchangeOf(r.Context())
	x.failure = err
	body := fhir.OperationOutcome{Issues: []fhir.Issue{{
		Severity: "error", Code: a.issue, Text: a.text, Diagnostics: x.id,
	}}}.Append(nil)

	h := w.Header()
	for _, name := range []string{"Content-Encoding", "ETag", "Last-Modified"} {
		h.Del(name)
	}
	h.Set("Content-Type", errorType(r))
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	setHints(h, a.status, e.RetryAfter)
	w.WriteHeader(a.status)
	_, _ = w.Write(body) // a caller who went away is nobody's fault
}

// errorType is the type the caller asked for, or the default where that is
// what is wrong.
func errorType(r *http.Request) string {
	contentType, err := Negotiate(r)
	if err != nil {
		return events.MediaFHIR
	}
	return contentType
}

func setHints(h http.Header, status int, wait time.Duration) {
	switch status {
	case http.StatusUnauthorized:
		if h.Get("WWW-Authenticate") == "" {
			h.Set("WWW-Authenticate", "Bearer")
		}
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		h.Set("Retry-After", RetrySeconds(wait))
	}
}

// RetrySeconds is the value of Retry-After: whole seconds, rounded up.
func RetrySeconds(wait time.Duration) string {
	return strconv.Itoa(int(math.Ceil(cmp.Or(wait, retryAfter).Seconds())))
}
