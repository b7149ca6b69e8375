package partners_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
)

// metric returns the sum of a metric's values: counters and gauges, and of
// histograms how many there were.
func (h *installation) metric(name, label string) (sum float64) {
	h.t.Helper()
	registry := prometheus.NewPedanticRegistry()
	for _, part := range []interface{ Metrics() []prometheus.Collector }{h.callout, h.enforcer, h.reconciler} {
		registry.MustRegister(part.Metrics()...)
	}
	families, err := registry.Gather()
	if err != nil {
		h.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() != name || label != "" && m.GetLabel()[0].GetValue() != label {
				continue
			}
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return sum
}

func TestMetricsCountLoginsAndWithdrawals(t *testing.T) {
	c := &clock{now: time.Now()}
	h := newInstallation(t, config{Clock: c.Now})
	h.admit("acme", "A")
	h.mustLogin("acme")
	for range 6 {
		nc, err := h.dial(nats.UserInfo("acme", "wrong"))
		wantRefused(t, "a wrong secret", nc, err)
	}
	if got := h.metric("signoff_partners_ready", ""); got != 1 {
		t.Errorf("ready is %v", got)
	}
	for outcome, want := range map[string]float64{"refused": 5, "throttled": 1, "expired": 0} {
		count := func() float64 { return h.metric("signoff_partners_logins_total", outcome) }
		until(t, "logins are counted as "+outcome, func() bool { return count() >= want }) // they are answered first
		if got := count(); want == 0 && got > 0 {
			t.Errorf("%v logins were %s", got, outcome)
		}
	}
	until(t, "logins are counted as opened", func() bool { return h.metric("signoff_partners_logins_total", "opened") >= 2 })
	h.set("acme")
	until(t, "the withdrawal is counted", func() bool {
		return h.metric("signoff_partners_withdrawal_seconds", "") >= 1 && h.metric("signoff_partners_closed_connections_total", "other studies") > 0
	})
}
