// Package metrics counts what happens at the desk. Its pages and its interface for programs
// share one Metrics, so that requests are one metric.
package metrics

import (
	"net/http"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-e88a4ece/signoff/events/recist"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// Outcome is how an attempt to sign in at the pages ended.
type Outcome string

// The outcomes. What else fails, such as the database, is SignInFailed.
const (
	SignedIn        Outcome = "signed in"
	SignInRefused   Outcome = "refused"           // wrong user name or password, or disabled
	SignInThrottled Outcome = "throttled"         // locked, or too many at once
	SignInOneTime   Outcome = "one-time password" // which opens only the page of the password
	SignInFailed    Outcome = "failed"
)

// Check is what the check of an assessment by RECIST 1.1 showed when it was signed.
type Check string

// The results of the check, of which the worst one counts.
const (
	Agrees      Check = "agrees"
	Judgement   Check = "judgement"
	Contradicts Check = "contradicts"
)

// Metrics are the metrics of one desk. The methods may be called concurrently.
type Metrics struct {
	requests   *prometheus.CounterVec
	signIns    *prometheus.CounterVec
	signatures *prometheus.CounterVec
	streams    prometheus.Gauge
}

// New returns metrics in which nothing is counted yet.
func New() *Metrics {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "signoff_desk_requests_total",
			Help: "Requests of source systems and PIs, by route (a path of the desk with its parameters as names, or unknown) and class of status (2xx to 5xx).",
		}, []string{"route", "class"}),
		signIns: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "signoff_desk_sign_ins_total",
			Help: "Attempts to sign in at the pages, by outcome.",
		}, []string{"outcome"}),
		signatures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "signoff_desk_signatures_total",
			Help: "Assessments signed at the desk, on its pages and over /desk/v1, by what the check by RECIST 1.1 showed: agrees, judgement or contradicts.",
		}, []string{"check"}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "signoff_desk_live_streams",
			Help: "Pages that follow the server now.",
		}),
	}
	for _, o := range []Outcome{SignedIn, SignInRefused, SignInThrottled, SignInOneTime, SignInFailed} {
		m.signIns.WithLabelValues(string(o))
	}
	for _, c := range []Check{Agrees, Judgement, Contradicts} {
		m.signatures.WithLabelValues(string(c))
	}
	return m
}

// Metrics returns the collectors, to be registered once.
func (m *Metrics) Metrics() []prometheus.Collector {
	return []prometheus.Collector{m.requests, m.signIns, m.signatures, m.streams}
}

// UnknownRoute is the route of requests for paths that nothing is served on.
const UnknownRoute = "unknown"

// CountRequest counts a request that was answered with this status. Status 0 is an answer
// that a panic prevented; the caller gets 500.
func (m *Metrics) CountRequest(route string, status int) {
	if status == 0 {
		status = http.StatusInternalServerError
	}
	m.requests.WithLabelValues(route, string(rune('0'+status/100))+"xx").Inc()
}

// CountSignIn counts an attempt to sign in.
func (m *Metrics) CountSignIn(o Outcome) { m.signIns.WithLabelValues(string(o)).Inc() }

// CountSignatures counts the versions that a sign-off of the case c has signed, and not
// those that were signed before. Checked is the check of c.
func (m *Metrics) CountSignatures(c review.Case, checked map[string]recist.Visit, s outbox.SignOff) {
	for _, v := range c.Visits {
		if v.Waiting == nil || !slices.Contains(s.IDs, v.ID) || v.Waiting.Digest != s.Expected[v.ID].Digest {
			continue
		}
		result := Agrees
		switch findings := checked[v.ID].Findings; {
		case checked[v.ID].Contradicts():
			result = Contradicts
		case slices.ContainsFunc(findings, func(f recist.Finding) bool { return f.Level == recist.Judgement }):
			result = Judgement
		}
		m.signatures.WithLabelValues(string(result)).Inc()
	}
}

// OpenStream counts a stream of events until the function returned is called.
func (m *Metrics) OpenStream() (closed func()) {
	m.streams.Inc()
	return m.streams.Dec
}
