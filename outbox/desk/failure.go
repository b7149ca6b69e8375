package desk

import (
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/desk/page"
)

// failure is what the page of an error shows.
type failure struct {
	Status    int
	Heading   string
	Text      string // what is wrong
	Advice    string // what to do
	RequestID string // for an internal error, which the page does not describe
}

// errMisdirected is in the error for a request that is for another server.
var errMisdirected = errors.New("the request names another server")

const lookFirst = "If you had sent a form, look at the case before you send it again."

// headings and advice are on the pages of errors, by status.
var (
	headings = map[int]string{
		http.StatusBadRequest:            "The request is malformed",
		http.StatusForbidden:             "You may not do this",
		http.StatusNotFound:              "There is no such page, or it is not yours to see",
		http.StatusMethodNotAllowed:      "This page cannot be opened like this",
		http.StatusConflict:              "This cannot be done now",
		http.StatusRequestEntityTooLarge: "The form is too large",
		http.StatusUnsupportedMediaType:  "The form cannot be read",
		http.StatusMisdirectedRequest:    "This is not the server that was asked",
		http.StatusTooManyRequests:       "Too many attempts",
		http.StatusInternalServerError:   "Something went wrong in the program",
		http.StatusServiceUnavailable:    "Not available at the moment",
	}
	advice = map[int]string{
		http.StatusBadRequest:            "Go back and load the page again before you send the form. If that does not help, ask your study’s operator.",
		http.StatusForbidden:             "If this page of the desk has sent it, ask your study’s operator: behind a proxy, the desk must be told its own address (--desk-url).",
		http.StatusNotFound:              "If you were sent here, ask your study’s operator whether the study is granted to you.",
		http.StatusMethodNotAllowed:      "Open the page from the navigation.",
		http.StatusConflict:              "Look at the case again before you sign.",
		http.StatusRequestEntityTooLarge: "Nothing was done. Go back and shorten what you typed.",
		http.StatusUnsupportedMediaType:  "Nothing was done. Programs use /desk/v1.",
		http.StatusMisdirectedRequest:    "Check the address, and whether your browser uses a proxy.",
		http.StatusTooManyRequests:       "Try again later.",
		http.StatusInternalServerError:   "If you had sent a form, it was carried out whole or not at all: look at the case before you send it again. If it happens again, give your study’s operator this number:",
		http.StatusServiceUnavailable:    "Try again in a moment. " + lookFirst + " If it lasts, ask your study’s operator.",
	}
)

// fail answers with the page of an error.
func (d *Desk) fail(w http.ResponseWriter, q *request, err error) {
	rest.SetFailure(q.Context(), err)
	status, text := rest.StatusOf(err)
	if errors.Is(err, errMisdirected) {
		status = http.StatusMisdirectedRequest
	}
	f := failure{Status: status, Heading: headings[status], Text: text, Advice: advice[status]}
	switch {
	case errors.Is(err, outbox.ErrClock):
		f.Heading = "The clock of the server is wrong, or was not confirmed"
		f.Text = "Nothing was signed, because the time of a signature must be right: " + text + "."
		f.Advice = "You cannot repair this. Ask your study’s operator, and show this page. What waits keeps waiting."
	case status == http.StatusTooManyRequests && waitOf(err) >= time.Minute:
		f.Advice = "Try again in " + page.Count(minutes(waitOf(err)), "minute") + "."
	case status == http.StatusInternalServerError:
		f.RequestID, f.Text = rest.RequestID(q.Context()), ""
	case status > http.StatusInternalServerError:
		f.Text = ""
	}
	if f.Heading == "" {
		f.Heading = http.StatusText(status)
	}
	setRetryAfter(w, status, err)
	if err := pages.Write(w, status, "failure", d.frame(q, "", f.Heading, f)); err != nil {
		d.cfg.Log.ErrorContext(q.Context(), "cannot make the page of an error", "error", err)
		http.Error(w, "the page cannot be made; see the log", http.StatusInternalServerError)
	}
}

// waitOf returns after how long the caller may try again, or 0 if that is not known.
func waitOf(err error) time.Duration {
	var e *events.Error
	if errors.As(err, &e) {
		return e.RetryAfter
	}
	return 0
}

// minutes returns a duration in minutes, rounded up.
func minutes(d time.Duration) int { return int((d + time.Minute - 1) / time.Minute) }

// setRetryAfter sets the header Retry-After if the status needs it.
func setRetryAfter(w http.ResponseWriter, status int, err error) {
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", rest.RetrySeconds(waitOf(err)))
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
	return rest.NotServed(d.mux, w, q.Request)
}

// problem returns the summary of a refused form.
func problem(items ...page.ProblemItem) *page.Problem { return &page.Problem{Items: items} }
