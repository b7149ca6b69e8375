package stream_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/publisher/brokertest"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/subscriber/stream"
	"github.com/seed-e88a4ece/signoff/subscriber/stream/streamtest"
)

// BenchmarkBacklog reads a backlog with every check, and compares that with reading it
// with the same checks through a consumer, which the reader may not create.
func BenchmarkBacklog(b *testing.B) {
	backlog := 20_000
	if testing.Short() {
		backlog = 1000
	}
	broker := newBroker(b)
	s := &study{key: "S1", body: bytes.Repeat([]byte("x"), 4500)}
	brokertest.PublishBatches(b, broker.writer, s.take(backlog))
	js := broker.JetStream(natsd.Reader) // not through the proxy
	var got, consumed, gotProcessor, consumedProcessor time.Duration
	for b.Loop() {
		begun := streamtest.ProcessorTime(b)
		got += readBacklog(b, backlog, func(ctx context.Context, h *memoryHandler) error {
			return stream.NewReader(js, h, stream.Config{}).Run(ctx)
		})
		between := streamtest.ProcessorTime(b)
		consumed += readBacklog(b, backlog, func(ctx context.Context, h *memoryHandler) error {
			return streamtest.Consume(ctx, broker.writer, h)
		})
		gotProcessor += between - begun
		consumedProcessor += streamtest.ProcessorTime(b) - between
	}
	events := float64(backlog * b.N)
	b.ReportMetric(events/got.Seconds(), "events/s")
	b.ReportMetric(events/consumed.Seconds(), "consumer-events/s")
	b.ReportMetric(consumed.Seconds()/got.Seconds(), "ratio")
	b.ReportMetric(consumedProcessor.Seconds()/gotProcessor.Seconds(), "processor-ratio")
}

// readBacklog returns how long read takes to apply n events.
func readBacklog(b *testing.B, n int, read func(context.Context, *memoryHandler) error) time.Duration {
	b.Helper()
	h := newMemoryHandler()
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	start := time.Now()
	go func() { ended <- read(ctx, h) }()
	h.wait(b, n)
	took := time.Since(start)
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
	return took
}
