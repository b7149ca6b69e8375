package rest

import (
	"net/http"
	"slices"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
)

// NotServed returns the error for a request that mux serves on no pattern but "/": NotFound,
// or MethodNotAllowed if other methods are served on the path. It sets the header Allow then.
func NotServed(mux *http.ServeMux, w http.ResponseWriter, r *http.Request) error {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := mux.Handler(other); pattern != "/" && pattern != "" {
			allowed = append(allowed, method)
		}
	}
	if allowed == nil {
		return events.Errorf(events.NotFound, "Nothing is served on this path.")
	}
	allow := strings.Join(allowed, ", ")
	w.Header().Set("Allow", allow)
	return events.Errorf(events.MethodNotAllowed, "Only %s is offered here.", allow)
}

// Methods returns a handler that passes requests with one of the methods on to h. It
// answers any other request with 405 and the header Allow. GET implies HEAD; net/http then leaves
// out the body.
func Methods(h http.Handler, methods ...string) http.Handler {
	if slices.Contains(methods, http.MethodGet) && !slices.Contains(methods, http.MethodHead) {
		methods = append(slices.Clone(methods), http.MethodHead)
	}
	allow := strings.Join(methods, ", ")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !slices.Contains(methods, r.Method) {
			w.Header().Set("Allow", allow)
			WriteError(w, r, events.Errorf(events.MethodNotAllowed, "This path supports only the methods %s.", allow))
			return
		}
		h.ServeHTTP(w, r)
	})
}
