package rest_test

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/seed-e88a4ece/signoff/fhir/rest"
)

func TestTheAccessLogHasNoCredentials(t *testing.T) {
	url, log, stop := serve(t, func(w http.ResponseWriter, r *http.Request) {
		rest.SetPartner(r.Context(), "acme")
		slog.New(slog.DiscardHandler).InfoContext(r.Context(), "nothing")
		_, _ = io.WriteString(w, "hello")
	})
	response, _ := ask(t, http.MethodGet, url+"/DiagnosticReport?researchstudy=S&x-partnerid=TOPSECRET",
		"Authorization", "Bearer TOPSECRET", "x-partnerid", "TOPSECRET", "X-Request-Id", "r-1")
	stop()
	if strings.Contains(log.String(), "TOPSECRET") {
		t.Fatalf("a credential is in the log: %s", log)
	}
	records := log.lines(t)
	if len(records) != 1 {
		t.Fatalf("%d lines: %s", len(records), log)
	}
	for key, want := range map[string]any{
		"method": "GET", "path": "/DiagnosticReport", "status": 200.0, "bytes": 5.0, "request": "r-1", "partner": "acme", "level": "INFO",
	} {
		if records[0][key] != want {
			t.Errorf("%s is %v, want %v", key, records[0][key], want)
		}
	}
	if strings.Count(log.String(), `"request":`) != 1 {
		t.Errorf("the request id is not there once: %s", log)
	}
	if response.Header.Get("X-Request-Id") != "r-1" || response.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers: %v", response.Header)
	}
}

func TestARequestIDThatIsUnsafeInALogIsReplaced(t *testing.T) {
	var seen string
	url, _, _ := serve(t, func(_ http.ResponseWriter, r *http.Request) { seen = rest.RequestID(r.Context()) })
	for _, id := range []string{"", strings.Repeat("a", 65), `a"b`, "a b", "ä"} {
		response, _ := ask(t, http.MethodGet, url, "X-Request-Id", id)
		if seen == id || len(seen) != 36 || response.Header.Get("X-Request-Id") != seen {
			t.Errorf("for %q the id is %q, sent %q", id, seen, response.Header.Get("X-Request-Id"))
		}
	}
	if rest.RequestID(context.Background()) != "" {
		t.Error("there is an id outside of a request")
	}
}

func TestLinesOfAHandlerHaveTheRequestsID(t *testing.T) {
	log := new(logged)
	logger := slog.New(rest.LogHandler(slog.NewJSONHandler(log, nil))).With("part", "api")
	url, _, stop := serve(t, func(_ http.ResponseWriter, r *http.Request) { logger.InfoContext(r.Context(), "found") })
	ask(t, http.MethodGet, url, "X-Request-Id", "r-2")
	stop()
	if got := log.lines(t)[0]; got["request"] != "r-2" || got["part"] != "api" {
		t.Errorf("logged %v", got)
	}
}

func TestAPanicIsAnOutcomeAndItsStackIsLoggedOnly(t *testing.T) {
	url, log, stop := serve(t, func(http.ResponseWriter, *http.Request) { panic("broken") })
	response, body := ask(t, http.MethodGet, url)
	stop()
	if got := readOutcome(t, response, body); got.Status != 500 || got.Details.Text != "Internal error" {
		t.Errorf("%+v", got)
	}
	if strings.Contains(body, "broken") || strings.Count(log.String(), "broken") != 1 || !strings.Contains(log.String(), "wrap_test.go") {
		t.Errorf("sent %s\nlogged %s", body, log)
	}
	if got := log.lines(t)[0]; got["level"] != "ERROR" || got["status"] != 500.0 {
		t.Errorf("logged %v", got)
	}
}

