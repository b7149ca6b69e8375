package rest_test

import (
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
)

// A handler returns its errors through WriteError. Wrap adds the request id and
// logs each request once.
func ExampleWrap() {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rest.WriteError(w, r, events.Errorf(events.NotFound, "There is no report 790."))
	})
	server := httptest.NewServer(rest.Wrap(handler, slog.New(slog.DiscardHandler)))
	defer server.Close()

	request, err := http.NewRequest(http.MethodGet, server.URL+"/DiagnosticReport/790", nil)
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("X-Request-Id", "r-17")
	response, err := server.Client().Do(request)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(response.StatusCode, response.Header.Get("Content-Type"))
	fmt.Printf("%s\n", body)
	// Output:
	// 404 application/fhir+json
	// {"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"not-found","details":{"text":"There is no report 790."},"diagnostics":"r-17"}]}
}

// The parameter _format takes precedence over the Accept header.
func ExampleNegotiate() {
	for _, query := range []string{"", "?_format=json", "?_format=xml"} {
		request := httptest.NewRequest(http.MethodGet, "/DiagnosticReport"+query, nil)
		request.Header.Set("Accept", "application/fhir+json, text/html;q=0.5")
		contentType, err := rest.Negotiate(request)
		fmt.Printf("%q %v\n", contentType, err)
	}
	// Output:
	// "application/fhir+json" <nil>
	// "application/json" <nil>
	// "" _format: only JSON of FHIR 4.1 is offered: application/fhir+json or application/json
}
