package intake_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/seed-e88a4ece/signoff/outbox/intake"
)

// A file of one record a line. What is refused is named with line and field, and
// the other records are read.
func ExampleReadFrom() {
	const file = `{"id":"1","study":"S","sponsorStudy":"S","trialName":"S","criteria":"RECIST 1.1","case":{"id":1,"revision":1},"revision":1,"name":"Baseline","timepoint":0,"subject":"A","effective":"2020-01-02","conclusion":"No"}
{"id":"2","study":"S","sponsorStudy":"S","trialName":"S","criteria":"RANO","case":{"id":1,"revision":1},"revision":1,"name":"Follow-up 1","timepoint":1,"subject":"A","effective":"2020-03-02","conclusion":"No"}
`
	err := intake.ReadFrom(context.Background(), strings.NewReader(file), "visits.ndjson", func(r intake.Record) error {
		if r.Err != nil {
			fmt.Printf("%s: refused: %v\n", r.Place(), r.Err)
			return nil
		}
		fmt.Printf("%s: %s %s\n", r.Place(), r.Submission.Assessment.ID, r.Submission.Assessment.Name)
		return nil
	})
	fmt.Println(err)
	// Output:
	// visits.ndjson:1: 1 Baseline
	// visits.ndjson:2: refused: criteria: "RANO" is not one of "RECIST 1.1"
	// <nil>
}

// A FHIR Bundle, as a FHIR server answers a search with it.
func ExampleReadFrom_bundle() {
	bundle, err := os.Open("testdata/seed-bundle.json")
	if err != nil {
		log.Fatal(err)
	}
	defer bundle.Close()
	err = intake.ReadFrom(context.Background(), bundle, "bundle.json", func(r intake.Record) error {
		a := r.Submission.Assessment
		fmt.Printf("%s: %s, subject %s, %s: %s %s, %s\n", r.Place(), a.ID, a.Subject, a.Name, a.Measurement.Value, a.Measurement.Unit, a.Conclusion)
		return nil
	})
	fmt.Println(err)
	// Output:
	// bundle.json:30: 790, subject 10081007, Follow-up 2: 37.6 mm, Partial Response
	// bundle.json:140: 792, subject 10081007, Baseline: 79.9 mm, No
	// <nil>
}
