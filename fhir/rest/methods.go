package rest

import (
	"net/http"
	"slices"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
)

// Methods returns a handler that passes requests with one of the methods on to h. It
// answers any other request with 405 and the header Allow. GET implies HEAD; net/http then leaves out the
// body.
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
