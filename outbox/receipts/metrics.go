package receipts

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// scrapeTimeout is how long a scrape may take.
const scrapeTimeout = 5 * time.Second

// Metrics returns the metrics of the partners' lags.
func (recs *Receipts) Metrics() []prometheus.Collector { return []prometheus.Collector{lags{recs}} }

// lags collects the partners' lags at each scrape. Its labels are a closed set: only an
// operator's grants add values, and these end with the grants.
type lags struct{ receipts *Receipts }

var (
	lagEventsDesc = prometheus.NewDesc("signoff_partner_lag_events",
		"Events of a study that a partner has not acknowledged.", []string{"partner", "study"}, nil)
	lagAgeDesc = prometheus.NewDesc("signoff_partner_lag_age_seconds",
		"Since when the partner could have had the oldest of them; 0 where there is none.", []string{"partner", "study"}, nil)
)

// Describe implements prometheus.Collector.
func (l lags) Describe(descs chan<- *prometheus.Desc) {
	descs <- lagEventsDesc
	descs <- lagAgeDesc
}

// Collect implements prometheus.Collector.
func (l lags) Collect(metrics chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	all, err := l.receipts.Lags(ctx)
	if err != nil {
		metrics <- prometheus.NewInvalidMetric(lagEventsDesc, err)
		return
	}
	now := l.receipts.ledger.Now()
	for _, lag := range all {
		age := 0.0
		if !lag.Since.IsZero() {
			age = max(0, now.Sub(lag.Since).Seconds())
		}
		metrics <- prometheus.MustNewConstMetric(lagEventsDesc, prometheus.GaugeValue, float64(lag.Behind), lag.Partner, lag.StudyKey)
		metrics <- prometheus.MustNewConstMetric(lagAgeDesc, prometheus.GaugeValue, age, lag.Partner, lag.StudyKey)
	}
}
