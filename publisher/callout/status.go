package callout

import (
	"errors"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	errNotStarted = errors.New("not started")
	errStopped    = errors.New("stopped")
)

// Status is that of a Standalone.
type Status struct {
	Ready  bool   // logins are answered
	Reason string // why not
}

// readiness holds the present Status.
type readiness struct {
	mu      sync.Mutex
	reason  error // nil when ready
	ready   prometheus.GaugeFunc
	retries prometheus.Counter
}

// init sets the reason to errNotStarted and makes the metrics.
func (r *readiness) init() {
	r.reason = errNotStarted
	r.ready = prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "signoff_partners_ready", Help: "1 while logins are answered."}, func() float64 {
		if r.get().Ready {
			return 1
		}
		return 0
	})
	r.retries = prometheus.NewCounter(prometheus.CounterOpts{Name: "signoff_partners_retries_total", Help: "Waits after a failure."})
}

// set stores the reason for which logins are not answered, nil when they are, and reports
// whether it changed.
func (r *readiness) set(reason error) (changed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	changed = errorText(r.reason) != errorText(reason)
	r.reason = reason
	return changed
}

func (r *readiness) get() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Status{Ready: r.reason == nil, Reason: errorText(r.reason)}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
