package callout

import "github.com/prometheus/client_golang/prometheus"

// Outcomes of logins.
const (
	opened    = "opened"
	refused   = "refused"   // unknown, wrong, forged or not in force
	expired   = "expired"   // valid before
	throttled = "throttled" // a wrong one after too many wrong ones, or the partner is suspended
	failed    = "failed"    // not decided or not answered, or a malformed request
)

// Why connections are closed.
const (
	tooMuch      = "sends too much" // the partner is suspended
	tooSlow      = "reads too slowly"
	notAdmitted  = "not admitted" // the partner was removed, or nothing is admitted yet
	notKnown     = "not known"    // only a newer version understands the directory
	withheld     = "withheld"     // the stream may contain what was not signed
	oldSecret    = "old secret"
	otherStudies = "other studies" // than are granted now
	foreign      = "foreign"       // its name is not that of a login of the partner
)

// opts returns the options of a metric. The names begin alike in all callouts and package
// partners.
func opts(name, help string) prometheus.Opts {
	return prometheus.Opts{Name: "signoff_partners_" + name, Help: help}
}

// loginMetrics count logins and what partners are charged.
type loginMetrics struct {
	logins  *prometheus.CounterVec
	charged charged
}

// newLoginMetrics returns the metrics of logins, with a zero for each outcome.
func newLoginMetrics(q *quotas) loginMetrics {
	m := loginMetrics{
		logins: prometheus.NewCounterVec(prometheus.CounterOpts(opts("logins_total", "Logins answered, by outcome.")), []string{"outcome"}),
		charged: charged{q, prometheus.NewDesc("signoff_partners_charged_messages_total",
			"Messages charged against a partner's quota; 50 for a login.", []string{"partner"}, nil)},
	}
	for _, outcome := range []string{opened, refused, expired, throttled, failed} {
		m.logins.WithLabelValues(outcome)
	}
	return m
}

// Metrics returns the collectors of a Callout.
func (c *Callout) Metrics() []prometheus.Collector {
	return []prometheus.Collector{c.metrics.logins, c.metrics.charged}
}

// Metrics returns the collectors of a Standalone.
func (s *Standalone) Metrics() []prometheus.Collector {
	return []prometheus.Collector{s.answerer.metrics.logins, s.answerer.metrics.charged, s.status.ready, s.status.retries}
}

// enforcerMetrics count what an Enforcer does.
type enforcerMetrics struct {
	closed      *prometheus.CounterVec
	suspensions prometheus.Counter
	bounded     prometheus.Gauge
}

// newEnforcerMetrics returns the metrics of an Enforcer, with a zero for each cause.
func newEnforcerMetrics() enforcerMetrics {
	m := enforcerMetrics{
		closed:      prometheus.NewCounterVec(prometheus.CounterOpts(opts("closed_connections_total", "Connections closed because a login would not open them now, or for what they do not read, by cause.")), []string{"cause"}),
		suspensions: prometheus.NewCounter(prometheus.CounterOpts(opts("suspensions_total", "Times that a partner was suspended for exceeding its quota."))),
		bounded:     prometheus.NewGauge(prometheus.GaugeOpts(opts("traffic_bounded", "1 while traffic is measured and partners that exceed their quota can be suspended."))),
	}
	for _, cause := range []string{tooMuch, tooSlow, notAdmitted, notKnown, withheld, oldSecret, otherStudies, foreign} {
		m.closed.WithLabelValues(cause)
	}
	return m
}

// Metrics returns the collectors of an Enforcer.
func (e *Enforcer) Metrics() []prometheus.Collector {
	return []prometheus.Collector{e.metrics.closed, e.metrics.suspensions, e.metrics.bounded}
}

// charged is a collector of how many messages each partner was charged.
type charged struct {
	quotas *quotas
	desc   *prometheus.Desc
}

func (c charged) Describe(to chan<- *prometheus.Desc) { to <- c.desc }

// Collect reads the quotas when it is called.
func (c charged) Collect(to chan<- prometheus.Metric) {
	for partner, n := range c.quotas.usage() {
		to <- prometheus.MustNewConstMetric(c.desc, prometheus.CounterValue, float64(n), partner)
	}
}
