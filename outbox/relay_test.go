package outbox_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
)

// signedIn registers and signs an assessment of a study.
func (d *testOutbox) signedIn(study, id string) {
	d.t.Helper()
	a := assessment(id, 1, 1, 1)
	a.Study = study
	ok(d.t, d.Accounts().GrantPI(d.t.Context(), operator, "dr.a", study))
	d.register(a)
	d.sign(id)
}

func (d *testOutbox) pending(limit int) []events.Entry {
	d.t.Helper()
	return must(d.Source().Pending(d.t.Context(), limit))(d.t)
}

// record stores the next ordinals of the next pending entries.
func (d *testOutbox) record(n int) {
	d.t.Helper()
	entries := d.pending(n)
	head := must(d.Source().Head(d.t.Context()))(d.t).StreamSequence
	for i := range entries {
		entries[i].StreamSequence = head + 1 + uint64(i)
	}
	ok(d.t, d.Source().Record(d.t.Context(), entries))
}

func subjects(entries []events.Entry) (out []string) {
	for _, e := range entries {
		out = append(out, e.Event.Study+" "+short(e.Event))
	}
	return out
}

func TestOrdinals(t *testing.T) {
	t.Run("continue without a gap, in commit order", func(t *testing.T) {
		d := newOutbox(t)
		if head := must(d.Source().Head(t.Context()))(t); head.StreamSequence != 0 {
			t.Errorf("%+v", head)
		}
		d.signedIn("A", "1")
		d.signedIn("B", "2")
		d.signedIn("A", "3")
		whole := d.pending(10)
		d.record(2)
		head := must(d.Source().Head(t.Context()))(t)
		if head.StreamSequence != 2 || head.Event.ID != whole[1].Event.ID {
			t.Errorf("head is %+v", head)
		}
		if diff := cmp.Diff(whole[2:], d.pending(10)); diff != "" {
			t.Error(diff)
		}
		d.record(10)
		recorded := must(d.Source().Recorded(t.Context(), 2, 5))(t)
		if diff := cmp.Diff([]string{"B signed 2/1", "A signed 3/2"}, subjects(recorded)); diff != "" {
			t.Error(diff)
		}
		if recorded[0].StreamSequence != 2 || recorded[1].StreamSequence != 3 {
			t.Errorf("%+v", recorded)
		}
		ok(t, d.Source().Record(t.Context(), nil))
	})
	t.Run("refuse what does not continue", func(t *testing.T) {
		d := newOutbox(t)
		for _, id := range []string{"1", "2", "3", "4"} {
			d.signedIn("A", id)
		}
		d.record(1)
		with := func(ordinal uint64, of events.Entry) events.Entry { of.StreamSequence = ordinal; return of }
		p := d.pending(10)
		first := must(d.Source().Head(t.Context()))(t)
		altered := with(2, p[0])
		altered.Event.Hash = p[1].Event.Hash
		for name, entries := range map[string][]events.Entry{
			"a gap":                   {with(3, p[0])},
			"a stream sequence twice": {with(1, p[0])},
			"a gap within":            {with(2, p[0]), with(4, p[1])},
			"a skipped event":         {with(2, p[1])},
			"a disorder":              {with(2, p[1]), with(3, p[0])},
			"an event twice":          {with(2, first)},
			"an unknown event":        {altered},
			"no stream sequence":      {with(0, p[0])},
		} {
			err := d.Source().Record(t.Context(), entries)
			if !errors.Is(err, events.Conflict) {
				t.Errorf("%s: %v", name, err)
			}
			if head := must(d.Source().Head(t.Context()))(t); head.StreamSequence != 1 {
				t.Errorf("%s: head is %d", name, head.StreamSequence)
			}
		}
	})
}

