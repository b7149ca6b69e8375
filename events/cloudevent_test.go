package events_test

import (
	"encoding/json"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/seed-e88a4ece/signoff/events"
)

func TestTheSDKAcceptsEachKind(t *testing.T) {
	for _, k := range kindsAndUnknown {
		t.Run(string(k), func(t *testing.T) {
			e := sampleEvent(events.DefaultNamespace, k, studyOf(k, events.StudyKey("Ä 1")), events.ChainHead{}, `{"value":50.0}`)
			e.TraceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
			ce, err := e.CloudEvent()
			if err != nil {
				t.Fatal(err)
			}
			if err := ce.Validate(); err != nil {
				t.Fatal(err)
			}
			if string(ce.Data()) != `{"value":50.0}` {
				t.Errorf("the data became %s", ce.Data())
			}
			back, err := events.FromCloudEvent(ce)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(e, back); diff != "" {
				t.Errorf("-sent +read:\n%s", diff)
			}
		})
	}
}

func TestCloudEventRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := anyEvent().Draw(t, "event")
		ce, err := e.CloudEvent()
		if err != nil {
			t.Fatal(err)
		}
		back, err := events.FromCloudEvent(ce)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(e, back); diff != "" {
			t.Fatalf("-sent +read:\n%s", diff)
		}
		if err := back.Verify(); err != nil {
			t.Fatal(err)
		}
	})
}

// Who receives our events in the SDK's structured form, over whatever carries
// it, can still verify the chain.
func TestTheChainSurvivesStructuredMode(t *testing.T) {
	e := sampleEvent(events.DefaultNamespace, events.AccessPartner, events.AccessStudy, events.ChainHead{}, `{"id":"acme","x":1E2}`)
	ce, err := e.CloudEvent()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(ce)
	if err != nil {
		t.Fatal(err)
	}
	var received event.Event
	if err := json.Unmarshal(text, &received); err != nil {
		t.Fatal(err)
	}
	back, err := events.FromCloudEvent(received)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(e, back); diff != "" {
		t.Errorf("-sent +read:\n%s", diff)
	}
}

func TestForeignCloudEventsAreRefused(t *testing.T) {
	foreign := func(change func(ce *event.Event)) event.Event {
		ce, err := sampleEvent(events.DefaultNamespace, events.ReportSigned, "FHIR-T", events.ChainHead{}, "{}").CloudEvent()
		if err != nil {
			t.Fatal(err)
		}
		change(&ce)
		return ce
	}
	for name, ce := range map[string]event.Event{
		"nothing set":              event.New(),
		"a type that is not ours":  foreign(func(ce *event.Event) { ce.SetType("com.example.created") }),
		"no sequence":              foreign(func(ce *event.Event) { ce.SetExtension("sequence", nil) }),
		"a sequence as number":     foreign(func(ce *event.Event) { ce.SetExtension("sequence", 1) }),
		"a space in the subject":   foreign(func(ce *event.Event) { ce.SetSubject("a b") }),
		"an older specification":   foreign(func(ce *event.Event) { ce.SetSpecVersion("0.3") }),
		"a hash in capital digits": foreign(func(ce *event.Event) { ce.SetExtension("hash", "AB") }),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := events.FromCloudEvent(ce); events.CodeOf(err) != events.Invalid {
				t.Errorf("got %v, want an Invalid error", err)
			}
		})
	}
}

func TestAnEventTheSDKRefusesIsInvalid(t *testing.T) {
	e := sampleEvent(events.DefaultNamespace, events.ReportSigned, "FHIR-T", events.ChainHead{}, "{}")
	e.Source = "://"
	if _, err := e.CloudEvent(); events.CodeOf(err) != events.Invalid {
		t.Errorf("got %v, want an Invalid error", err)
	}
}
