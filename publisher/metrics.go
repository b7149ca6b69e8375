package publisher

import "github.com/prometheus/client_golang/prometheus"

// metrics count what a relay does.
type metrics struct {
	oldest, sequence, ready                      prometheus.GaugeFunc
	published, batches                           prometheus.Counter
	comparisons, found, refilled, parks, retries prometheus.Counter
}

// newMetrics returns the metrics of r. The gauges read its Status.
func newMetrics(r *Relay) metrics {
	gauge := func(name, help string, value func() float64) prometheus.GaugeFunc {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "signoff_publisher_" + name, Help: help}, value)
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "signoff_publisher_" + name, Help: help})
	}
	return metrics{
		oldest: gauge("oldest_unpublished_seconds", "Age of the oldest event that is not published yet; 0 when all are.", func() float64 {
			if s := r.Status(); !s.Oldest.IsZero() {
				return max(0, r.cfg.Clock().Sub(s.Oldest).Seconds())
			}
			return 0
		}),
		sequence: gauge("ordinal", "Stream sequence of the last event published and recorded.", func() float64 { return float64(r.Status().StreamSequence) }),
		ready: gauge("ready", "1 while events are being published, 0 while the relay backs off or has stopped.", func() float64 {
			if r.Status().Ready() {
				return 1
			}
			return 0
		}),
		published:   counter("published_total", "Messages acknowledged by the broker."),
		batches:     counter("batches_total", "Acknowledged publishes, each of one message or one atomic batch."),
		comparisons: counter("looks_total", "Comparisons of the stream's end with the outbox."),
		found:       counter("adopted_total", "Events found in the stream whose acknowledgement was lost."),
		refilled:    counter("healed_total", "Recorded events published again to a stream that lost them."),
		parks:       counter("parks_total", "Studies parked because the broker refused an event."),
		retries:     counter("retries_total", "Waits after a failure."),
	}
}

// sent counts one acknowledged publish of n messages.
func (m metrics) sent(n int) {
	m.published.Add(float64(n))
	m.batches.Inc()
}

// Metrics returns the relay's collectors.
func (r *Relay) Metrics() []prometheus.Collector {
	m := r.metrics
	return []prometheus.Collector{m.oldest, m.sequence, m.ready, m.published, m.batches, m.comparisons, m.found, m.refilled, m.parks, m.retries}
}
