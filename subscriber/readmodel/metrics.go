package readmodel

import (
	"context"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-e88a4ece/signoff/subscriber/stream"
)

// meters are the model's metrics.
type meters struct {
	all    []prometheus.Collector
	events prometheus.Counter
	batch  prometheus.Histogram
	store  prometheus.Histogram
	delay  prometheus.Histogram
}

func newMeters(m *Model) *meters {
	gauge := func(name, help string, value func(Status) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "signoff_readmodel_" + name, Help: help},
			func() float64 { return value(m.Status()) })
	}
	x := &meters{
		events: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "signoff_readmodel_events_total", Help: "Events applied."}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "signoff_readmodel_batch_events", Help: "Events per transaction.", Buckets: []float64{1, 2, 5, 10, 20, 50, 100, 200, 500}}),
		store: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "signoff_readmodel_store_seconds", Help: "Time to store a batch.", Buckets: prometheus.ExponentialBuckets(0.0001, 2.5, 12)}),
		delay: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "signoff_readmodel_delay_seconds", Help: "From an event's time until it is visible, once the model is current.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2.5, 12)}),
	}
	x.all = []prometheus.Collector{x.events, x.batch, x.store, x.delay,
		gauge("lag_events", "Events known to be in the stream that are not applied.", func(s Status) float64 { return float64(s.Lag) }),
		gauge("position", "Stream sequence applied.", func(s Status) float64 { return float64(s.Position.StreamSequence) }),
		gauge("outdated_studies", "Studies from which nothing is answered, because they have an event that only a newer version knows.", func(Status) float64 {
			outdated, err := m.Outdated(context.Background())
			if err != nil {
				return math.NaN()
			}
			return float64(len(outdated))
		}),
		gauge("green", "1 while the model follows the stream.", func(s Status) float64 {
			if s.State == Green {
				return 1
			}
			return 0
		}),
	}
	return x
}

// applied observes a batch that was stored from start to end. The delay is observed only
// if the stream had nothing behind the batch: otherwise it would be that of a backlog.
func (x *meters) applied(b stream.Batch, start, end time.Time) {
	x.events.Add(float64(len(b.Messages)))
	x.batch.Observe(float64(len(b.Messages)))
	x.store.Observe(end.Sub(start).Seconds())
	if b.Pending == 0 {
		last := b.Messages[len(b.Messages)-1]
		x.delay.Observe(max(0, end.Sub(last.Event.Time).Seconds()))
	}
}

// Metrics returns the model's metrics, to be registered once.
func (m *Model) Metrics() []prometheus.Collector { return m.metrics.all }
