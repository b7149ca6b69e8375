package api

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The routes of the metrics.
const (
	routeSearch    = "search"
	routeRead      = "read"
	routeHistory   = "history"
	routeMetadata  = "metadata"
	routeDocuments = "documents"
	routeUnknown   = "unknown"
)

// The causes in the metrics why a search was refused.
const (
	refusedTooMany = "too many"
	refusedTooSlow = "too slow"
)

// routes are all routes of the metrics.
var routes = []string{routeSearch, routeRead, routeHistory, routeMetadata, routeDocuments, routeUnknown}

// classes are the classes of status in the metrics.
var classes = []string{"2xx", "3xx", "4xx", "5xx"}

type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	pages    *prometheus.CounterVec
	bytes    prometheus.GaugeFunc
	running  prometheus.Gauge
	refused  *prometheus.CounterVec

	routes map[string]routeMetrics // those of requests and seconds, which are looked up once
}

// routeMetrics are the metrics of a route.
type routeMetrics struct {
	requests []prometheus.Counter // by the index of classes
	seconds  prometheus.Observer
}

func newMetrics(cached func() int64) metrics {
	m := metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "signoff_api_requests_total",
			Help: "Requests to the read API, by route (search, read, history, metadata, documents, unknown) and class of status (2xx to 5xx).",
		}, []string{"route", "class"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "signoff_api_request_seconds",
			Help:    "Time from a request's headers to the end of its answer, by route.",
			Buckets: []float64{.0002, .0005, .001, .002, .005, .01, .02, .05, .1, .5, 1, 5},
		}, []string{"route"}),
		pages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "signoff_api_page_cache_lookups_total",
			Help: "Searches that asked the page cache, by result: hit or miss.",
		}, []string{"result"}),
		bytes: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "signoff_api_page_cache_bytes",
			Help: "Size of the pages in the page cache, with their compressed forms.",
		}, func() float64 { return float64(cached()) }),
		running: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "signoff_api_running_searches",
			Help: "Searches, those of history included, that read the model now.",
		}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "signoff_api_refused_searches_total",
			Help: "Searches that were refused so that a partner does not slow the others, by cause: too many (429) or too slow (503).",
		}, []string{"cause"}),
		routes: make(map[string]routeMetrics),
	}
	for _, route := range routes {
		r := routeMetrics{seconds: m.seconds.WithLabelValues(route)}
		for _, class := range classes {
			r.requests = append(r.requests, m.requests.WithLabelValues(route, class))
		}
		m.routes[route] = r
	}
	for _, cause := range []string{refusedTooMany, refusedTooSlow} {
		m.refused.WithLabelValues(cause)
	}
	for _, result := range []bool{true, false} { // so that both exist from the start
		m.pages.WithLabelValues(resultOf(result))
	}
	return m
}

// resultOf returns the label of a lookup in the page cache.
func resultOf(found bool) string {
	if found {
		return "hit"
	}
	return "miss"
}

// Metrics returns the collectors of the API, to be registered once.
func (a *API) Metrics() []prometheus.Collector {
	return []prometheus.Collector{a.metrics.requests, a.metrics.seconds, a.metrics.pages, a.metrics.bytes, a.metrics.running, a.metrics.refused}
}

// observe counts an answer and the time that it took.
func (m metrics) observe(route string, status int, took time.Duration) {
	r := m.routes[route]
	r.requests[classOf(status)].Inc()
	r.seconds.Observe(took.Seconds())
}

// classOf returns the index in classes of the class of a status. An answer that has not
// begun, status 0, was prevented by a panic, and the caller gets 500.
func classOf(status int) int {
	if status == 0 {
		status = http.StatusInternalServerError
	}
	return min(status/100, 5) - 2
}
