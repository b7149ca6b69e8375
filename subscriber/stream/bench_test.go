package stream_test

import (
	"bytes"
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/subscriber/stream"
)

// publishBatches stores events as the relay does when it is behind.
func (b *broker) publishBatches(list []events.Event) {
	b.t.Helper()
	for len(list) > 0 {
		n := min(500, len(list))
		batch, err := jetstreamext.NewBatchPublisher(b.writer)
		for i, e := range list[:n] {
			if err != nil {
				b.t.Fatal(err)
			}
			msg := &nats.Msg{Subject: events.IngestPrefix + e.NATSSubject(), Header: e.Header(), Data: e.Data}
			if i < n-1 {
				err = batch.AddMsg(msg)
			} else {
				_, err = batch.CommitMsg(context.Background(), msg)
			}
		}
		if err != nil {
			b.t.Fatal(err)
		}
		list = list[n:]
	}
}

// BenchmarkBacklog reads a backlog with every check, and compares that with reading it
// with the same checks through a consumer, which the reader may not create.
func BenchmarkBacklog(b *testing.B) {
	backlog := 20_000
	if testing.Short() {
		backlog = 1000
	}
	broker := newBroker(b)
	s := &study{key: "S1", body: bytes.Repeat([]byte("x"), 4500)}
	broker.publishBatches(s.take(backlog))
	js := broker.JetStream(natsd.Reader) // not through the proxy
	var got, consumed, gotProcessor, consumedProcessor time.Duration
	for b.Loop() {
		begun := processorTime(b)
		got += readBacklog(b, backlog, func(ctx context.Context, h *memoryHandler) error {
			return stream.NewReader(js, h, stream.Config{}).Run(ctx)
		})
		between := processorTime(b)
		consumed += readBacklog(b, backlog, func(ctx context.Context, h *memoryHandler) error {
			return consume(ctx, broker.writer, h)
		})
		gotProcessor += between - begun
		consumedProcessor += processorTime(b) - between
	}
	events := float64(backlog * b.N)
	b.ReportMetric(events/got.Seconds(), "events/s")
	b.ReportMetric(events/consumed.Seconds(), "consumer-events/s")
	b.ReportMetric(consumed.Seconds()/got.Seconds(), "ratio")
	b.ReportMetric(consumedProcessor.Seconds()/gotProcessor.Seconds(), "processor-ratio")
}

// processorTime returns how long the process has used processors. Unlike the time that
// passes, it does not depend on what else the machine does.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
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

// consume passes the stream to the handler until ctx ends, as a Reader does, but through
// a consumer.
func consume(ctx context.Context, js jetstream.JetStream, h stream.Handler) error {
	consumer, err := js.CreateConsumer(ctx, events.Stream, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: 1,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: time.Minute,
	})
	if err != nil {
		return err
	}
	from, err := consumer.Messages(jetstream.PullMaxMessagesWithBytesLimit(500, 32<<20))
	if err != nil {
		return err
	}
	defer from.Stop()
	received, failed := make(chan stream.Message, 500), make(chan error, 1)
	go func() {
		defer close(received)
		failed <- receiveConsumed(ctx, from, received)
	}()
	var applied stream.Position
	for m := range received {
		batch := stream.Batch{After: applied, Messages: []stream.Message{m}}
		for range len(received) {
			batch.Messages = append(batch.Messages, <-received)
		}
		last := batch.Messages[len(batch.Messages)-1]
		applied = stream.Position{Created: time.Unix(0, 0), StreamSequence: last.StreamSequence, ID: last.Event.ID, Hash: last.Event.Hash}
		batch.Position = applied
		if err := h.Apply(ctx, batch); err != nil {
			return err
		}
	}
	return <-failed
}

// receiveConsumed sends the messages of a consumer, checked, until ctx ends.
func receiveConsumed(ctx context.Context, from jetstream.MessagesContext, to chan<- stream.Message) error {
	heads := make(map[string]events.ChainHead)
	for {
		msg, err := from.Next(jetstream.NextContext(ctx))
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		e, err := events.FromHeader(msg.Headers(), msg.Data())
		if err != nil {
			return err
		}
		if heads[e.Study], err = heads[e.Study].Follow(e); err != nil {
			return err
		}
		to <- stream.Message{StreamSequence: meta.Sequence.Stream, Event: e}
	}
}
