package outbox

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-e88a4ece/signoff/events"
)

// scrapeTimeout bounds what a scrape of the backlog may take.
const scrapeTimeout = 5 * time.Second

// counters are the metrics that the outbox counts by itself.
type counters struct {
	signoffs    *prometheus.CounterVec
	duration    prometheus.Histogram
	withdrawals *prometheus.CounterVec
}

func newCounters() counters {
	return counters{
		signoffs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "signoff_outbox_signoffs_total", Help: "Assessments signed, and sign-offs refused or failed.",
		}, []string{"outcome"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "signoff_outbox_signoff_seconds", Help: "From the request to the sign-off on disk.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
		}),
		withdrawals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "signoff_outbox_withdrawals_total", Help: "Withdrawals.",
		}, []string{"outcome"}),
	}
}

// signed counts a call of SignOff: each assessment signed, and the call once more if it
// ended with an error. Both happen when a later case fails.
func (c counters) signed(answers int, err error, took time.Duration) {
	c.duration.Observe(took.Seconds())
	c.signoffs.WithLabelValues(outcome(nil)).Add(float64(answers))
	if err != nil {
		c.signoffs.WithLabelValues(outcome(err)).Inc()
	}
}

func (c counters) withdrawn(err error) { c.withdrawals.WithLabelValues(outcome(err)).Inc() }

// outcome returns the label of a call: "done" without an error, "refused" where the
// request is the reason of the error, and else "failed".
func outcome(err error) string {
	var refusal *events.Error
	switch {
	case err == nil:
		return "done"
	case errors.As(err, &refusal) && refusal.Code != events.Unavailable && refusal.Code != events.Internal:
		return "refused"
	default:
		return "failed"
	}
}

// Metrics returns the outbox's metrics, with those of its accounts and receipts.
// The most important one is the age of the oldest unpublished event.
func (o *Outbox) Metrics() []prometheus.Collector {
	c := o.counters
	return slices.Concat([]prometheus.Collector{backlog{o}, c.signoffs, c.duration, c.withdrawals}, o.receipts.Metrics(), o.accounts.Metrics())
}

// backlog collects the unpublished events and the parked studies, at each scrape.
type backlog struct{ o *Outbox }

var (
	oldestDesc = prometheus.NewDesc("signoff_outbox_oldest_unpublished_age_seconds",
		"Age of the oldest event that is not on the stream; 0 where all are.", nil, nil)
	unpublishedDesc = prometheus.NewDesc("signoff_outbox_unpublished_events",
		"Events that are not on the stream.", nil, nil)
	parkedDesc = prometheus.NewDesc("signoff_outbox_parked_studies",
		"Parked studies, whose events are not published.", nil, nil)
)

// Describe implements prometheus.Collector.
func (b backlog) Describe(descs chan<- *prometheus.Desc) {
	descs <- oldestDesc
	descs <- unpublishedDesc
	descs <- parkedDesc
}

// Collect implements prometheus.Collector.
func (b backlog) Collect(metrics chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	s, err := b.o.backlog(ctx)
	if err != nil {
		metrics <- prometheus.NewInvalidMetric(oldestDesc, err)
		return
	}
	parked, err := b.o.Parked(ctx)
	if err != nil {
		metrics <- prometheus.NewInvalidMetric(parkedDesc, err)
		return
	}
	age := 0.0
	if !s.Oldest.IsZero() {
		age = max(0, b.o.ledger.Now().Sub(s.Oldest).Seconds())
	}
	metrics <- prometheus.MustNewConstMetric(oldestDesc, prometheus.GaugeValue, age)
	metrics <- prometheus.MustNewConstMetric(unpublishedDesc, prometheus.GaugeValue, float64(s.Unpublished))
	metrics <- prometheus.MustNewConstMetric(parkedDesc, prometheus.GaugeValue, float64(len(parked)))
}
