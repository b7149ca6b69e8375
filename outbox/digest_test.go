package outbox_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// stored returns the digest of the assessment in the form in which it is stored.
func stored(t *testing.T, a events.Assessment) string {
	t.Helper()
	sum := sha256.Sum256(must(json.Marshal(a))(t))
	return hex.EncodeToString(sum[:])
}

func exactly(caseRevision, revision int32, digest string) outbox.Expected {
	e := version(caseRevision, revision)
	e.Digest = digest
	return e
}

func TestASignatureCoversTheContentByItsDigest(t *testing.T) {
	d := newOutbox(t)
	a := assessment("1", 1, 1, 1)
	d.register(a)
	want := stored(t, a)
	if got := must(d.Reviews().Waiting(t.Context(), review.WaitingFilter{}))(t)[0].Digest; got != want {
		t.Fatalf("what waits has digest %s, want %s", got, want)
	}
	if got := d.sign("1")[0].Digest; got != want {
		t.Errorf("the answer has digest %q, want %s", got, want)
	}
	if got := d.sign("1")[0].Digest; got != want {
		t.Errorf("the repeated answer has digest %q, want %s", got, want)
	}
	d.register(assessment("1", 1, 1, 2))
	if got := must(d.signExpected("dr.a", "1", version(1, 1)))(t)[0].Digest; got != want {
		t.Errorf("the repeated answer beside a waiting version has digest %q, want %s", got, want)
	}
	var row string
	ok(t, d.DB().Reader.QueryRow(`select digest from signatures`).Scan(&row))
	if row != want {
		t.Errorf("the signature's row has digest %q, want %s", row, want)
	}
	var inTrail []string
	ok(t, d.Audit(t.Context(), outbox.AuditFilter{}, func(e outbox.AuditEntry) error {
		if e.Action == "assessment.signed" {
			inTrail = append(inTrail, string(e.Detail))
		}
		return nil
	}))
	if len(inTrail) != 1 || !strings.Contains(inTrail[0], `"digest":"`+want+`"`) {
		t.Errorf("the audit trail says %q, want digest %s", inTrail, want)
	}
}

func TestASignOffThatExpectsADigest(t *testing.T) {
	seen, other := assessment("1", 1, 1, 1), assessment("1", 1, 1, 1)
	other.Conclusion = "Progressive Disease"
	t.Run("signs that content, and returns the first answer again", func(t *testing.T) {
		d := newOutbox(t)
		d.register(seen)
		first := must(d.signExpected("dr.a", "1", exactly(1, 1, stored(t, seen))))(t)
		if diff := cmp.Diff(first, must(d.signExpected("dr.a", "1", exactly(1, 1, stored(t, seen))))(t)); diff != "" {
			t.Error(diff)
		}
		wantEvents(t, d, "signed 1/1")
	})
	t.Run("refuses content that was registered since under the same version", func(t *testing.T) {
		d := newOutbox(t)
		d.register(seen)
		d.register(other)
		_, err := d.signExpected("dr.a", "1", exactly(1, 1, stored(t, seen)))
		wantCode(t, err, events.Conflict, "registered again, with other content")
		wantEvents(t, d)
	})
	t.Run("refuses another version whose content waits", func(t *testing.T) {
		d := newOutbox(t)
		d.register(seen)
		later := other
		later.Revision = 2
		d.register(later)
		_, err := d.signExpected("dr.a", "1", exactly(1, 1, stored(t, seen)))
		wantCode(t, err, events.Conflict, "case revision 1, revision 2 does")
		wantEvents(t, d)
	})
	t.Run("refuses other content than was signed", func(t *testing.T) {
		d := newOutbox(t)
		d.register(seen)
		d.sign("1")
		_, err := d.signExpected("dr.a", "1", exactly(1, 1, stored(t, other)))
		wantCode(t, err, events.Conflict, "was signed by dr.a", "other content")
	})
	t.Run("refuses a digest that is none", func(t *testing.T) {
		d := newOutbox(t)
		d.register(seen)
		for _, digest := range []string{"x", strings.ToUpper(stored(t, seen)), stored(t, seen)[1:], stored(t, seen) + "0"} {
			_, err := d.signExpected("dr.a", "1", exactly(1, 1, digest))
			wantCode(t, err, events.Invalid, "digest")
		}
	})
}

