package readmodel_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestMetrics(t *testing.T) {
	m := applied(t, (&study{number: "S1"}).many(3))
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(m.Metrics()...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		got[f.GetName()] = f.GetMetric()[0].GetGauge().GetValue() + f.GetMetric()[0].GetCounter().GetValue() +
			float64(f.GetMetric()[0].GetHistogram().GetSampleCount())
	}
	for name, want := range map[string]float64{
		"signoff_readmodel_events_total": 3, "signoff_readmodel_position": 3, "signoff_readmodel_lag_events": 0, "signoff_readmodel_green": 1,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, not %v", name, got[name], want)
		}
	}
	if got["signoff_readmodel_batch_events"] == 0 || got["signoff_readmodel_store_seconds"] == 0 || got["signoff_readmodel_delay_seconds"] == 0 {
		t.Errorf("a histogram is empty: %v", got)
	}
}
