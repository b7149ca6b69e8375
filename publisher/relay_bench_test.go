package publisher_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
)

// BenchmarkRelay publishes a backlog from an outbox on disk to an embedded
// broker that syncs before each acknowledgement, and beside it the same
// messages from memory in bare atomic batches. The backlog has 20,000 events, with -short
// 1,000.
func BenchmarkRelay(b *testing.B) {
	backlog := 20_000
	if testing.Short() {
		backlog = 1000
	}
	source := newOutbox(b)
	for range backlog / 1000 {
		source.sign("A", 500, 5) // two events each: lesions and report
	}
	pending, err := source.Source().Pending(b.Context(), backlog)
	if err != nil {
		b.Fatal(err)
	}
	bytes := 0
	for _, e := range pending {
		bytes += len(e.Event.Data)
	}
	var relayed, bare time.Duration
	for b.Loop() {
		relayed += relayBacklog(b, source.backup(), backlog)
		bare += publishBare(b, pending)
	}
	count := float64(b.N * backlog)
	b.ReportMetric(count/relayed.Seconds(), "events/s")
	b.ReportMetric(count/bare.Seconds(), "bare-events/s")
	b.ReportMetric(bare.Seconds()/relayed.Seconds(), "ratio")
	b.ReportMetric(float64(bytes)/float64(backlog), "bytes/event")
	b.ReportMetric(0, "ns/op")
}

func relayBacklog(b *testing.B, source *testOutbox, backlog int) time.Duration {
	broker := newBroker(b, natsd.Config{})
	defer broker.Stop()
	if _, err := publisher.EnsureStream(b.Context(), broker.jetStream(), publisher.StreamConfig{}); err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	left := backlog / 500
	begin := time.Now()
	r := run(b, broker, source, publisher.Config{Step: func(name string) {
		if name != publisher.StepDone {
			return
		}
		if left--; left == 0 {
			close(done)
		}
	}})
	<-done
	took := time.Since(begin)
	r.stop()
	if n := broker.last(); n != uint64(backlog) {
		b.Fatalf("the stream ends at %d", n)
	}
	return took
}

func publishBare(b *testing.B, entries []events.Entry) time.Duration {
	broker := newBroker(b, natsd.Config{})
	defer broker.Stop()
	js := broker.jetStream()
	if _, err := publisher.EnsureStream(b.Context(), js, publisher.StreamConfig{}); err != nil {
		b.Fatal(err)
	}
	messages := make([]*nats.Msg, len(entries))
	for i, e := range entries {
		messages[i] = &nats.Msg{Subject: events.IngestPrefix + e.Event.NATSSubject(), Header: e.Event.Header(), Data: e.Event.Data}
		messages[i].Header[jetstream.MsgIDHeader] = []string{e.Event.ID}
	}
	begin := time.Now()
	for i := 0; i < len(messages); i += 500 {
		messages[i].Header[jetstream.ExpectedLastSeqHeader] = []string{strconv.Itoa(i)}
		if _, err := jetstreamext.PublishMsgBatch(b.Context(), js, messages[i:i+500]); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(begin)
}
