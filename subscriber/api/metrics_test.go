package api_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-e88a4ece/signoff/subscriber/api"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// figures returns the API's counters and gauges that are not 0, and of its
// histograms the number of observations, by name and labels.
func figures(t *testing.T, a *api.API) map[string]float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(a.Metrics()...)
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
			if value := m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount()); value != 0 {
				got[name] = value
			}
		}
	}
	return got
}

func TestMetricsCountByRouteAndClassOfStatus(t *testing.T) {
	s := serve(t, api.Config{}, "S1")
	for _, path := range []string{
		"/DiagnosticReport?researchstudy=S1", "/DiagnosticReport?researchstudy=S1", "/DiagnosticReport?researchstudy=S2",
		"/DiagnosticReport/none", "/DiagnosticReport/none2", "/Patient", "/Patient/1?a=b",
	} {
		s.get(t, path)
	}
	tag := s.get(t, "/DiagnosticReport?researchstudy=S1").header.Get("Etag")
	s.get(t, "/DiagnosticReport?researchstudy=S1", header("If-None-Match", tag))

	want := map[string]float64{
		"requests_total 2xx search": 3, "requests_total 3xx search": 1, "requests_total 4xx search": 1, "requests_total 4xx read": 2, "requests_total 4xx unknown": 2,
		"request_seconds search": 5, "request_seconds read": 2, "request_seconds unknown": 2,
	}
	if diff := cmp.Diff(want, figures(t, s.api)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// panickingReader panics in every search.
type panickingReader struct{ *scriptedReader }

func (panickingReader) Search(context.Context, readmodel.Query) (readmodel.Page, error) {
	panic("broken")
}

func TestAPanicIsCountedAsAnAnswer5xx(t *testing.T) {
	reader := &scriptedReader{}
	s := serveReader(t, panickingReader{reader}, api.Config{})
	reader.change(func(r *scriptedReader) { r.directory = s.directory("S1") })
	if a := s.get(t, "/DiagnosticReport?researchstudy=S1"); a.status != http.StatusInternalServerError {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if diff := cmp.Diff(map[string]float64{"requests_total 5xx search": 1, "request_seconds search": 1}, figures(t, s.api)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
