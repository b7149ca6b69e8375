package fhir_test

import (
	"fmt"
	"log"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir"
)

// A report's bytes are made once, when it is signed, and say all that is
// needed to find it again.
func ExampleReport_Encode() {
	report := fhir.Report{
		Assessment: events.Assessment{
			ID: "790", Study: "FHIR-T", SponsorStudy: "C3861001", TrialName: "FHIR-T", Criteria: events.Criteria,
			Case: events.Case{ID: 163, Revision: 5}, Revision: 1, Name: events.FollowUp(2), Timepoint: 2,
			Subject: "10081007", Effective: "2006-10-13T09:31:24", Conclusion: "Partial Response",
		},
		Signature: events.Signature{
			User: "rivera", Name: "Ana Rivera, MD", Meaning: "I approve this assessment",
			Time: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC),
		},
		Version:     17,
		LastUpdated: time.Date(2026, 1, 31, 12, 0, 0, 1000, time.UTC),
	}
	body, err := report.Encode()
	if err != nil {
		log.Fatal(err)
	}
	index, err := fhir.ParseIndex(body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("report %s of %s, version %d: %s\n", index.ID, index.Study, index.Version, index.Conclusion)
	fmt.Printf("signed at %s\n", events.FormatTime(index.Issued))
	// Output:
	// report 790 of FHIR-T, version 17: Partial Response
	// signed at 2026-01-31T12:00:00.000000Z
}
