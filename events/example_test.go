package events_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
)

// report returns an event about the report of an assessment that was signed at the
// minute. Its number and hashes are not set yet.
func report(id string, number uint64, minute int, body string) events.Event {
	ns := events.DefaultNamespace
	key := events.StudyKey("FHIR-T")
	return events.Event{
		ID:              fmt.Sprintf("01941f29-7c00-7000-8000-%012d", number),
		Source:          ns.Source(key),
		Type:            ns.Type(events.ReportSigned),
		Subject:         events.ReportSubject(id, number),
		Time:            time.Date(2026, 1, 31, 12, minute, 0, 0, time.UTC),
		DataContentType: events.ReportSigned.MediaType(),
		Study:           key,
		PartitionKey:    key + "/163",
		Data:            []byte(body),
	}
}

// chain returns two sealed events of a study.
func chain() []events.Event {
	var head events.ChainHead // before the first event
	chain := []events.Event{
		report("790", 1, 0, `{"resourceType":"DiagnosticReport","id":"790"}`),
		report("791", 2, 1, `{"resourceType":"DiagnosticReport","id":"791"}`),
	}
	for i := range chain {
		chain[i].Seal(head)
		head = chain[i].ChainHead()
	}
	return chain
}

// A writer numbers each event of a study and seals it into the study's chain.
func ExampleEvent_Seal() {
	var head events.ChainHead // of a study without events
	for number, id := range []string{"790", "791"} {
		e := report(id, uint64(number+1), number, `{"resourceType":"DiagnosticReport"}`)
		e.Seal(head)
		head = e.ChainHead()
		fmt.Println(e.Number, e.PreviousHash[:8], e.Hash[:8], e.Validate())
	}
	// Output:
	// 1 00000000 2b22ff9d <nil>
	// 2 2b22ff9d 4ed2b8e5 <nil>
}

// A reader stores the chain head of each study. With it, it finds out that an event
// is missing, repeated or altered.
func ExampleChainHead_Follow() {
	all := chain()
	var head events.ChainHead
	for _, e := range all {
		var err error
		if head, err = head.Follow(e); err != nil {
			fmt.Println(err)
			return
		}
	}
	fmt.Println("complete up to", head.Number)

	_, err := events.ChainHead{}.Follow(all[1])
	fmt.Println(errors.Is(err, events.Gap), err)

	_, err = head.Follow(all[1])
	fmt.Println(errors.Is(err, events.Repeat), err)

	altered := all[0]
	altered.Data = []byte(`{"resourceType":"DiagnosticReport","id":"666"}`)
	_, err = events.ChainHead{}.Follow(altered)
	fmt.Println(errors.Is(err, events.Altered), err)
	// Output:
	// complete up to 2
	// true study FHIR-T: event 2 came after 0; those between are missing
	// true study FHIR-T: event 2 came again
	// true event 1 of FHIR-T does not match its hash
}

// The study key stands for a study in NATS subjects and consumer names.
func ExampleStudyKey() {
	for _, study := range []string{"FHIR-T", "NCT 0001", "x-1"} {
		fmt.Println(study, "→", events.StudyKey(study))
	}
	// Output:
	// FHIR-T → FHIR-T
	// NCT 0001 → x-9p1l881g60o32
	// x-1 → x-f0mj2
}

// Study and type of an event determine its subject.
func ExampleEvent_NATSSubject() {
	e := chain()[0]
	fmt.Println(e.NATSSubject())
	fmt.Println(events.StudySubjects(e.Study))

	e.Type = events.DefaultNamespace.Type("diagnosticreport.archived.optional.v1") // a kind that this version does not know
	fmt.Println(e.NATSSubject(), e.Kind().Known(), e.Kind().NeedsNewer())
	// Output:
	// crit.v1.FHIR-T.DiagnosticReport.signed
	// crit.v1.FHIR-T.>
	// crit.v1.FHIR-T.DiagnosticReport.archived false false
}

// The headers and the body of a NATS message carry an event.
func ExampleFromHeader() {
	sent := chain()[0]
	header := sent.Header() // convert it to a nats.Header
	fmt.Println(header["ce-type"], header["ce-sequence"])

	received, err := events.FromHeader(header, sent.Data)
	if err != nil {
		fmt.Println(err)
		return
	}
	id, version, _ := received.ReportID()
	fmt.Println(id, version, received.Kind(), received.Verify())

	delete(header, "ce-study")
	_, err = events.FromHeader(header, sent.Data)
	fmt.Println(err)
	// Output:
	// [org.mskcc.crit.diagnosticreport.signed.v1] [00000000000000000001]
	// 790 1 diagnosticreport.signed.v1 <nil>
	// ce-study: must be there once; it is there 0 times
}

// An event can be handed to a program that uses the CloudEvents SDK, and read back.
func ExampleFromCloudEvent() {
	ce, err := chain()[0].CloudEvent()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(ce.Source(), ce.Type(), ce.Extensions()["sequence"])

	e, err := events.FromCloudEvent(ce)
	fmt.Println(e.Number, e.Verify(), err)
	// Output:
	// /signoff/ResearchStudy/FHIR-T org.mskcc.crit.diagnosticreport.signed.v1 00000000000000000001
	// 1 <nil> <nil>
}
