package sdtm_test

import (
	"path/filepath"
	"testing"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/intake"
	"github.com/seed-e88a4ece/signoff/outbox/intake/sdtm"
)

// registerIn registers the good records in the outbox.
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
	files := smallSet(three...)

	t.Run("the same files again change nothing", func(t *testing.T) {
		if got := registerIn(t, o, readSDTM(t, files, sdtm.Options{}, o)); got != (count{Taken: 4}) {
			t.Fatalf("first %+v", got)
		}
		if got := registerIn(t, o, readSDTM(t, files, sdtm.Options{}, o)); got != (count{Unchanged: 4}) {
			t.Errorf("again %+v", got)
		}
	})
	t.Run("a corrected value replaces what waits", func(t *testing.T) {
		corrected := edited(t, files, "tr.csv", "DIAMETER,30,", "DIAMETER,31,")
		if got := registerIn(t, o, readSDTM(t, corrected, sdtm.Options{}, o)); got != (count{Taken: 1, Unchanged: 3}) {
			t.Errorf("%+v", got)
		}
	})
	t.Run("the ids of another evaluator are in use", func(t *testing.T) {
		both := byBoth(files)
		if got := refusals(readSDTM(t, both, sdtm.Options{Evaluator: radiologist}, o)); len(got) != 4 {
			t.Errorf("%v", got)
		}
		if got := registerIn(t, o, readSDTM(t, both, sdtm.Options{Evaluator: radiologist, CaseOffset: 10}, o)); got != (count{Taken: 4}) {
			t.Errorf("with an offset: %+v", got)
		}
	})
}