func TestAPanicAfterTheAnswerBeganClosesTheConnection(t *testing.T) {
	for _, encoding := range []string{"identity", "gzip"} {
		url, log, stop := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, strings.Repeat("half ", 10))
			panic("broken")
		})
		request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Accept-Encoding", encoding)
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		response, err := client.Do(request)
		if err == nil {
			_, err = io.ReadAll(response.Body)
			response.Body.Close()
		}
		if err == nil {
			t.Errorf("%s: half an answer was taken for the whole", encoding)
		}
		stop()
		if !strings.Contains(log.String(), "broken") {
			t.Errorf("%s: logged %s", encoding, log)
		}
	}
}

func TestErrAbortHandlerIsPassedOn(t *testing.T) {
	url, log, stop := serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	if response, err := client.Get(url); err == nil {
		response.Body.Close()
		t.Errorf("answered %d", response.StatusCode)
	}
	stop()
	if strings.Contains(log.String(), "panic") {
		t.Errorf("logged %s", log)
	}
}

func TestLargeAnswersAreCompressedForCallersThatAcceptIt(t *testing.T) {
	body := strings.Repeat(`{"resourceType":"Bundle"}`, 1000)
	url, _, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/fhir+json")
		_, _ = io.WriteString(w, body)
	})
	response, got := ask(t, http.MethodGet, url, "Accept-Encoding", "gzip, zstd")
	if response.Header.Get("Content-Encoding") != "gzip" || response.Header.Get("Vary") != "Accept-Encoding" || len(got) > len(body)/10 {
		t.Fatalf("%d bytes, %v", len(got), response.Header)
	}
	unzipped, err := gzip.NewReader(strings.NewReader(got))
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := io.ReadAll(unzipped); err != nil || string(plain) != body {
		t.Errorf("another body came out, error %v", err)
	}
	if response, got := ask(t, http.MethodGet, url); response.Header.Get("Content-Encoding") != "" || got != body {
		t.Errorf("compressed unasked: %v", response.Header)
	}
}

func TestABodyIsReadUpToItsLimit(t *testing.T) {
	var failure error
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, failure = rest.ReadBody(w, r, 10)
		if failure != nil {
			rest.WriteError(w, r, failure)
		}
	}))
	defer server.Close()
	for _, c := range []struct {
		what string
		body io.Reader
		want int
	}{
		{"ten bytes", strings.NewReader("0123456789"), 200},
		{"eleven bytes", strings.NewReader("0123456789a"), 413},
		{"eleven bytes of unstated length", io.MultiReader(strings.NewReader("0123456789a")), 413},
		{"none", nil, 200},
	} {
		response, err := server.Client().Post(server.URL, "text/plain", c.body)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != c.want {
			t.Errorf("%s: %d (%v)", c.what, response.StatusCode, failure)
		}
	}
}

func TestABodyThatEndsEarlyIsInvalid(t *testing.T) {
	request := httptest.NewRequest(http.MethodPost, "/", io.MultiReader(strings.NewReader("abc"), failing{}))
	_, err := rest.ReadBody(httptest.NewRecorder(), request, 10)
	if err == nil || !strings.Contains(err.Error(), "to its end") {
		t.Errorf("%v", err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("cut") }

func TestAStatusBelow200DoesNotBeginTheAnswer(t *testing.T) {
	recorder := httptest.NewRecorder()
	counted := rest.Counted(recorder)
	if rest.Counted(counted) != counted {
		t.Error("a CountedWriter is wrapped again")
	}
	for _, c := range []struct {
		what string
		do   func()
		want int
	}{
		{"nothing", func() {}, 0},
		{"early hints", func() { counted.WriteHeader(http.StatusEarlyHints) }, 0},
		{"a body", func() { _, _ = io.WriteString(counted, "hello") }, http.StatusOK},
		{"a status after the body", func() { counted.WriteHeader(http.StatusTeapot) }, http.StatusOK},
	} {
		if c.do(); counted.Status() != c.want {
			t.Errorf("after %s the status is %d, want %d", c.what, counted.Status(), c.want)
		}
	}
	if counted.Unwrap() != http.ResponseWriter(recorder) {
		t.Error("the writer below cannot be reached")
	}
}