func TestParking(t *testing.T) {
	d := newOutbox(t)
	d.signedIn("A", "a1")
	d.signedIn("B", "b1")
	d.signedIn("A", "a2")
	d.record(1)
	d.signedIn("B", "b2")
	d.clock.advance(time.Minute)
	ok(t, d.Source().Park(t.Context(), "B", "too large"))
	ok(t, d.Source().Park(t.Context(), "B", "again"))

	t.Run("passes the study over, and nobody else", func(t *testing.T) {
		if diff := cmp.Diff([]string{"A signed a2/2"}, subjects(d.pending(10))); diff != "" {
			t.Error(diff)
		}
		d.record(1)
		d.signedIn("A", "a3")
		d.signedIn("B", "b3")
		if diff := cmp.Diff([]string{"A signed a3/3"}, subjects(d.pending(10))); diff != "" {
			t.Error(diff)
		}
		d.record(1)
	})
	t.Run("shows", func(t *testing.T) {
		want := []outbox.ParkedStudy{{Study: "B", StudyKey: "B", Reason: "too large", Since: d.clock.now(), Sequence: 1}}
		if diff := cmp.Diff(want, must(d.Parked(t.Context()))(t)); diff != "" {
			t.Error(diff)
		}
		s := must(d.Status(t.Context()))(t)
		if s.Events != 6 || s.StreamSequence != 3 || s.Unpublished != 3 || !s.Oldest.Equal(d.clock.now().Add(-time.Minute)) {
			t.Errorf("%+v", s)
		}
	})
	t.Run("ends when an operator asked for it and the relay agrees", func(t *testing.T) {
		if n := must(d.Source().Release(t.Context()))(t); n != 0 {
			t.Errorf("released %d", n)
		}
		ok(t, d.RequestRelease(t.Context(), operator, "B"))
		if p := must(d.Parked(t.Context()))(t); len(p) != 1 || !p[0].ReleaseRequested {
			t.Errorf("%+v", p)
		}
		d.signedIn("A", "a0")
		if n := must(d.Source().Release(t.Context()))(t); n != 0 {
			t.Errorf("released %d while another relay may be sending what is pending", n)
		}
		d.record(1)
		if n := must(d.Source().Release(t.Context()))(t); n != 1 {
			t.Errorf("released %d", n)
		}
		if n := must(d.Source().Release(t.Context()))(t); n != 0 {
			t.Errorf("released %d once more", n)
		}
		d.signedIn("A", "a4")
		want := []string{"B signed b1/1", "B signed b2/2", "B signed b3/3", "A signed a4/5"}
		if diff := cmp.Diff(want, subjects(d.pending(10))); diff != "" {
			t.Error(diff)
		}
		d.record(2)
		if diff := cmp.Diff(want[2:], subjects(d.pending(10))); diff != "" {
			t.Error(diff)
		}
		d.record(2)
		if s := must(d.Status(t.Context()))(t); s.Unpublished != 0 || !s.Oldest.IsZero() || len(s.Parked) != 0 {
			t.Errorf("%+v", s)
		}
	})
	t.Run("ends for the study that its number names, or else its study key", func(t *testing.T) {
		const spaced, key = "Study 1", "x-adq7ap3p40og"
		d := newOutbox(t)
		d.signedIn(spaced, "1")
		released := func() (numbers []string) {
			ok(t, d.Audit(t.Context(), outbox.AuditFilter{}, func(e outbox.AuditEntry) error {
				if e.Action == "study.release-requested" {
					numbers = append(numbers, e.Study+" "+e.Subject)
				}
				return nil
			}))
			return numbers
		}
		if got := events.StudyKey(spaced); got != key {
			t.Fatalf("the study key is %s", got)
		}
		ok(t, d.Source().Park(t.Context(), key, "too large"))
		ok(t, d.RequestRelease(t.Context(), operator, spaced))
		ok(t, d.RequestRelease(t.Context(), operator, key))
		if diff := cmp.Diff([]string{spaced + " " + key, spaced + " " + key}, released()); diff != "" {
			t.Error(diff)
		}
		d.signedIn(key, "2") // a study whose number is the study key of the other
		wantCode(t, d.RequestRelease(t.Context(), operator, key), events.NotFound, "study "+key+" is not parked")
		ok(t, d.Source().Park(t.Context(), events.StudyKey(key), "too large"))
		ok(t, d.RequestRelease(t.Context(), operator, key))
		if got := released(); got[len(got)-1] != key+" "+events.StudyKey(key) {
			t.Errorf("released %v", got)
		}
		wantCode(t, d.RequestRelease(t.Context(), operator, "Study"), events.NotFound, `there is no study "Study"`, "signoff status")
		wantCode(t, d.RequestRelease(t.Context(), operator, ""), events.NotFound)
	})
	t.Run("refuses what is not there", func(t *testing.T) {
		wantCode(t, d.Source().Park(t.Context(), "C", "reason"), events.NotFound)
		wantCode(t, d.Source().Park(t.Context(), "A", "reason"), events.Conflict)
		wantCode(t, d.RequestRelease(t.Context(), operator, "A"), events.NotFound)
	})
}

func TestChanged(t *testing.T) {
	d := newOutbox(t)
	drain := func() {
		select {
		case <-d.Source().Changed():
		default:
		}
	}
	wait := func(t *testing.T) {
		t.Helper()
		select {
		case <-d.Source().Changed():
		case <-time.After(time.Minute):
			t.Fatal("nobody said so")
		}
	}
	t.Run("tells of a commit in this process at once", func(t *testing.T) {
		drain()
		d.register(assessment("1", 1, 1, 1))
		drain()
		d.sign("1")
		select {
		case <-d.Source().Changed():
		default:
			t.Error("not yet")
		}
	})
	t.Run("tells of a commit elsewhere while Run runs", func(t *testing.T) {
		other := open(t, d.path, outbox.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- d.Run(ctx) }()
		wait(t) // the first check
		drain()
		_, err := other.SignOff(t.Context(), outbox.SignOff{User: "dr.a", Meaning: meaning, IDs: []string{"1"}})
		ok(t, err)
		ok(t, other.Accounts().DisablePI(t.Context(), operator, "dr.a"))
		wait(t)
		cancel()
		ok(t, <-ended)
	})
}
