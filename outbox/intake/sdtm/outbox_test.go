package sdtm_test

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

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

func TestDeliveriesToAnOutbox(t *testing.T) {
	o, err := outbox.Open(t.Context(), filepath.Join(t.TempDir(), "outbox.db"), outbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if err := o.Accounts().AddPI(t.Context(), "operator", "pi", "A. N. Other", []string{"S"}, "correct horse battery staple"); err != nil {
		t.Fatal(err)
	}
	deliver := func(want count, rows ...string) {
		t.Helper()
		files := smallSet(rows...)
		if got := registerIn(t, o, readSDTM(t, files, sdtm.Options{}, o)); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		if got := registerIn(t, o, readSDTM(t, files, sdtm.Options{}, o)); got.Taken != 0 {
			t.Errorf("again %+v", got)
		}
	}
	sign := func(ids ...string) {
		t.Helper()
		if _, err := o.SignOff(t.Context(), outbox.SignOff{User: "pi", Meaning: "approved", IDs: ids}); err != nil {
			t.Fatal(err)
		}
	}
	timepoints := func() map[string]int32 {
		t.Helper()
		known, err := o.Visits(t.Context(), "S")
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]int32{}
		for _, k := range known {
			out[k.Latest.ID] = k.Latest.Timepoint
			if !k.Signed {
				t.Errorf("%s waits", k.Latest.ID)
			}
			if k.Withdrawn != (k.Latest.ID == "101" && len(known) > 3) {
				t.Errorf("%s is withdrawn: %v", k.Latest.ID, k.Withdrawn)
			}
		}
		return out
	}

	deliver(count{Taken: 2}, "TR A 1 2020-01-01 TARGET T01 DIAMETER 50", "TR A 3 2020-03-01 TARGET T01 DIAMETER 45")
	sign("100", "101")
	deliver(count{Taken: 3}, "TR A 2 2020-02-01 TARGET T01 DIAMETER 40")
	sign("100", "101", "102")
	if diff := cmp.Diff(map[string]int32{"100": 0, "102": 1, "101": 2}, timepoints()); diff != "" {
		t.Error(diff)
	}
	if _, err := o.Withdraw(t.Context(), outbox.Withdrawal{User: "pi", ID: "101", Meaning: "withdrawn", Reason: "mistaken"}); err != nil {
		t.Fatal(err)
	}
	deliver(count{Taken: 1}, "TR A 4 2020-04-01 TARGET T01 DIAMETER 47")
	sign("103")
	deliver(count{Unchanged: 1}, "TR A 3 2020-03-01 TARGET T01 DIAMETER 45")
	if diff := cmp.Diff(map[string]int32{"100": 0, "102": 1, "101": 2, "103": 3}, timepoints()); diff != "" {
		t.Error(diff)
	}
	deliver(count{Taken: 4}, "TR A 2.5 2020-02-15 TARGET T01 DIAMETER 30") // all but the withdrawn one again, beside the new one
}
