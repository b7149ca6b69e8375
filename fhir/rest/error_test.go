package rest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
)

func TestEveryErrorCodeHasItsStatusAndIssueCode(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		issue  string
		text   string
	}{
		{events.Fieldf("date", "must be a date"), 400, "value", "date: must be a date"},
		{events.Errorf(events.Required, "Missing required query parameter."), 400, "required", "Missing required query parameter."},
		{events.Errorf(events.Unsupported, "no modifiers"), 400, "not-supported", "no modifiers"},
		{events.Errorf(events.Unauthenticated, "Incorrect Partnerid name."), 401, "login", "Incorrect Partnerid name."},
		{events.Errorf(events.Expired, "too old"), 401, "expired", "too old"},
		{events.Errorf(events.Forbidden, "Access to protocol denied."), 403, "security", "Access to protocol denied."},
		{events.NotFound, 404, "not-found", "There is no such thing."},
		{events.Errorf(events.MethodNotAllowed, "GET only"), 405, "not-supported", "GET only"},
		{events.Errorf(events.NotAcceptable, "JSON only"), 406, "not-supported", "JSON only"},
		{fmt.Errorf("sign: %w", events.Errorf(events.Conflict, "signed already")), 409, "conflict", "signed already"},
		{events.Errorf(events.Gone, "withdrawn"), 410, "deleted", "withdrawn"},
		{events.Errorf(events.TooLarge, "too long"), 413, "too-long", "too long"},
		{&http.MaxBytesError{Limit: 7}, 413, "too-long", "The request is too large."},
		{events.Errorf(events.UnsupportedMedia, "a form"), 415, "not-supported", "a form"},
		{events.Errorf(events.Throttled, "wait"), 429, "throttled", "wait"},
		{events.Errorf(events.Internal, "secret"), 500, "exception", "Internal error"},
		{events.Errorf(events.Gap, "secret"), 500, "exception", "Internal error"},
		{errors.New("secret"), 500, "exception", "Internal error"},
		{events.Errorf(events.Unavailable, "secret"), 503, "transient", "Internal error"},
		{events.Errorf(events.NotYet, "secret"), 503, "transient", "The study does not have this number yet; ask again later."},
		{events.Errorf(events.Outdated, "secret"), 503, "transient", "This needs a newer version of the service; ask again later."},
		{context.DeadlineExceeded, 503, "transient", "Internal error"},
	} {
		t.Run(fmt.Sprintf("%d %s for %v", c.status, c.issue, c.err), func(t *testing.T) {
			url, log, stop := serve(t, func(w http.ResponseWriter, r *http.Request) { rest.WriteError(w, r, c.err) })
			response, body := ask(t, http.MethodGet, url+"/x", "X-Request-Id", "abc-1")
			stop()
			got := readOutcome(t, response, body)
			want := outcome{Status: c.status, Code: c.issue, Severity: "error", Diagnostics: "abc-1"}
			want.Details.Text = c.text
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if c.status >= 500 && strings.Count(log.String(), c.err.Error()) != 1 {
				t.Errorf("the cause is not once in the log: %s", log)
			}
			if h := response.Header; h.Get("Content-Type") != "application/fhir+json" || h.Get("Cache-Control") != "no-store" {
				t.Errorf("headers: %v", h)
			}
		})
	}
}

func TestErrorsHaveTheHeadersOfTheirStatus(t *testing.T) {
	throttled := events.Errorf(events.Throttled, "wait")
	throttled.RetryAfter = 90*time.Second + time.Millisecond
	for _, c := range []struct {
		what, header, want string
		err                error
	}{
		{"401 names the scheme and a parameter", "WWW-Authenticate", `Bearer realm="signoff"`, events.Unauthenticated},
		{"an expired token too", "WWW-Authenticate", rest.Challenge, events.Expired},
		{"429 has the time to wait, rounded up", "Retry-After", "91", throttled},
		{"503 has a default", "Retry-After", "5", events.Unavailable},
		{"400 has none", "Retry-After", "", events.Invalid},
	} {
		t.Run(c.what, func(t *testing.T) {
			url, _, _ := serve(t, func(w http.ResponseWriter, r *http.Request) { rest.WriteError(w, r, c.err) })
			response, _ := ask(t, http.MethodGet, url)
			if got := response.Header.Get(c.header); got != c.want {
				t.Errorf("%s: %q, want %q", c.header, got, c.want)
			}
		})
	}
}

func TestTheCauseOfAnErrorIsLoggedAndNotSent(t *testing.T) {
	err := &events.Error{Code: events.Unauthenticated, Message: "The access token is not valid.", Err: errors.New("unknown key 17")}
	url, log, stop := serve(t, func(w http.ResponseWriter, r *http.Request) { rest.WriteError(w, r, err) })
	_, body := ask(t, http.MethodGet, url)
	stop()
	if strings.Contains(body, "unknown key") || strings.Count(log.String(), "unknown key 17") != 1 {
		t.Errorf("sent %s\nlogged %s", body, log)
	}
	if got := log.lines(t)[0]; got["level"] != "INFO" || got["code"] != "unauthenticated" {
		t.Errorf("logged %v", got)
	}
}

func TestAnOutcomeHasTheFormatTheCallerWants(t *testing.T) {
	url, _, _ := serve(t, func(w http.ResponseWriter, r *http.Request) { rest.WriteError(w, r, events.NotFound) })
	for query, want := range map[string]string{
		"?_format=json": "application/json", "?_format=xml": "application/fhir+json", "": "application/fhir+json",
	} {
		if response, _ := ask(t, http.MethodGet, url+query); response.Header.Get("Content-Type") != want {
			t.Errorf("%q: %q", query, response.Header.Get("Content-Type"))
		}
	}
}

func TestOtherMethodsAreRefusedWithThoseAllowed(t *testing.T) {
	url, _, _ := serve(t, rest.Methods(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("hello"))
	}), http.MethodGet).ServeHTTP)
	for _, method := range []string{"POST", "DELETE", "OPTIONS", "BREW"} {
		response, body := ask(t, method, url)
		if got := readOutcome(t, response, body); got.Status != 405 || got.Code != "not-supported" || response.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %+v, Allow %q", method, got, response.Header.Get("Allow"))
		}
	}
	if response, body := ask(t, http.MethodHead, url); response.StatusCode != 200 || body != "" || response.ContentLength != 5 {
		t.Errorf("HEAD: %d, %q, %d bytes", response.StatusCode, body, response.ContentLength)
	}
}

// A caller that waits for a number which does not come is no failure of the service.
func TestANumberThatDoesNotExistYetIsNoErrorInTheLog(t *testing.T) {
	for code, level := range map[events.Code]string{events.NotYet: "INFO", events.Unavailable: "ERROR"} {
		url, log, stop := serve(t, func(w http.ResponseWriter, r *http.Request) {
			rest.WriteError(w, r, &events.Error{Code: code, Message: "number 7"})
		})
		response, _ := ask(t, http.MethodGet, url)
		stop()
		if response.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s: status %d", code, response.StatusCode)
		}
		if got := log.lines(t)[0]; got["level"] != level || !strings.Contains(fmt.Sprint(got["cause"]), "number 7") {
			t.Errorf("%s: logged %v", code, got)
		}
	}
}
