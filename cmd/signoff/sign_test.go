package main

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
)

func TestAnInterruptedSigningSaysWhatIsNotSigned(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	o, err := outbox.Open(t.Context(), filepath.Join(t.TempDir(), "outbox.db"), outbox.Config{Step: func(name string) {
		if name == "committed" {
			interrupt()
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if err := o.AddPI(t.Context(), "tester", "rivera", "Dr. Rivera", []string{"S1"}, "correct horse battery"); err != nil {
		t.Fatal(err)
	}
	var batch []events.Submission
	var cases [][]string
	for n := range int32(3) {
		id := fmt.Sprint(n + 1)
		batch = append(batch, events.Submission{Assessment: events.Assessment{
			ID: id, Study: "S1", SponsorStudy: "S1", TrialName: "S1", Criteria: events.Criteria, Case: events.Case{ID: n + 1, Revision: 1},
			Revision: 1, Name: events.Baseline, Subject: id, Effective: "2014", Conclusion: "No",
		}})
		cases = append(cases, []string{id})
	}
	if _, err := o.Register(t.Context(), "tester", batch); err != nil {
		t.Fatal(err)
	}
	var complaints bytes.Buffer
	cmd := signCommand{As: "rivera", Meaning: "I approve"}
	signed, refused := cmd.sign(ctx, terminal{err: &complaints}, o, cases)
	if len(signed) != 1 || refused != 2 || !strings.Contains(complaints.String(), "interrupted: 2 cases not reached") {
		t.Errorf("%d signed, %d refused, said %q", len(signed), refused, complaints.String())
	}
}
