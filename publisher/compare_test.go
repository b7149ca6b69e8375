package publisher_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
)

// A command compares with the rights of a reader, and beside no relay.
func TestCompareChangesNeitherStreamNorOutbox(t *testing.T) {
	b, source := newBroker(t, natsd.Config{}), newOutbox(t)
	source.add("A", 6)
	older := source.backup() // has recorded nothing
	source.add("B", 4)
	r := run(t, b, source, publisher.Config{})
	r.reaches(10)
	r.stop()
	js, err := jetstream.New(b.Connect(natsd.Reader))
	if err != nil {
		t.Fatal(err)
	}
	comparer := func(o *testOutbox) *publisher.Comparer { return publisher.NewComparer(js, o, patience) }
	compare := func(t *testing.T, o *testOutbox, limit int) publisher.Comparison {
		t.Helper()
		found, err := comparer(o).Compare(t.Context(), limit)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}

	t.Run("where they agree", func(t *testing.T) {
		found := compare(t, source, 100)
		if found.Head.StreamSequence != 10 || found.Last != 10 || found.Lost != 0 || len(found.Unrecorded) != 0 {
			t.Errorf("found %+v", found)
		}
		if err := comparer(source).VerifyRecorded(t.Context(), 10); err != nil {
			t.Error(err)
		}
	})
	t.Run("where the outbox has not recorded what is stored", func(t *testing.T) {
		for limit, want := range map[int]int{3: 3, 6: 6} {
			found := compare(t, older, limit)
			numbered := !slices.ContainsFunc(found.Unrecorded, func(e events.Entry) bool { return e.StreamSequence == 0 })
			if found.Head.StreamSequence != 0 || found.Last != 10 || len(found.Unrecorded) != want || !numbered {
				t.Errorf("within %d, found %+v", limit, found)
			}
		}
		if n := len(older.published()); n != 0 {
			t.Errorf("%d were recorded", n)
		}
	})
	t.Run("where the stream holds what the outbox does not know", func(t *testing.T) {
		_, err := comparer(older).Compare(t.Context(), 100)
		if !errors.Is(err, events.Conflict) || !strings.Contains(err.Error(), "at sequence 7") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("where the stream has lost its events", func(t *testing.T) {
		b.deleteStream()
		if _, err := publisher.EnsureStream(t.Context(), b.jetStream(), publisher.StreamConfig{}); err != nil {
			t.Fatal(err)
		}
		if found := compare(t, source, 100); found.Last != 0 || found.Lost != 10 {
			t.Errorf("found %+v", found)
		}
		if n := b.last(); n != 0 {
			t.Errorf("%d events were published", n)
		}
	})
	t.Run("where the stream holds other events than were recorded", func(t *testing.T) {
		other := newOutbox(t)
		other.add("A", 4)
		r := run(t, b, other, publisher.Config{})
		r.reaches(4)
		r.stop()
		if found := compare(t, source, 100); found.Lost != 6 {
			t.Errorf("found %+v", found)
		}
		err := comparer(source).VerifyRecorded(t.Context(), 4)
		if !errors.Is(err, events.Conflict) || !strings.Contains(err.Error(), "at sequence 1") {
			t.Errorf("got %v", err)
		}
	})
}
