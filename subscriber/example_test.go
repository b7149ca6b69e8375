package subscriber_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/subscriber"
)

// inMemory is a Follower that calls a function and keeps the Bookmark in memory.
// Example_partner shows one that stores both.
type inMemory struct {
	bookmark subscriber.Bookmark
	handle   func(subscriber.Delivery) error
}

func (m *inMemory) Resume(context.Context, string) (subscriber.Bookmark, error) {
	return m.bookmark, nil
}

func (m *inMemory) Handle(_ context.Context, d subscriber.Delivery) error {
	if err := m.handle(d); err != nil {
		return err
	}
	m.bookmark = d.Bookmark
	return nil
}

// A Delivery has the event in the form of the CloudEvents SDK, with the report as
// its data.
func ExampleDelivery() {
	publisher := openPublisher(1)
	defer publisher.close()
	partner := publisher.dial()
	defer partner.Close()

	follower := &inMemory{handle: func(d subscriber.Delivery) error {
		fmt.Println(d.Event.Type(), "about", d.Event.Subject())
		fmt.Println("number", d.Event.Extensions()["sequence"])
		var report struct{ ResourceType, Status string }
		if err := d.Event.DataAs(&report); err != nil {
			return err
		}
		fmt.Println(report.ResourceType, report.Status)
		return nil
	}}
	if err := partner.CatchUp(context.Background(), exampleStudy, follower); err != nil {
		log.Fatal(err)
	}
	// Output:
	// org.mskcc.crit.diagnosticreport.signed.v1 about DiagnosticReport/1/_history/1
	// number 00000000000000000001
	// DiagnosticReport final
}

// The announcements tell a partner which studies it may follow.
func ExamplePartner_FollowAccess() {
	publisher := openPublisher(0)
	defer publisher.close()
	partner := publisher.dial()
	defer partner.Close()

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	err := partner.FollowAccess(ctx, &inMemory{handle: func(d subscriber.Delivery) error {
		grant, err := d.Grant()
		if err != nil {
			return err
		}
		fmt.Println(d.Kind, grant.Study) // start to follow the study, or stop
		cancel()                         // the example ends here; a program goes on
		return nil
	}})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// access.granted.v1 C3861001
}

// Tail returns whether anything is outstanding: only if not, silence means that
// nothing was signed.
func ExamplePartner_Tail() {
	publisher := openPublisher(3)
	defer publisher.close()
	partner := publisher.dial()
	defer partner.Close()

	ctx := context.Background()
	ignore := &inMemory{handle: func(subscriber.Delivery) error { return nil }}
	if err := partner.CatchUp(ctx, exampleStudy, ignore); err != nil {
		log.Fatal(err)
	}
	tail, err := partner.Tail(ctx, exampleStudy)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("undelivered:", tail.Undelivered, "quiet:", tail.Quiet())
	// Output:
	// undelivered: 0 quiet: true
}

// Anybody who has stored the events of a study can verify later that none is
// missing or altered.
func Example_verifyChain() {
	publisher := openPublisher(3)
	defer publisher.close()
	partner := publisher.dial()
	defer partner.Close()

	var received []event.Event
	err := partner.CatchUp(context.Background(), exampleStudy, &inMemory{handle: func(d subscriber.Delivery) error {
		received = append(received, d.Event)
		return nil
	}})
	if err != nil {
		log.Fatal(err)
	}

	verify := func(list []event.Event) (head events.ChainHead, err error) {
		for _, ce := range list {
			e, err := events.FromCloudEvent(ce)
			if err != nil {
				return head, err
			}
			if head, err = head.Follow(e); err != nil {
				return head, err
			}
		}
		return head, nil
	}
	head, err := verify(received)
	fmt.Println("verified up to number", head.Number, err)
	_, err = verify(append(received[:1:1], received[2])) // without the second
	fmt.Println("a gap:", errors.Is(err, events.Gap))
	received[1].DataEncoded = []byte(`{"resourceType":"DiagnosticReport","status":"amended"}`)
	_, err = verify(received)
	fmt.Println("altered:", errors.Is(err, events.Altered))
	// Output:
	// verified up to number 3 <nil>
	// a gap: true
	// altered: true
}
