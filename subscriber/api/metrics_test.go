package api_test

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-e88a4ece/signoff/subscriber/api"
)

func TestMetricsCountByRouteAndClassOfStatus(t *testing.T) {
	s := open(t, api.Config{}, "S1")
	registry := prometheus.NewRegistry()
	registry.MustRegister(s.api.Metrics()...)
	for _, path := range []string{
		"/DiagnosticReport?researchstudy=S1", "/DiagnosticReport?researchstudy=S1", "/DiagnosticReport?researchstudy=S2",
		"/DiagnosticReport/none", "/DiagnosticReport/none2", "/Patient", "/Patient/1?a=b",
	} {
		s.get(t, path)
	}
	tag := s.get(t, "/DiagnosticReport?researchstudy=S1").header.Get("Etag")
	s.get(t, "/DiagnosticReport?researchstudy=S1", header("If-None-Match", tag))

	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			name := strings.TrimPrefix(family.GetName(), "signoff_api_")
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			got[name] = m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	want := map[string]float64{
		"requests_total 2xx search": 3, "requests_total 3xx search": 1, "requests_total 4xx search": 1, "requests_total 4xx read": 2, "requests_total 4xx unknown": 2,
		"request_seconds search": 5, "request_seconds read": 2, "request_seconds unknown": 2,
	}
	for name, n := range want {
		if got[name] != n {
			t.Errorf("%s is %v, want %v", name, got[name], n)
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %v", got)
	}
}
