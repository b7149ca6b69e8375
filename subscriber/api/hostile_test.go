package api_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/fhir"
	"github.com/seed-e88a4ece/signoff/subscriber/api"
)

// hostileQuery returns an expensive search: each report is compared with 5 KB of dates, all
// match the last of them only, and they are sorted by seven keys. Each number has another
// one.
func hostileQuery(number int64) string {
	var dates []string
	for year := 1000; year < 1490; year++ {
		dates = append(dates, fmt.Sprintf("%d-%02d-%02d", year, number/28%12+1, number%28+1))
	}
	dates = append(dates, "ge2000")
	return "/DiagnosticReport?researchstudy=S1&_count=1000&date=" + strings.Join(dates, ",") +
		"&_sort=-conclusion,name,-subject,caseid,-issued,date,-_lastUpdated"
}

// publishReports publishes reports of a study in batches, and waits until they are applied.
func (s *modelServer) publishReports(study string, count int) {
	s.t.Helper()
	const perBatch = 500
	var batch []*nats.Msg
	for i := range count {
		r := fhir.Report{Assessment: assessment(study, fmt.Sprintf("%s-%d", study, i+1), i+1, 16)}
		r.Version = s.heads[study].Number + 1
		r.LastUpdated = noon.Add(time.Duration(r.Version) * time.Microsecond)
		r.Signature = events.Signature{User: "jdoe", Name: "Jane Doe, MD", Meaning: "I approve this", Time: r.LastUpdated}
		body, err := r.Encode()
		if err != nil {
			s.t.Fatal(err)
		}
		e := seal(events.Event{
			Type: events.DefaultNamespace.Type(events.ReportSigned), Subject: events.ReportSubject(r.Assessment.ID, r.Version),
			Time: r.LastUpdated, Study: study, Data: body,
		}, s.heads[study])
		s.heads[study] = e.ChainHead()
		if batch = append(batch, message(e)); len(batch) < perBatch && i < count-1 {
			continue
		}
		ack, err := jetstreamext.PublishMsgBatch(s.t.Context(), s.publisher, batch)
		if err != nil {
			s.t.Fatal(err)
		}
		s.last, batch = ack.Sequence, nil
	}
	s.wait()
}

// announcePartner announces another partner and returns an option that makes a request as
// that partner.
func (s *modelServer) announcePartner(id string, studies ...string) func(*http.Request) {
	s.t.Helper()
	p := access.Partner{ID: id, Studies: studies, Secrets: secrets(), Enabled: true}
	s.announce(events.AccessPartner, p.EventSubject(), p)
	accessToken := issue(s.t, s.signer, id, noon.Add(-time.Minute))
	return func(r *http.Request) {
		r.Header.Set("Authorization", "Bearer "+accessToken)
		r.Header.Set("X-Partnerid", id)
	}
}

// BenchmarkHostileSearches measures how long the searches of a partner take while another
// one has eight expensive searches under way all the time, over 20,000 reports. The metric
// ratio is the 99th percentile during the attack divided by that without it. With -short
// there are 1,000 reports and fewer searches.
func BenchmarkHostileSearches(b *testing.B) {
	s := serveModel(b, api.Config{}, "S1")
	reports, least := 20_000, 1000
	if testing.Short() {
		reports, least = 1000, 20
	}
	s.publishReports("S1", reports)
	other := s.announcePartner("other", "S1")
	var number atomic.Int64
	for _, c := range []struct {
		name string
		path func(i int64) string
	}{
		{"page", func(i int64) string { return fmt.Sprintf("/DiagnosticReport?researchstudy=S1&page=%d", i%8+1) }},
		{"search", func(i int64) string {
			return fmt.Sprintf("/DiagnosticReport?researchstudy=S1&caseid=%d", i%int64(reports)+1)
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			measure := func() time.Duration {
				took := make([]time.Duration, max(least, b.N))
				for i := range took {
					path := c.path(number.Add(1))
					began := time.Now()
					if a := s.get(b, path, other); a.status != http.StatusOK {
						b.Fatalf("the other partner: %d %.300s", a.status, a.body)
					}
					took[i] = time.Since(began)
				}
				slices.Sort(took)
				return took[len(took)*99/100]
			}
			measure()
			idle := measure()
			answers, stop := s.attack(b, 8)
			attacked := measure()
			stop()
			b.ReportMetric(float64(idle.Microseconds()), "idle-p99-µs")
			b.ReportMetric(float64(attacked.Microseconds()), "p99-µs")
			b.ReportMetric(float64(attacked)/float64(idle), "ratio")
			for status, n := range answers {
				b.ReportMetric(float64(n.Load()), fmt.Sprintf("hostile-%d", status))
			}
		})
	}
}

// attack has hostile searches under way until stop is called. The map has the number of
// answers by status.
func (s *modelServer) attack(b *testing.B, clients int) (answers map[int]*atomic.Int64, stop func()) {
	b.Helper()
	answers = map[int]*atomic.Int64{200: new(atomic.Int64), 429: new(atomic.Int64), 503: new(atomic.Int64)}
	var group sync.WaitGroup
	var stopped atomic.Bool
	var number atomic.Int64
	for range clients {
		group.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for !stopped.Load() {
				r, err := http.NewRequest(http.MethodGet, s.URL+api.DefaultBasePath+hostileQuery(number.Add(1)), nil)
				if err != nil {
					b.Error(err)
					return
				}
				r.Header.Set("Authorization", "Bearer "+s.accessToken)
				r.Header.Set("X-Partnerid", partnerID)
				r.Header.Set("Accept-Encoding", "gzip") // so that the client does not decompress
				response, err := client.Do(r)
				if err != nil {
					b.Error(err)
					return
				}
				_, err = io.Copy(io.Discard, response.Body)
				_ = response.Body.Close()
				n := answers[response.StatusCode]
				if err != nil || n == nil {
					b.Errorf("the hostile search: %s, %v", response.Status, err)
					return
				}
				n.Add(1)
			}
		})
	}
	return answers, func() {
		stopped.Store(true)
		group.Wait()
	}
}
