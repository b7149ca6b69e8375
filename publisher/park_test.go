package publisher_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
)

func TestAnEventThatIsTooLargeParksItsStudyOnly(t *testing.T) {
	limits := map[string]struct {
		cfg   natsd.Config
		limit func(b *broker, bytes int32)
	}{
		"for the server": {
			natsd.Config{MaxPayload: 100_000},
			func(b *broker, bytes int32) {
				b.Stop()
				b.Config.MaxPayload = bytes
				b.Start()
			},
		},
		"for the stream": {
			natsd.Config{},
			func(b *broker, bytes int32) {
				js := b.jetStream()
				stream, err := publisher.EnsureStream(b.t.Context(), js, publisher.StreamConfig{})
				if err != nil {
					b.t.Fatal(err)
				}
				c := stream.CachedInfo().Config
				c.MaxMsgSize = bytes
				if _, err := js.UpdateStream(b.t.Context(), c); err != nil {
					b.t.Fatal(err)
				}
			},
		},
	}
	for name, l := range limits {
		t.Run(name, func(t *testing.T) {
			b, source := newBroker(t, l.cfg), newOutbox(t)
			l.limit(b, 100_000)
			source.add("A", 30)
			source.add("B", 20)
			source.addLarge("A")
			source.add("A", 5) // waits behind it
			source.add("B", 40)
			r := run(t, b, source, publisher.Config{})
			r.reaches(90)
			same(t, b, source, 90)
			if n := r.count("batches_total"); name == "for the server" && n > 5 {
				t.Errorf("%v publishes, though the limit is known beforehand", n)
			}
			if reason := source.parked("A"); !strings.Contains(reason, "event 31 of study A") || !strings.Contains(reason, "raise") {
				t.Errorf("study A is parked because %q", reason)
			}
			if reason := source.parked("B"); reason != "" {
				t.Errorf("study B is parked because %q", reason)
			}
			source.add("A", 1)
			source.add("B", 1)
			r.reaches(91)

			release(t, source, "A") // too early: parked again
			until(t, "park again", func() bool { return r.count("parks_total") == 2 })
			source.add("B", 1)
			r.reaches(92)

			l.limit(b, 8<<20)
			release(t, source, "A")
			r.reaches(100)
			if reason := source.parked("A"); reason != "" {
				t.Errorf("study A is still parked because %q", reason)
			}
			same(t, b, source, 100)
		})
	}

	t.Run("and nothing else does", func(t *testing.T) {
		b, source := newBroker(t, natsd.Config{}), newOutbox(t)
		source.add("A", 10)
		r := run(t, b, source, publisher.Config{CompareEvery: time.Hour})
		r.reaches(10)
		js := b.jetStream()
		stream, err := js.Stream(t.Context(), events.Stream)
		if err != nil {
			t.Fatal(err)
		}
		c := stream.CachedInfo().Config
		c.MaxBytes, c.Discard = int64(stream.CachedInfo().State.Bytes), jetstream.DiscardNew
		if _, err := js.UpdateStream(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		source.add("A", 1)
		source.add("B", 20)
		if reason := r.stops(); !strings.Contains(reason, "max bytes is") { // a limit somebody else has set
			t.Errorf("stopped because %s", reason)
		}
		if source.parked("A")+source.parked("B") != "" {
			t.Error("a study is parked")
		}
	})
}

func TestNoStudyIsReleasedOrParkedWhileAMessageMayBeOnItsWay(t *testing.T) {
	b, source := newBroker(t, natsd.Config{MaxPayload: 100_000}), newOutbox(t)
	source.addLarge("A")
	r := run(t, b, source, publisher.Config{Settle: time.Hour})
	until(t, "wait", func() bool { return strings.Contains(r.Status().Reason, "wait until nothing") })
	if source.parked("A") != "" {
		t.Error("study A was parked although a relay before this one may have sent something")
	}
	r.stop()

	r = run(t, b, source, publisher.Config{})
	until(t, "park", func() bool { return source.parked("A") != "" })
	r.stop()
	b.Stop()
	b.Config.MaxPayload = 8 << 20
	b.Start()
	release(t, source, "A")
	r = run(t, b, source, publisher.Config{Settle: time.Hour})
	r.reaches(0)
	if source.parked("A") == "" {
		t.Error("study A was released although a relay before this one may have sent something")
	}
	source.add("B", 1) // its acknowledgement proves that nothing else is on its way
	r.reaches(3)
	same(t, b, source, 3)
}

func release(t *testing.T, source *testOutbox, study string) {
	t.Helper()
	if err := source.RequestRelease(t.Context(), "test", study); err != nil {
		t.Fatal(err)
	}
}
