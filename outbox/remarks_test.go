package outbox_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
)

// signedRemarks returns the remarks in the audit trail, by assessment.
func (d *testOutbox) signedRemarks() map[string]outbox.Remark {
	d.t.Helper()
	out := map[string]outbox.Remark{}
	ok(d.t, d.Audit(d.t.Context(), outbox.AuditFilter{Action: "assessment.signed"}, func(e outbox.AuditEntry) error {
		var r outbox.Remark
		if err := json.Unmarshal(e.Detail, &r); err != nil {
			return err
		}
		out[e.Subject] = r
		return nil
	}))
	return out
}

func TestRemarksAreInTheAuditTrailOnly(t *testing.T) {
	d := newOutbox(t)
	d.register(assessment("1", 1, 1, 1), assessment("2", 1, 1, 1), assessment("3", 2, 1, 1))
	request := outbox.SignOff{User: "dr.a", Meaning: meaning, IDs: []string{"1", "2"}, Remarks: map[string]outbox.Remark{
		"2": {Reason: "T02 is a cyst", Findings: []string{"overall-differs: one", "sum-differs: two"}},
	}}
	must(d.SignOff(t.Context(), request))(t)
	want := map[string]outbox.Remark{"1": {}, "2": request.Remarks["2"]}
	if diff := gocmp.Diff(want, d.signedRemarks()); diff != "" {
		t.Error(diff)
	}
	for _, e := range all(t, d.Outbox) {
		if strings.Contains(string(e.Data), "cyst") || strings.Contains(string(e.Data), "overall-differs") {
			t.Errorf("event %d has the remark", e.Number)
		}
	}

	// The same sign-off again keeps the remark of the first one.
	request.Remarks = map[string]outbox.Remark{"2": {Reason: "another"}}
	must(d.SignOff(t.Context(), request))(t)
	if diff := gocmp.Diff(want, d.signedRemarks()); diff != "" {
		t.Error(diff)
	}

	t.Run("in a host's transaction", func(t *testing.T) {
		tx := must(d.DB().Writer.BeginTxx(t.Context(), nil))(t)
		_, err := d.SignOffTx(t.Context(), tx, outbox.SignOff{User: "dr.a", Meaning: meaning, IDs: []string{"3"},
			Remarks: map[string]outbox.Remark{"3": {Reason: "seen"}}})
		ok(t, err)
		ok(t, tx.Commit())
		if got := d.signedRemarks()["3"].Reason; got != "seen" {
			t.Errorf("reason %q", got)
		}
	})
	for name, r := range map[string]map[string]outbox.Remark{
		"on an assessment that is not signed": {"9": {Reason: "x"}},
		"with a reason of two lines":          {"1": {Reason: "one\ntwo"}},
		"with a reason that is too long":      {"1": {Reason: strings.Repeat("x", 201)}},
		"with too many findings":              {"1": {Findings: make([]string, 21)}},
		"with a finding that is too long":     {"1": {Findings: []string{strings.Repeat("x", 10_001)}}},
		"with a finding that is not UTF-8":    {"1": {Findings: []string{"\xff"}}},
	} {
		t.Run("refused "+name, func(t *testing.T) {
			_, err := d.SignOff(t.Context(), outbox.SignOff{User: "dr.a", Meaning: meaning, IDs: []string{"1"}, Remarks: r})
			if !errors.Is(err, events.Invalid) {
				t.Error(err)
			}
		})
	}
}
