package token

import "github.com/prometheus/client_golang/prometheus"

// The outcomes of a token request that are not error codes of RFC 6749.
const (
	issued    = "issued"
	throttled = "throttled"
)

type metrics struct {
	requests *prometheus.CounterVec
}

func newMetrics() metrics {
	m := metrics{requests: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "signoff_token_requests_total",
		Help: "Token requests, by outcome: issued, throttled or the error code of the answer.",
	}, []string{"outcome"})}
	for _, outcome := range []string{
		issued, throttled, invalidRequest, invalidClient, unsupportedGrantType, invalidScope, unavailable, serverError,
	} { // each series starts at 0, before its first request
		m.requests.WithLabelValues(outcome)
	}
	return m
}

// Metrics returns the endpoint's collectors, to be registered once.
func (e *Endpoint) Metrics() []prometheus.Collector {
	return []prometheus.Collector{e.metrics.requests}
}
