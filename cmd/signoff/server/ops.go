package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
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
		all := slices.Concat(checks, notices)
		for i, err := range runChecks(ctx, all) {
			switch blocks := i < len(checks); {
			case err != nil:
				findings[all[i].name] = err.Error()
				if blocks {
					status = http.StatusServiceUnavailable
				}
			case blocks:
				findings[all[i].name] = "ok"
			}
		}
		answer(w, status, findings)
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	return mux
}

// runChecks runs the checks and returns the error of each, in their order. They run at the same
// time, so that one that waits leaves the others theirs. One that has not returned when ctx ends
// is not waited for: it may wait for a lock and not notice that.
func runChecks(ctx context.Context, checks []check) []error {
	results := make([]chan error, len(checks))
	for i, c := range checks {
		results[i] = make(chan error, 1)
		go func() { results[i] <- c.ok(ctx) }()
	}
	errs := make([]error, len(checks))
	for i, result := range results {
		select {
		case errs[i] = <-result:
			continue
		case <-ctx.Done():
		}
		select {
		case errs[i] = <-result: // it has returned all the same
		default:
			errs[i] = fmt.Errorf("not found out in time: %w", context.Cause(ctx))
		}
	}
	return errs
}

// answer writes body as JSON.
func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // fails only if the client has gone away
}
