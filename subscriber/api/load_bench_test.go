package api_test

import (
	"context"
	"flag"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir"
	"github.com/seed-e88a4ece/signoff/subscriber/api"
)

// loadTime is how long BenchmarkUnderLoad measures each percentile.
var loadTime = flag.Duration("load", 300*time.Millisecond, "time of each measurement under load")

const (
	appliedPerSecond = 1000
	loadRuns         = 5
	loadBatch        = 20 // events that are published together
)

// BenchmarkUnderLoad requests pages at half the rate that the idle API reaches, at
// fixed times whatever the answers do, and measures from these times. It does so without
// and with 1,000 applied events a second of the same studies. The metrics are the
// medians of five runs (with -short one) of the 99th percentile, the ratio of the two, and
// how many events were applied a second.
func BenchmarkUnderLoad(b *testing.B) {
	s := serveBench(b, api.Config{})
	pages := int64(s.reports / pageSize)
	path := func(i int64) string { return s.search(i) + "&page=" + strconv.FormatInt(s.mix(i, pages)+1, 10) }
	headers := map[string]string{"Accept-Encoding": "identity"}
	for b.Loop() {
		probe, runs := 800, loadRuns
		if testing.Short() {
			probe, runs = 80, 1
		}
		rate := float64(probe) / s.load(b, s.URL, path, headers, 0, probe).Seconds() / 2
		var idle, loaded, applied []float64
		for range runs {
			idle = append(idle, s.percentile(b, path, rate))
			stop := s.applyEvents(b)
			before, began := s.model.Position().StreamSequence, time.Now()
			loaded = append(loaded, s.percentile(b, path, rate))
			applied = append(applied, float64(s.model.Position().StreamSequence-before)/time.Since(began).Seconds())
			stop()
		}
		slices.Sort(idle)
		slices.Sort(loaded)
		slices.Sort(applied)
		b.ReportMetric(applied[runs/2], "applied/s")
		b.ReportMetric(rate, "pages/s")
		b.ReportMetric(idle[runs/2], "p99-idle-ms")
		b.ReportMetric(loaded[runs/2], "p99-loaded-ms")
		b.ReportMetric(loaded[runs/2]/idle[runs/2], "loaded/idle")
	}
}

// percentile requests pages at a rate for the load time, and returns the 99th percentile
// of the milliseconds from when a request was due to the end of its answer.
func (s *benchServer) percentile(b *testing.B, path func(i int64) string, rate float64) float64 {
	b.Helper()
	type due struct {
		number int64
		at     time.Time
	}
	queue := make(chan due, 1<<16)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections, DisableCompression: true}}
	defer client.CloseIdleConnections()
	var mu sync.Mutex
	var took []float64
	var group sync.WaitGroup
	for range connections {
		group.Go(func() {
			for d := range queue {
				err := fetch(client, s.URL+api.DefaultBasePath+path(d.number), s.credentials(d.number, map[string]string{"Accept-Encoding": "identity"}))
				if err != nil {
					b.Error(err)
				}
				mu.Lock()
				took = append(took, float64(time.Since(d.at).Microseconds())/1000)
				mu.Unlock()
			}
		})
	}
	began, step := time.Now(), time.Duration(float64(time.Second)/rate)
	for i := range int64(rate*loadTime.Seconds()) + 1 {
		at := began.Add(time.Duration(i) * step)
		time.Sleep(time.Until(at))
		queue <- due{i, at}
	}
	close(queue)
	group.Wait()
	slices.Sort(took)
	return took[len(took)*99/100]
}

// applyEvents publishes events of the studies in turn at a steady rate until stop is
// called, and waits then until they are applied.
func (s *benchServer) applyEvents(b *testing.B) (stop func()) {
	b.Helper()
	n := int(appliedPerSecond*loadTime.Seconds()*2) / loadBatch * loadBatch
	list := make([]events.Event, n)
	for i := range list {
		study := s.studies[i%len(s.studies)]
		key := events.StudyKey(study)
		a := assessment(study, strconv.FormatUint(1_000_000_000+s.last*uint64(n)+uint64(i), 10), i+1, bulkLesions)
		r := fhir.Report{Assessment: a, Version: s.modelServer.heads[key].Number + 1}
		r.LastUpdated = noon.Add(time.Duration(r.Version) * time.Microsecond)
		r.Signature = events.Signature{User: "jdoe", Name: "Jane Doe, MD", Meaning: "I approve this", Time: r.LastUpdated}
		body, err := r.Encode()
		if err != nil {
			b.Fatal(err)
		}
		list[i] = seal(events.Event{
			Type: events.DefaultNamespace.Type(events.ReportSigned), Subject: events.ReportSubject(a.ID, r.Version), Time: r.LastUpdated, Study: key, Data: body,
		}, s.modelServer.heads[key])
		s.modelServer.heads[key] = list[i].ChainHead()
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Second * loadBatch / appliedPerSecond)
		defer tick.Stop()
		for len(list) > 0 {
			select {
			case <-ctx.Done(): // the rest at once, because the chain goes on behind it
			case <-tick.C:
			}
			s.publishBatch(b, list[:loadBatch])
			list = list[loadBatch:]
		}
	}()
	return func() {
		cancel()
		<-done
		s.wait()
	}
}

// publishBatch stores events in the stream as the publisher does.
func (s *benchServer) publishBatch(b *testing.B, list []events.Event) {
	batch, err := jetstreamext.NewBatchPublisher(s.publisher)
	if err != nil {
		b.Error(err)
		return
	}
	for _, e := range list[:len(list)-1] {
		if err := batch.AddMsg(message(e)); err != nil {
			b.Error(err)
			return
		}
	}
	ack, err := batch.CommitMsg(b.Context(), message(list[len(list)-1]))
	if err != nil {
		b.Error(err)
		return
	}
	s.last = ack.Sequence
}
