package fhir_test

import (
	"bytes"
	"fmt"
	"log"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir"
)

// signedReport returns a report as sign-off makes it.
func signedReport() fhir.Report {
	return fhir.Report{
		Assessment: events.Assessment{
			ID: "790", Study: "FHIR-T", SponsorStudy: "C3861001", TrialName: "FHIR-T", Criteria: events.Criteria,
			Case: events.Case{ID: 163, Revision: 5}, Revision: 1, Name: events.FollowUp(2), Timepoint: 2,
			Subject: "10081007", Effective: "2006-10-13T09:31:24", Conclusion: "Partial Response",
			Lesions: []events.Lesion{{ID: "T01", Category: "Target", Value: "12.50", Unit: "mm"}},
		},
		Signature: events.Signature{
			User: "rivera", Name: "Ana Rivera, MD", Meaning: "I approve this assessment",
			Time: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC),
		},
		Version:     17,
		LastUpdated: time.Date(2026, 1, 31, 12, 0, 0, 1000, time.UTC),
	}
}

// A report is encoded once, when it is signed; after that its bytes never change.
func ExampleReport_Encode() {
	body, err := signedReport().Encode()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%.75s…\n", body)
	// Output:
	// {"resourceType":"DiagnosticReport","id":"790","meta":{"versionId":"17","las…
}

// The lesions of a report are Observations. A value has the digits in which it
// was signed.
func ExampleReport_EncodeObservations() {
	body, err := signedReport().EncodeObservations()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", body[bytes.Index(body, []byte(`"valueQuantity"`)):])
	// Output:
	// "valueQuantity":{"value":12.50,"unit":"mm"}}}]}
}

// A source system sends the form that Encode writes, without what sign-off adds.
// A refusal names the path of the element.
func ExampleParseReport() {
	body, err := signedReport().Encode()
	if err != nil {
		log.Fatal(err)
	}
	assessment, err := fhir.ParseReport(body)
	fmt.Println(assessment.ID, assessment.Name, err)

	_, err = fhir.ParseReport(bytes.Replace(body, []byte(`"valueInteger":163`), []byte(`"valueInteger":163.0`), 1))
	fmt.Println(err)
	// Output:
	// 790 Follow-up 2 <nil>
	// extension[2].valueInteger: 163.0 is not an integer of at most 2147483647
}

// A read model stores the bytes beside the values by which they are found.
func ExampleParseIndex() {
	body, err := signedReport().Encode()
	if err != nil {
		log.Fatal(err)
	}
	index, err := fhir.ParseIndex(body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("report %s of study %s, subject %s, version %d: %s\n", index.ID, index.Study, index.Subject, index.Version, index.Conclusion)
	// Output:
	// report 790 of study FHIR-T, subject 10081007, version 17: Partial Response
}

// A searchset contains the resources byte for byte.
func ExampleSearchset_Append() {
	const base = "https://example.org/DiagnosticReport"
	s := fhir.Searchset{
		Study:   "FHIR/T",
		Total:   1,
		Links:   []fhir.Link{{Relation: "self", URL: base + "?researchstudy=" + fhir.EscapeQuery("FHIR/T")}},
		Entries: []fhir.Entry{{FullURL: base + "/790", Resource: []byte(`{"resourceType":"DiagnosticReport"}`)}},
	}
	body := s.Append(make([]byte, 0, s.Size()))
	for _, line := range bytes.SplitAfter(body, []byte(`,"`)) {
		fmt.Printf("%s\n", line)
	}
	// Output:
	// {"resourceType":"Bundle","
	// identifier":{"system":"https://fhir.mskcc.org/structure-definitions/#IDB.Protocol","
	// value":"FHIR/T"},"
	// type":"searchset","
	// total":1,"
	// link":[{"relation":"self","
	// url":"https://example.org/DiagnosticReport?researchstudy=FHIR%2FT"}],"
	// entry":[{"fullUrl":"https://example.org/DiagnosticReport/790","
	// resource":{"resourceType":"DiagnosticReport"}}]}
}
