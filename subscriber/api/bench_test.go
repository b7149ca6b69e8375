package api_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/subscriber/api"
)

const connections = 16

// BenchmarkPage asks for a page of 50 reports of about 4.5 KB over 16
// connections, from a read model of 500, and for the same bytes from memory
// behind the same middleware. The metric x-memory is the first time over the
// second.
func BenchmarkPage(b *testing.B) {
	s := serveModel(b, api.Config{}, "S1")
	for i := range 500 {
		s.report(events.ReportSigned, fhir.Report{Assessment: assessment("S1", strconv.Itoa(i+1), i+1, 16)})
	}
	s.wait()
	const path = "/DiagnosticReport?researchstudy=S1"
	answer := s.get(b, path, header("Accept-Encoding", "identity"))
	tag := answer.header.Get("Etag")
	memory := httptest.NewServer(rest.Wrap(fromMemory(answer), slog.New(slog.DiscardHandler)))
	b.Cleanup(memory.Close)

	for _, c := range []struct {
		name    string
		headers map[string]string
	}{
		{"plain", map[string]string{"Accept-Encoding": "identity"}},
		{"gzip", map[string]string{"Accept-Encoding": "gzip"}},
		{"unchanged", map[string]string{"Accept-Encoding": "identity", "If-None-Match": tag}},
	} {
		b.Run(c.name, func(b *testing.B) {
			c.headers["Authorization"], c.headers["X-Partnerid"] = "Bearer "+s.accessToken, partnerID
			b.StopTimer()
			baseline := load(b, memory.URL+api.DefaultBasePath+path, c.headers)
			b.StartTimer()
			took := load(b, s.URL+api.DefaultBasePath+path, c.headers)
			b.ReportMetric(float64(b.N)/took.Seconds(), "pages/s")
			b.ReportMetric(float64(b.N)/baseline.Seconds(), "memory-pages/s")
			b.ReportMetric(took.Seconds()/baseline.Seconds(), "x-memory")
			b.ReportMetric(float64(len(answer.body)), "bytes/page")
		})
	}
}

// fromMemory returns a handler that always sends the same answer.
func fromMemory(a answer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"Content-Type", "Etag", "Cache-Control", "Vary"} {
			w.Header()[name] = a.header[name]
		}
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
		_, _ = w.Write(a.body)
	})
}

// load makes b.N requests over the connections and returns the time for all.
func load(b *testing.B, url string, headers map[string]string) time.Duration {
	b.Helper()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections}}
	defer client.CloseIdleConnections()
	var left atomic.Int64
	left.Store(int64(b.N))
	var group sync.WaitGroup
	began := time.Now()
	for range connections {
		group.Go(func() {
			for left.Add(-1) >= 0 {
				if err := fetch(client, url, headers); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	return time.Since(began)
}

func fetch(client *http.Client, url string, headers map[string]string) error {
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	for name, value := range headers {
		r.Header.Set(name, value)
	}
	response, err := client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("answer is %s", response.Status)
	}
	return nil
}
