package doors

import "github.com/prometheus/client_golang/prometheus"

// Outcomes of logins.
const (
	opened    = "opened"
	refused   = "refused"   // unknown, wrong, forged or not in force
	expired   = "expired"   // good once
	throttled = "throttled" // after too many wrong ones, or too many messages
	failed    = "failed"    // for a fault of ours, or a question nobody should ask
)

// metrics count what happens at the doors.
type metrics struct {
	ready      prometheus.GaugeFunc
	logins     *prometheus.CounterVec
	closed     prometheus.Counter
	putOut     prometheus.Counter
	bounded    prometheus.Gauge
	retries    prometheus.Counter
	withdrawal prometheus.Histogram
}

func newMetrics(d *Doors) *metrics {
	name := func(n, help string) prometheus.Opts { return prometheus.Opts{Name: "signoff_doors_" + n, Help: help} }
	m := &metrics{
		ready: prometheus.NewGaugeFunc(prometheus.GaugeOpts(name("ready", "1 while all is as the log has it and logins are answered.")), func() float64 {
			if d.Status().Ready {
				return 1
			}
			return 0
		}),
		logins:  prometheus.NewCounterVec(prometheus.CounterOpts(name("logins_total", "Logins answered, by outcome.")), []string{"outcome"}),
		closed:  prometheus.NewCounter(prometheus.CounterOpts(name("closed_connections_total", "Connections closed because access had changed or their partner was put out."))),
		putOut:  prometheus.NewCounter(prometheus.CounterOpts(name("put_out_total", "Times that a partner was put out for sending more than it may."))),
		bounded: prometheus.NewGauge(prometheus.GaugeOpts(name("traffic_bounded", "1 while it is known what partners send and who is over can be put out."))),
		retries: prometheus.NewCounter(prometheus.CounterOpts(name("retries_total", "Waits after a failure."))),
		withdrawal: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "signoff_doors_withdrawal_seconds", Help: "Time from noticing that access was withdrawn to its end.",
			Buckets: []float64{.001, .003, .01, .03, .1, .3, 1, 3},
		}),
	}
	for _, outcome := range []string{opened, refused, expired, throttled, failed} {
		m.logins.WithLabelValues(outcome)
	}
	return m
}

// Metrics gives the doors' collectors.
func (d *Doors) Metrics() []prometheus.Collector {
	m := d.metrics
	return []prometheus.Collector{m.ready, m.logins, m.closed, m.putOut, m.bounded, m.retries, m.withdrawal}
}
