package partners

import "github.com/prometheus/client_golang/prometheus"

// metrics are the collectors of a Reconciler.
type metrics struct {
	ready      prometheus.GaugeFunc
	retries    prometheus.Counter
	withdrawal prometheus.Histogram
	consumers  []prometheus.Collector
}

// newMetrics returns the metrics of r. Gauges read its Status when they are collected.
func newMetrics(r *Reconciler) *metrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Name: "signoff_partners_" + name, Help: help}
	}
	gauge := func(name, help string, value func(Status) int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts(name, help)), func() float64 { return float64(value(r.Status())) })
	}
	return &metrics{
		ready: prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts("ready", "1 while all matches the directory and logins are answered.")), func() float64 {
			if r.Status().Ready {
				return 1
			}
			return 0
		}),
		retries: prometheus.NewCounter(prometheus.CounterOpts(opts("retries_total", "Waits after a failure."))),
		withdrawal: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "signoff_partners_withdrawal_seconds", Help: "Time from noticing that access was withdrawn to its end.",
			Buckets: []float64{.001, .003, .01, .03, .1, .3, 1, 3},
		}),
		consumers: []prometheus.Collector{
			gauge("consumers", "Consumers that partners have.", func(s Status) int { return s.Consumers }),
			gauge("consumers_limit", "Consumers that partners may have.", func(s Status) int { return s.MaxConsumers }),
			gauge("consumers_refused", "Consumers that partners lack because there are too many.", func(s Status) int { return len(s.Refused) }),
		},
	}
}

// Metrics returns the Reconciler's collectors.
func (r *Reconciler) Metrics() []prometheus.Collector {
	return append([]prometheus.Collector{r.metrics.ready, r.metrics.retries, r.metrics.withdrawal}, r.metrics.consumers...)
}
