package signing_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/accounts/accountstest"
	"github.com/seed-e88a4ece/signoff/outbox/desk/signing"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

const (
	study   = "S"
	meaning = "I have reviewed and approve this assessment."
)

// visit returns a visit of one target lesion with this diameter in mm.
func visit(id string, timepoint int32, name, diameter, previous, baseline, nadir, conclusion string) events.Assessment {
	return events.Assessment{
		ID: id, Study: study, SponsorStudy: "C1", TrialName: study, Criteria: events.Criteria, Case: events.Case{ID: 1, Revision: 1}, Revision: 1,
		Name: name, Timepoint: timepoint, Subject: "subject-1", Effective: "2026-01-0" + id,
		Measurement: &events.Measurement{
			Type: events.MeasurementType, Value: events.Decimal(diameter), Unit: events.Unit,
			ChangeFromPrevious: previous, ChangeFromBaseline: baseline, ChangeFromNadir: nadir,
		},
		Conclusion: conclusion,
		Lesions:    []events.Lesion{{ID: "T01", Category: "Target", State: "Present", Value: events.Decimal(diameter), Unit: events.Unit}},
	}
}

func openOutbox(t *testing.T) *outbox.Outbox {
	t.Helper()
	o, err := outbox.Open(t.Context(), filepath.Join(t.TempDir(), "outbox.db"), outbox.Config{})
	ok(t, err)
	t.Cleanup(func() { ok(t, o.Close()) })
	ok(t, accountstest.AddPI(t.Context(), o.Accounts(), "ops", "dr.a", "Dr. A", []string{study}, "correct horse battery"))
	for _, a := range []events.Assessment{
		visit("1", 0, "Baseline", "73", "--", "0.0 mm", "--", "No"),
		visit("2", 1, "Follow-up 1", "40", "-33.0 mm", "-33.0 mm", "-33.0 mm", "Partial Response"),
		visit("3", 2, "Follow-up 2", "50", "+10.0 mm", "-23.0 mm", "+10.0 mm", "Partial Response"),
	} {
		r, err := o.Register(t.Context(), "edc", []events.Submission{{Assessment: a}})
		ok(t, err)
		if r[0].Err != nil {
			t.Fatal(r[0].Err)
		}
	}
	return o
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestSignOff(t *testing.T) {
	o := openOutbox(t)
	read := func() (review.Case, map[string]string) {
		t.Helper()
		c, err := o.Reviews().Case(t.Context(), study, 1)
		ok(t, err)
		digests := map[string]string{}
		for _, v := range c.Visits {
			digests[v.ID] = c.InForce(v).Digest
		}
		return c, digests
	}
	c, digests := read()
	request := func(items ...signing.Item) signing.Request {
		return signing.Request{User: "dr.a", Meaning: "  " + strings.Replace(meaning, " and ", "\n\tand  ", 1), Stamp: c.Stamp, Items: items}
	}
	code := func(err error, want events.Code) {
		t.Helper()
		if events.CodeOf(err) != want {
			t.Errorf("%v is not %s", err, want)
		}
	}
	_, err := signing.SignOff(c, request(signing.Item{ID: "3", Digest: digests["3"]}))
	code(err, events.Required)
	if err == nil || !strings.Contains(err.Error(), "overall-differs") {
		t.Errorf("%v", err)
	}
	_, err = signing.SignOff(c, request(signing.Item{ID: "3", Digest: digests["3"], Reason: " \n "}))
	code(err, events.Required)
	_, err = signing.SignOff(c, request(signing.Item{ID: "2", Digest: digests["3"]}))
	code(err, events.Stale)
	_, err = signing.SignOff(c, request(signing.Item{ID: "9", Digest: digests["3"]}))
	code(err, events.Stale)

	s, err := signing.SignOff(c, request(signing.Item{ID: "2", Digest: digests["2"]}, signing.Item{ID: "3", Digest: digests["3"], Reason: "the node\n is a cyst "}))
	ok(t, err)
	if s.Meaning != meaning || s.Remarks["3"].Reason != "the node is a cyst" || len(s.Remarks["3"].Findings) != 1 || len(s.Remarks) != 1 {
		t.Errorf("%+v", s)
	}
	first, err := o.SignOff(t.Context(), s)
	ok(t, err)

	// The same request again has the same answer, though the case has changed by it.
	now, _ := read()
	again, err := signing.SignOff(now, request(signing.Item{ID: "2", Digest: digests["2"]}, signing.Item{ID: "3", Digest: digests["3"]}))
	ok(t, err)
	second, err := o.SignOff(t.Context(), again)
	ok(t, err)
	if diff := cmp.Diff(first, second); diff != "" {
		t.Error(diff)
	}

	// With a stamp of before, nothing more is signed.
	_, err = signing.SignOff(now, request(signing.Item{ID: "1", Digest: digests["1"]}))
	code(err, events.Stale)
	unaware, err := signing.SignOff(c, request(signing.Item{ID: "1", Digest: digests["1"]}))
	ok(t, err)
	_, err = o.SignOff(t.Context(), unaware)
	code(err, events.Stale)
}
