package rest

import (
	"net/http"
	"slices"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
)

// Methods lets requests of these methods through to h and refuses others with
// 405 and Allow. Where GET is among them HEAD is too; the server leaves the
// body of its answer out.
func Methods(h http.Handler, methods ...string) http.Handler {
	if slices.Contains(methods, http.MethodGet) && !slices.Contains(methods, http.MethodHead) {
		methods = append(slices.Clone(methods), http.MethodHead)
	}
	allow := strings.Join(methods, ", ")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !slices.Contains(methods, r.Method) {
			w.Header().Set("Allow", allow)
			WriteError(w, r, events.Errorf(events.MethodNotAllowed, "Only %s is offered here.", allow))
			return
		}
		h.ServeHTTP(w, r)
	})
}
