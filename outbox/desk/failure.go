package desk

import (
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/outbox/desk/page"
)

// failure is what the page of an error shows.
type failure struct {
	Status    int
	Heading   string
	Text      string
	RequestID string // for an internal error, which the page does not describe
}

// headings are the titles of the pages of errors, by status.
var headings = map[int]string{
	http.StatusBadRequest:            "The request is malformed",
	http.StatusForbidden:             "You may not do this",
	http.StatusNotFound:              "There is no such page, or it is not yours to see",
	http.StatusMethodNotAllowed:      "This page cannot be asked like this",
	http.StatusRequestEntityTooLarge: "The form is too large",
	http.StatusUnsupportedMediaType:  "The form cannot be read",
	http.StatusTooManyRequests:       "Too many attempts",
	http.StatusServiceUnavailable:    "Not available at the moment",
}

// fail answers with the page of an error.
func (d *Desk) fail(w http.ResponseWriter, q *request, err error) {
	rest.SetFailure(q.Context(), err)
	status, text := rest.StatusOf(err)
	f := failure{Status: status, Heading: headings[status], Text: text}
	if status >= http.StatusInternalServerError {
		f.RequestID, f.Text = rest.RequestID(q.Context()), ""
	}
	if f.Heading == "" {
		f.Heading = http.StatusText(status)
	}
	if err := pages.Write(w, status, "failure", d.frame(q, "", f.Heading, f)); err != nil {
		d.cfg.Log.ErrorContext(q.Context(), "cannot make the page of an error", "error", err)
		http.Error(w, "the page cannot be made; see the log", http.StatusInternalServerError)
	}
}

// panicked answers with the page of an internal error, for a request that panicked.
func (d *Desk) panicked(w http.ResponseWriter, q *request, cause any) {
	if err, ok := cause.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(cause)
	}
	d.cfg.Log.ErrorContext(q.Context(), "panic", "cause", cause, "stack", string(debug.Stack()))
	d.fail(w, q, fmt.Errorf("panic: %v", cause))
}

// notFound answers paths that nothing is served on, and methods that a path does not have.
func (d *Desk) notFound(w http.ResponseWriter, q *request) error {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		r := q.Clone(q.Context())
		r.Method = method
		if _, pattern := d.mux.Handler(r); pattern != "/" && pattern != "" {
			allowed = append(allowed, method)
		}
	}
	if allowed == nil {
		return events.Errorf(events.NotFound, "Nothing is served on this path.")
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	return events.Errorf(events.MethodNotAllowed, "Only %s is offered here.", strings.Join(allowed, ", "))
}

// problem returns the summary of a refused form.
func problem(items ...page.ProblemItem) *page.Problem { return &page.Problem{Items: items} }
