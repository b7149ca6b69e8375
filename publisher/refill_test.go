package publisher_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/publisher/brokertest"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
)

// mark reads up to where the stream says it is being filled again; empty if it
// does not.
func (b *broker) mark() string {
	b.t.Helper()
	return b.info().Config.Metadata[events.RefillKey]
}

func (b *broker) info() *jetstream.StreamInfo {
	b.t.Helper()
	stream, err := b.jetStream().Stream(context.Background(), events.Stream)
	if err != nil {
		b.t.Fatal(err)
	}
	return stream.CachedInfo()
}

// held runs a relay that stops each time it gets to the step, says so on
// reached, and waits until next is called; with false it stops no more.
func held(t *testing.T, b *broker, source *testOutbox, step string) (r *relay, reached <-chan struct{}, next func(again bool)) {
	t.Helper()
	arrivals, permits := make(chan struct{}), make(chan bool)
	free := false // belongs to the relay's goroutine
	r = run(t, b, source, publisher.Config{MaxBatch: 30, Step: func(name string) {
		if name != step || free {
			return
		}
		select {
		case arrivals <- struct{}{}:
			free = !<-permits
		case <-t.Context().Done(): // the test has failed
		}
	}})
	return r, arrivals, func(again bool) { permits <- again }
}

func TestAStreamThatIsFilledAgainSaysSo(t *testing.T) {
	const total = 200
	filled := func(t *testing.T) (*broker, *testOutbox) {
		b, source := newBroker(t, natsd.Config{}), newOutbox(t)
		source.add("A", total)
		r := run(t, b, source, publisher.Config{})
		r.reaches(total)
		r.stop()
		return b, source
	}
	ends := func(t *testing.T, b *broker, source *testOutbox, r *relay) {
		t.Helper()
		until(t, "the relay runs", func() bool { return r.Status().State == publisher.Running })
		if m := b.mark(); m != "" {
			t.Errorf("the mark is %q at the end", m)
		}
		same(t, b, source, total)
	}

	t.Run("not when it is new", func(t *testing.T) {
		b, source := newBroker(t, natsd.Config{}), newOutbox(t)
		source.add("A", total)
		r, reached, next := held(t, b, source, publisher.StepOpen)
		arrives(t, reached)
		if m := b.mark(); m != "" {
			t.Errorf("the mark is %q", m)
		}
		next(false)
		r.reaches(total)
	})
	t.Run("from the request that creates it to the end", func(t *testing.T) {
		b, source := filled(t)
		if err := b.jetStream().DeleteStream(t.Context(), events.Stream); err != nil {
			t.Fatal(err)
		}
		r, reached, next := held(t, b, source, publisher.StepRefill)
		for i := range 3 {
			arrives(t, reached)
			if m := b.mark(); m != strconv.Itoa(total) {
				t.Errorf("the mark is %q", m)
			}
			next(i < 2)
		}
		ends(t, b, source, r)
	})
	t.Run("also where it is made before the relay runs", func(t *testing.T) {
		b, source := filled(t)
		if err := b.jetStream().DeleteStream(t.Context(), events.Stream); err != nil {
			t.Fatal(err)
		}
		if _, err := publisher.EnsureStream(t.Context(), b.jetStream(), publisher.StreamConfig{RefillTo: total}); err != nil {
			t.Fatal(err)
		}
		if m := b.mark(); m != strconv.Itoa(total) {
			t.Errorf("the mark is %q", m)
		}
		ends(t, b, source, run(t, b, source, publisher.Config{}))
	})
	t.Run("before its lost end is published again", func(t *testing.T) {
		dir := t.TempDir()
		b, source := newBroker(t, natsd.Config{Dir: dir}), newOutbox(t)
		source.add("A", total/2)
		r := run(t, b, source, publisher.Config{})
		r.reaches(total / 2)
		r.stop()
		b.Stop()
		older := filepath.Join(t.TempDir(), "older")
		if err := os.CopyFS(older, os.DirFS(filepath.Join(dir, "jetstream"))); err != nil {
			t.Fatal(err)
		}
		b.Start()
		source.add("A", total/2)
		r = run(t, b, source, publisher.Config{})
		r.reaches(total)
		r.stop()
		b.Stop()
		if err := errors.Join(os.RemoveAll(filepath.Join(dir, "jetstream")), os.CopyFS(filepath.Join(dir, "jetstream"), os.DirFS(older))); err != nil {
			t.Fatal(err)
		}
		b.Start()
		r, reached, next := held(t, b, source, publisher.StepRefill)
		arrives(t, reached)
		if m := b.mark(); m != strconv.Itoa(total) {
			t.Errorf("the mark is %q", m)
		}
		next(false)
		ends(t, b, source, r)
	})
	t.Run("and one that has nothing left to fill loses the mark", func(t *testing.T) {
		b, source := filled(t)
		cfg := b.info().Config
		if cfg.Metadata == nil {
			cfg.Metadata = make(map[string]string)
		}
		cfg.Metadata[events.RefillKey] = "150"
		cfg.Metadata["owner"] = "somebody"
		if _, err := b.jetStream().UpdateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		ends(t, b, source, run(t, b, source, publisher.Config{}))
		if o := b.info().Config.Metadata["owner"]; o != "somebody" {
			t.Errorf("what else was in the metadata is %q", o)
		}
	})
	t.Run("also after the publisher was killed at any step of it", func(t *testing.T) {
		dir := t.TempDir()
		b := &broker{brokertest.New(t, natsd.Config{Dir: dir}), t}
		source := newOutbox(t)
		source.add("A", total)
		b.Start()
		r := run(t, b, source, publisher.Config{})
		r.reaches(total)
		r.stop()
		b.Stop()
		if err := os.RemoveAll(filepath.Join(dir, "jetstream")); err != nil {
			t.Fatal(err)
		}
		for i, step := range []string{publisher.StepRefill, publisher.StepCommit, publisher.StepRefill, publisher.StepMark} {
			killed(t, source.path, dir, step, i%2*(3-i), 0)
			b.Start()
			if m := b.mark(); m != strconv.Itoa(total) {
				t.Errorf("killed at %q: the mark is %q", step, m)
			}
			b.Stop()
		}
		b.Start()
		ends(t, b, source, run(t, b, source, publisher.Config{}))
	})
}
