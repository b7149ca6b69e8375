package intake_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/outbox/intake"
)

// checkRecords checks what is true of every record, whatever the file has.
func checkRecords(t *testing.T, records []intake.Record) {
	t.Helper()
	for _, r := range records {
		switch a := r.Submission.Assessment; {
		case r.Line < 1 || r.File == "":
			t.Errorf("a record has no place: %q", r.Place())
		case r.Err == nil:
			if err := a.Validate(); err != nil {
				t.Errorf("%s: emitted, but %v", r.Place(), err)
			}
		case r.Err.Message == "" || r.Err.Code == "" || a.ID != "" || r.Submission.Visit != nil:
			t.Errorf("%s: %+v with %+v", r.Place(), r.Err, r.Submission)
		}
	}
}

func FuzzAssessments(f *testing.F) {
	report, obs := resources(f, goodAssessment())
	for _, text := range []string{good, "[" + oneLine("1") + "," + oneLine("2") + "]", oneLine("1") + "\n" + oneLine("2"),
		seed(f), report, bundleOf(report, obs[0], obs[1]), `[{},null,"\ud83d\ude00",1e9999]`, "\ufeff[", `{"a":{"a":[`} {
		f.Add([]byte(text), false)
		f.Add([]byte(text), true)
	}
	valid := schema(f)
	f.Fuzz(func(t *testing.T, data []byte, byLine bool) {
		name := "a.json"
		if byLine {
			name = "a.ndjson"
		}
		emit, records := collect()
		if err := intake.ReadFrom(t.Context(), bytes.NewReader(data), name, emit); err != nil {
			t.Fatal(err)
		}
		checkRecords(t, *records)
		record := bytes.TrimPrefix(data, []byte("\ufeff"))
		if len(*records) == 1 && (*records)[0].Err == nil && json.Valid(record) && !bytes.ContainsAny(record, "[") && !bytes.Contains(record, []byte("resourceType")) {
			if err := validate(valid, record); err != nil {
				t.Errorf("taken, but not valid by the schema: %v", err)
			}
		}
		for _, r := range *records {
			if r.Err != nil {
				continue
			}
			text, err := json.Marshal(r.Submission.Assessment)
			if err != nil {
				t.Fatal(err)
			}
			if err := validate(valid, text); err != nil {
				t.Errorf("not valid by the schema: %v", err)
			}
			again := read(t, "a.json", string(text))
			if diff := cmp.Diff(r.Submission, again[0].Submission); diff != "" {
				t.Errorf("written and read again: %s", diff)
			}
		}
	})
}
