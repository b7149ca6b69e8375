package stream_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/subscriber/stream"
)

func TestEventsOfUnknownKindsAreApplied(t *testing.T) {
	s := &study{key: "S1"}
	want := []events.Event{
		s.next(),
		s.unknown("diagnosticreport.retracted.v1", events.MediaFHIR, []byte(`{"resourceType":"Basic","value":50.0}`)),
		s.unknown("readercomment.added.optional.v1", events.MediaFHIR, []byte(`{"resourceType":"Basic"}`)),
		s.unknown("diagnosticreport.signed.v2", "application/pdf", []byte("%PDF \xff\xfe")),
		(&study{key: events.PartnerStudy("acme")}).unknown("access.paused.v1", events.MediaJSON, []byte(`{"partner":"acme"}`)),
		(&study{key: events.AccessStudy}).unknown("access.role.v1", events.MediaJSON, []byte("{}")),
		s.next(),
	}
	b := newBroker(t)
	b.publish(want...)
	h := newMemoryHandler()
	stop, _ := run(t, b.connectReader(), h, stream.Config{})
	h.wait(t, len(want))
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, h.events); diff != "" {
		t.Error(diff)
	}
}
