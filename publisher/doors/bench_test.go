package doors_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/publisher/doors"
)

// BenchmarkWithdrawal measures from the moment in which the directory no longer grants a
// partner its study until the partner's connection is closed, by which its consumer is
// gone. Beside it, how long it takes to close a connection and nothing else.
func BenchmarkWithdrawal(b *testing.B) {
	h := newHouse(b, doors.Config{Rate: 1 << 20, Burst: 1 << 20})
	h.publish("A", "a1")
	open := func() chan nats.Status { return h.mustLogin("acme").StatusChanged(nats.CLOSED) }
	var withdrawn, bare, longest time.Duration
	for b.Loop() {
		h.admit("acme", "A")
		closed, begun := open(), time.Now()
		h.set("acme")
		<-closed
		took := time.Since(begun)
		withdrawn, longest = withdrawn+took, max(longest, took)

		h.admit("acme", "A")
		closed, begun = open(), time.Now()
		list, err := h.server.Connections(b.Context(), "partner-acme")
		if err != nil {
			b.Fatal(err)
		}
		for _, c := range list {
			if err := h.server.Disconnect(b.Context(), c); err != nil {
				b.Fatal(err)
			}
		}
		<-closed
		bare += time.Since(begun)
	}
	milliseconds := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	b.ReportMetric(milliseconds(withdrawn)/float64(b.N), "ms/withdrawal")
	b.ReportMetric(milliseconds(longest), "longest-ms")
	b.ReportMetric(milliseconds(bare)/float64(b.N), "bare-close-ms")
	b.ReportMetric(float64(withdrawn)/float64(bare), "ratio")
}