func TestVersionsOfAnAssessment(t *testing.T) {
	d := newOutbox(t, "dr.a", "dr.b")
	first, replaced, second, third := assessment("1", 1, 1, 1), assessment("1", 1, 1, 2), assessment("1", 1, 1, 2), assessment("1", 1, 1, 3)
	replaced.Conclusion = "Stable Disease"
	d.register(first)
	d.sign("1")
	d.register(replaced)
	d.register(second)
	d.clock.advance(time.Minute)
	d.sign("1")
	must(d.withdrawAs("dr.b", "1", "wrong subject"))(t)
	d.register(third)

	got := must(d.Reviews().Versions(t.Context(), "1"))(t)
	at := newClock().now()
	signature := func(t time.Time) *events.Signature {
		return &events.Signature{User: "dr.a", Name: "Printed dr.a", Meaning: meaning, Time: t}
	}
	want := []review.Version{
		{State: review.VersionSigned, Signature: signature(at), SignedDigest: stored(t, first), Number: 1},
		{State: review.VersionReplaced},
		{State: review.VersionSigned, Signature: signature(at.Add(time.Minute)), SignedDigest: stored(t, second), Number: 2,
			Withdrawal: &review.WithdrawalRecord{Reason: "wrong subject", Signature: events.Signature{
				User: "dr.b", Name: "Printed dr.b", Meaning: withdrawing, Time: at.Add(time.Minute + time.Microsecond),
			}}},
		{State: review.VersionWaiting},
	}
	for i, a := range []events.Assessment{first, replaced, second, third} {
		want[i].Waiting = review.Waiting{Assessment: a, By: source, Registered: at, Registration: int64(i + 1), Digest: stored(t, a)}
	}
	want[3].Registered = at.Add(time.Minute)
	published := all(t, d.Outbox)[len(all(t, d.Outbox))-3:] // signed, amended, withdrawn
	for i, e := range map[int]events.Event{0: published[0], 2: published[1]} {
		want[i].Publication = &review.Publication{Event: e.ID, Kind: string(e.Kind()), Hash: e.Hash}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	_, err := d.Reviews().Versions(t.Context(), "2")
	wantCode(t, err, events.NotFound)
	_, err = d.Reviews().Versions(t.Context(), "'")
	wantCode(t, err, events.Invalid)
}

func TestAVersionIsAvailableUntilItsCaseMovesOn(t *testing.T) {
	d := newOutbox(t)
	d.register(assessment("1", 1, 1, 1), assessment("2", 1, 1, 1))
	d.sign("1", "2")
	if !must(d.Reviews().Versions(t.Context(), "1"))(t)[0].Available {
		t.Error("a signed version is not available")
	}
	d.register(assessment("2", 1, 2, 1))
	d.sign("2")
	if must(d.Reviews().Versions(t.Context(), "1"))(t)[0].Available {
		t.Error("a superseded version is available")
	}
}

// An outbox of before has signatures without a digest and withdrawals without a
// meaning.
func TestSignaturesOfBeforeDigestsWereRecorded(t *testing.T) {
	d := newOutbox(t)
	d.register(assessment("1", 1, 1, 1))
	d.sign("1")
	must(d.withdrawAs("dr.a", "1", "reason"))(t)
	copied := filepath.Join(t.TempDir(), "outbox.db")
	_, err := d.DB().Writer.Exec(`vacuum into '` + copied + `'`)
	ok(t, err)
	o := open(t, copied, outbox.Config{Clock: d.clock.now})
	for _, statement := range []string{
		`drop trigger signatures_no_update`, `drop trigger withdrawals_no_update`,
		`update signatures set digest = ''`, `update withdrawals set meaning = ''`,
	} {
		_, err := o.DB().Writer.Exec(statement)
		ok(t, err)
	}
	again := &testOutbox{Outbox: o, t: t, path: copied, clock: d.clock}
	if answer := again.sign("1")[0]; answer.Digest != "" || !answer.Withdrawn {
		t.Errorf("%+v", answer)
	}
	if _, err := again.signExpected("dr.a", "1", exactly(1, 1, stored(t, assessment("1", 1, 1, 1)))); err != nil {
		t.Errorf("the content that was signed is not known by its digest: %v", err)
	}
	if _, err := again.withdrawAs("dr.a", "1", "reason"); err != nil {
		t.Errorf("the same withdrawal again: %v", err)
	}
	v := must(o.Reviews().Versions(t.Context(), "1"))(t)[0]
	if v.SignedDigest != "" || v.Withdrawal.Meaning != "" || v.Digest == "" {
		t.Errorf("%+v", v)
	}
}
