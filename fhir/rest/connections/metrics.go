package connections

import "github.com/prometheus/client_golang/prometheus"

// The causes in the metrics why a connection was closed.
const (
	causeIdle    = "idle"
	causeRequest = "no request"
	causeAnswer  = "slow answer"
	causeAddress = "address"
)

type metrics struct {
	open, limit prometheus.GaugeFunc
	closed      *prometheus.CounterVec
}

func newMetrics(l *Listener) metrics {
	m := metrics{
		open: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "signoff_http_connections",
			Help: "Open connections of the read API.",
		}, func() float64 { return float64(l.count()) }),
		limit: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "signoff_http_connections_limit",
			Help: "Most connections of the read API that may be open at a time.",
		}, func() float64 { return float64(l.cfg.Max) }),
		closed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "signoff_http_closed_connections_total",
			Help: "Connections of the read API that were closed because too many were open, by cause: idle, no request, slow answer, or address for too many from one address.",
		}, []string{"cause"}),
	}
	for _, cause := range []string{causeIdle, causeRequest, causeAnswer, causeAddress} {
		m.closed.WithLabelValues(cause)
	}
	return m
}

// Metrics returns the collectors of the Listener of the read API, to be registered once.
func (l *Listener) Metrics() []prometheus.Collector {
	return []prometheus.Collector{l.metrics.open, l.metrics.limit, l.metrics.closed}
}
