package stream_test

import (
	"bytes"
	"context"
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

// BenchmarkBacklog reads a backlog with every check, and compares that with
// the client library's ordered consumer, which hands over bytes.
func BenchmarkBacklog(b *testing.B) {
	const backlog = 20_000
	broker := newBroker(b)
	s := &study{key: "S1", body: bytes.Repeat([]byte("x"), 4500)}
	broker.publishBatches(s.take(backlog))
	nc, err := broker.server.Connect(natsd.Reader) // not through the proxy
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		start := time.Now()
		h := newMemoryHandler()
		stop, _ := run(b, js, h, stream.Config{})
		h.wait(b, backlog)
		checked := time.Since(start)
		if err := stop(); err != nil {
			b.Fatal(err)
		}
		bare := readBare(b, js, backlog)
		b.ReportMetric(backlog/checked.Seconds(), "events/s")
		b.ReportMetric(backlog/bare.Seconds(), "bare-messages/s")
		b.ReportMetric(bare.Seconds()/checked.Seconds(), "ratio")
	}
}

func readBare(b *testing.B, js jetstream.JetStream, n int) time.Duration {
	b.Helper()
	start := time.Now()
	c, err := js.OrderedConsumer(context.Background(), events.Stream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		b.Fatal(err)
	}
	messages, err := c.Messages()
	if err != nil {
		b.Fatal(err)
	}
	defer messages.Stop()
	for range n {
		if _, err := messages.Next(); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(start)
}
