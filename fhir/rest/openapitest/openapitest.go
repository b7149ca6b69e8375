// Package openapitest compares, in tests, the answers of a program with their OpenAPI
// description.
package openapitest

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
)

// Load returns the description in the text, whose examples must fit its schemas.
func Load(t testing.TB, text []byte) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context(), openapi3.EnableExamplesValidation()); err != nil {
		t.Fatal(err)
	}
	return doc
}

// Each calls f for each operation of the description.
func Each(doc *openapi3.T, f func(path, method string, item *openapi3.PathItem, o *openapi3.Operation)) {
	for path, item := range doc.Paths.Map() {
		for method, o := range item.Operations() {
			f(path, method, item, o)
		}
	}
}

// Methods returns the methods that are described of a path, in the order in which a header
// Allow has them.
func Methods(item *openapi3.PathItem) []string {
	var methods []string
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		if item.GetOperation(method) != nil || method == "HEAD" && item.Get != nil {
			methods = append(methods, method)
		}
	}
	return methods
}

// Answer is an answer of the program.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Check reports where an answer is not as it is described. Path is the one of the
// description, and target the one of the request.
func Check(t testing.TB, doc *openapi3.T, path, method, target string, a Answer) {
	t.Helper()
	item := doc.Paths.Find(path)
	r := httptest.NewRequestWithContext(t.Context(), method, target, nil)
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{
			Request: r, Route: &routers.Route{Spec: doc, Path: path, PathItem: item, Method: method, Operation: item.GetOperation(method)},
		},
		Status: a.Status, Header: a.Header,
		Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true},
	}
	input.SetBodyBytes(a.Body)
	if mediaType := a.Header.Get("Content-Type"); strings.HasPrefix(mediaType, "text/html") || mediaType == "application/yaml" {
		input.Options.ExcludeResponseBody = true
	}
	if err := openapi3filter.ValidateResponse(t.Context(), input); err != nil {
		t.Errorf("%s %s: %d is not as described: %v\n%.2000s", method, target, a.Status, err, a.Body)
	}
}
