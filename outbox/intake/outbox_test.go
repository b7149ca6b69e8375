package intake_test

import (
	"path/filepath"
	"testing"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/intake"
)

// registerIn registers what an import of the files hands on.
func registerIn(t *testing.T, o *outbox.Outbox, records []intake.Record) (c count) {
	t.Helper()
	var batch []events.Submission
	for _, r := range records {
		if r.Err == nil {
			batch = append(batch, r.Submission)
		}
	}
	results, err := o.Register(t.Context(), "operator", batch)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		switch {
		case r.Err != nil:
			t.Errorf("%s: %v", r.ID, r.Err)
		case r.Outcome == outbox.Taken:
			c.Taken++
		default:
			c.Unchanged++
		}
	}
	return c
}

func TestAnOutboxIsARegistry(t *testing.T) {
	o, err := outbox.Open(t.Context(), filepath.Join(t.TempDir(), "outbox.db"), outbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	files := wholeSet(t)

	t.Run("the same files again change nothing", func(t *testing.T) {
		if got := registerIn(t, o, readSDTM(t, files, intake.SDTMOptions{}, o)); got != (count{Taken: 887}) {
			t.Fatalf("first %+v", got)
		}
		if got := registerIn(t, o, readSDTM(t, files, intake.SDTMOptions{}, o)); got != (count{Unchanged: 887}) {
			t.Errorf("again %+v", got)
		}
	})
	t.Run("a corrected value replaces what waits", func(t *testing.T) {
		corrected := withSum(t, files, "01-716-1044", "12", "99.5")
		if got := registerIn(t, o, readSDTM(t, corrected, intake.SDTMOptions{}, o)); got != (count{Taken: 1, Unchanged: 886}) {
			t.Errorf("%+v", got)
		}
	})
}
