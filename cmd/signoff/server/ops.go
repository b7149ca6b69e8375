package server

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// check is a condition that /readyz shows. It is either a condition of readiness or, as a
// notice, one to which the operator has to attend. Ok returns nil if it holds.
type check struct {
	name string
	ok   func(context.Context) error
}

// ReadyTimeout bounds all checks of one readiness request together.
const ReadyTimeout = 3 * time.Second

// opsHandler serves /healthz, /readyz and /metrics. A check that does not hold makes the
// status of /readyz 503. A notice that does not hold is only shown there.
func opsHandler(checks, notices []check, metrics *prometheus.Registry) *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]string{"status": "alive"})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), ReadyTimeout)
		defer cancel()
		status, findings := http.StatusOK, make(map[string]string, len(checks))
		for _, c := range checks {
			findings[c.name] = "ok"
			if err := c.ok(ctx); err != nil {
				status, findings[c.name] = http.StatusServiceUnavailable, err.Error()
			}
		}
		for _, c := range notices {
			if err := c.ok(ctx); err != nil {
				findings[c.name] = err.Error()
			}
		}
		answer(w, status, findings)
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	return mux
}

// answer writes body as JSON.
func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // fails only if the client has gone away
}
