package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/server"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/accounts/accountstest"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/subscriber/stream"
)

// latencyPace is how far apart the sign-offs of the latency benchmark are.
const latencyPace = 10 * time.Millisecond

// BenchmarkCommitToCallback measures, at 100 sign-offs a second, how long after
// a sign-off is committed a subscriber's callback has its report. The baseline
// in the same run publishes the same bytes to the same stream's server without
// an outbox: from the publish call to the callback.
func BenchmarkCommitToCallback(b *testing.B) {
	dir := b.TempDir()
	p, _ := startServer(b, dir)
	addBenchPI(b, p)
	arrivals := newArrivals()
	stop := arrivals.follow(b, p)
	defer stop()

	committed := make(map[string]time.Time, b.N)
	called := make(map[string]time.Time, b.N)
	pace := time.NewTicker(latencyPace)
	defer pace.Stop()
	for i := range b.N {
		id := fmt.Sprint("bench-", i)
		a := killAssessment(id, 0, i)
		if results, err := p.Outbox.Register(b.Context(), "bench", []events.Submission{{Assessment: a}}); err != nil || results[0].Err != nil {
			b.Fatal(err, results)
		}
		<-pace.C
		called[id] = time.Now()
		if _, err := p.Outbox.SignOff(b.Context(), outbox.SignOff{User: "pi", Meaning: "approved", IDs: []string{id}}); err != nil {
			b.Fatal(err)
		}
		committed[id] = time.Now()
	}
	arrived := arrivals.await(b, b.N)
	fromCall, fromCommit := latencies(called, arrived), latencies(committed, arrived)
	bare := bareLatencies(b, arrivals.body(), b.N)
	b.ReportMetric(milliseconds(quantile(fromCommit, 50)), "commit-p50-ms")
	b.ReportMetric(milliseconds(quantile(fromCommit, 99)), "commit-p99-ms")
	b.ReportMetric(milliseconds(quantile(fromCall, 50)), "call-p50-ms")
	b.ReportMetric(milliseconds(quantile(fromCall, 99)), "call-p99-ms")
	b.ReportMetric(milliseconds(quantile(bare, 50)), "bare-p50-ms")
	b.ReportMetric(milliseconds(quantile(bare, 99)), "bare-p99-ms")
	b.ReportMetric(float64(quantile(fromCall, 50))/float64(quantile(bare, 50)), "call/bare-p50")
}

func addBenchPI(b *testing.B, p *server.Server) {
	b.Helper()
	if err := accountstest.AddPI(b.Context(), p.Outbox.Accounts(), "bench", "pi", "P. Investigator", []string{killStudy(0)}, testPassword); err != nil {
		b.Fatal(err)
	}
}

// arrivals notes when each report came.
type arrivals struct {
	mu       sync.Mutex
	at       map[string]time.Time
	last     events.Event
	progress stream.Progress
	news     chan struct{}
}

func newArrivals() *arrivals {
	return &arrivals{
		at: map[string]time.Time{}, news: make(chan struct{}, 1),
		progress: stream.Progress{ChainHeads: map[string]events.ChainHead{}},
	}
}

func (a *arrivals) Resume(context.Context) (stream.Progress, error) { return a.progress, nil }

func (a *arrivals) Apply(_ context.Context, batch stream.Batch) error {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, m := range batch.Messages {
		if id, _, ok := m.Event.ReportID(); ok && m.Event.Kind().Publishes() {
			a.at[id], a.last = now, m.Event
		}
		a.progress.ChainHeads[m.Event.Study] = m.Event.ChainHead()
	}
	a.progress.Position = batch.Position
	select {
	case a.news <- struct{}{}:
	default:
	}
	return nil
}

// follow subscribes until the result is called.
func (a *arrivals) follow(b *testing.B, p *server.Server) (stop func()) {
	b.Helper()
	nc, err := p.NATS.Connect(natsd.Reader)
	if err != nil {
		b.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- stream.NewReader(js, a, stream.Config{}).Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
		nc.Close()
	}
}

func (a *arrivals) await(b *testing.B, n int) map[string]time.Time {
	b.Helper()
	for {
		if at, ok := a.all(n); ok {
			return at
		}
		select {
		case <-a.news:
		case <-b.Context().Done():
			b.Fatal("not all arrived")
		}
	}
}

// all returns the arrivals once there are n.
func (a *arrivals) all(n int) (at map[string]time.Time, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.at) < n {
		return nil, false
	}
	return maps.Clone(a.at), true
}

func (a *arrivals) body() []byte { return a.last.Data }

// bareLatencies publishes body n times at the same pace, synced like the real
// stream, and measures from the call to a consumer's callback.
func bareLatencies(b *testing.B, body []byte, n int) []time.Duration {
	b.Helper()
	bare, err := natsd.Start(natsd.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer bare.Shutdown()
	nc, err := bare.Connect(natsd.Publisher)
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := js.CreateStream(b.Context(), jetstream.StreamConfig{Name: "BARE", Subjects: []string{"in.crit.bare"}}); err != nil {
		b.Fatal(err)
	}
	consumer, err := js.OrderedConsumer(b.Context(), "BARE", jetstream.OrderedConsumerConfig{})
	if err != nil {
		b.Fatal(err)
	}
	at := make(chan time.Time, n)
	consuming, err := consumer.Consume(func(jetstream.Msg) { at <- time.Now() })
	if err != nil {
		b.Fatal(err)
	}
	defer consuming.Stop()
	took := make([]time.Duration, 0, n)
	pace := time.NewTicker(latencyPace)
	defer pace.Stop()
	for range n {
		<-pace.C
		start := time.Now()
		if _, err := js.PublishMsg(b.Context(), &nats.Msg{Subject: "in.crit.bare", Data: body}); err != nil {
			b.Fatal(err)
		}
		took = append(took, (<-at).Sub(start))
	}
	return took
}

func latencies(from, to map[string]time.Time) []time.Duration {
	all := make([]time.Duration, 0, len(from))
	for id, start := range from {
		all = append(all, to[id].Sub(start))
	}
	return all
}

func quantile(all []time.Duration, percent int) time.Duration {
	slices.Sort(all)
	return all[min(len(all)-1, len(all)*percent/100)]
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }
