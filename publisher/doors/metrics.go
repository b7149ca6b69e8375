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

// Why connections are closed.
const (
	tooMuch      = "sends too much"
	tooSlow      = "reads too slowly"
	notAdmitted  = "not admitted" // removed, or not admitted yet
	notKnown     = "not known"    // only a newer version knows who may come in
	oldSecret    = "old secret"
	otherStudies = "other studies" // than are granted now
	foreign      = "foreign"       // opened by no login of the partner
)

// metrics count what happens at the doors.
type metrics struct {
	ready      prometheus.GaugeFunc
	logins     *prometheus.CounterVec
	closed     *prometheus.CounterVec
	putOut     prometheus.Counter
	charged    charged
	bounded    prometheus.Gauge
	retries    prometheus.Counter
	withdrawal prometheus.Histogram
	room       []prometheus.Collector
}

func newMetrics(d *Doors) *metrics {
	name := func(n, help string) prometheus.Opts { return prometheus.Opts{Name: "signoff_doors_" + n, Help: help} }
	gauge := func(n, help string, value func(Status) int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts(name(n, help)), func() float64 { return float64(value(d.Status())) })
	}
	m := &metrics{
		ready: prometheus.NewGaugeFunc(prometheus.GaugeOpts(name("ready", "1 while all is as the log has it and logins are answered.")), func() float64 {
			if d.Status().Ready {
				return 1
			}
			return 0
		}),
		logins:  prometheus.NewCounterVec(prometheus.CounterOpts(name("logins_total", "Logins answered, by outcome.")), []string{"outcome"}),
		closed:  prometheus.NewCounterVec(prometheus.CounterOpts(name("closed_connections_total", "Connections closed because a login would not open them now, or for what they do not read, by cause.")), []string{"cause"}),
		putOut:  prometheus.NewCounter(prometheus.CounterOpts(name("put_out_total", "Times that a partner was put out for sending more than it may."))),
		bounded: prometheus.NewGauge(prometheus.GaugeOpts(name("traffic_bounded", "1 while it is known what partners send and who is over can be put out."))),
		retries: prometheus.NewCounter(prometheus.CounterOpts(name("retries_total", "Waits after a failure."))),
		charged: charged{d.allowance, prometheus.NewDesc("signoff_doors_charged_messages_total",
			"Messages that count against what a partner may send and be sent; 50 for a login.", []string{"partner"}, nil)},
		withdrawal: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "signoff_doors_withdrawal_seconds", Help: "Time from noticing that access was withdrawn to its end.",
			Buckets: []float64{.001, .003, .01, .03, .1, .3, 1, 3},
		}),
		room: []prometheus.Collector{
			gauge("consumers", "Consumers that partners have.", func(s Status) int { return s.Consumers }),
			gauge("consumers_limit", "Consumers that partners may have.", func(s Status) int { return s.MaxConsumers }),
			gauge("consumers_refused", "Consumers that partners lack because there are too many.", func(s Status) int { return len(s.Refused) }),
		},
	}
	for _, outcome := range []string{opened, refused, expired, throttled, failed} {
		m.logins.WithLabelValues(outcome)
	}
	for _, cause := range []string{tooMuch, tooSlow, notAdmitted, notKnown, oldSecret, otherStudies, foreign} {
		m.closed.WithLabelValues(cause)
	}
	return m
}

// Metrics returns the doors' collectors.
func (d *Doors) Metrics() []prometheus.Collector {
	m := d.metrics
	return append([]prometheus.Collector{m.ready, m.logins, m.closed, m.putOut, m.charged, m.bounded, m.retries, m.withdrawal}, m.room...)
}

// charged shows what partners were charged.
type charged struct {
	allowance *allowance
	desc      *prometheus.Desc
}

func (c charged) Describe(to chan<- *prometheus.Desc) { to <- c.desc }

func (c charged) Collect(to chan<- prometheus.Metric) {
	for partner, n := range c.allowance.spent() {
		to <- prometheus.MustNewConstMetric(c.desc, prometheus.CounterValue, float64(n), partner)
	}
}
