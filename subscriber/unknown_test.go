package subscriber_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/subscriber"
)

// newer is a study in which a newer publisher has written events of kinds that
// are not known, between two that are.
func newer(key string, kinds ...events.Kind) []events.Event {
	s := &study{key: key}
	list := []events.Event{s.next()}
	for _, k := range kinds {
		list = append(list, s.unknown(k, k.MediaType(), []byte(`{"resourceType":"Basic","value":50.0}`)))
	}
	return append(list, s.unknown(kinds[0], "application/pdf", []byte("%PDF \xff\xfe")), s.next())
}

var (
	newerKinds         = []events.Kind{"diagnosticreport.retracted.v1", "readercomment.added.optional.v1", "diagnosticreport.signed.v2", "observations.corrected.v1"}
	newerAnnouncements = []events.Kind{"access.paused.v1", "access.reminded.optional.v1", "access.granted.v2"}
)

// announced is like newer, of announcements of access.
func announced() []events.Event {
	s := &study{key: events.PartnerStudy(acme)}
	list := []events.Event{s.announce(events.AccessGranted, "S1")}
	for _, k := range newerAnnouncements {
		list = append(list, s.unknown(k, events.MediaJSON, []byte(`{"partner":"acme"}`)))
	}
	return append(list, s.announce(events.AccessRevoked, "S1"))
}

func TestKindsThatAreNotKnownAreHandedOver(t *testing.T) {
	d, want, announcements := newServer(t, "S1"), newer("S1", newerKinds...), announced()
	publish(t, d, append(want, announcements...)...)
	p, r := d.dial(t, subscriber.PartnerConfig{}), newMemoryFollower()
	var kinds []events.Kind
	r.refuse = func(d subscriber.Delivery) error {
		if !d.Kind.Known() {
			kinds = append(kinds, d.Kind)
		}
		return nil
	}
	if err := p.CatchUp(t.Context(), "S1", r); err != nil {
		t.Fatal(err)
	}
	r.check(t, "S1", want)
	if diff := cmp.Diff(append(append([]events.Kind{}, newerKinds...), newerKinds[0]), kinds); diff != "" {
		t.Errorf("kinds that are not known (-want +got):\n%s", diff)
	}

	access := newMemoryFollower()
	result := make(chan error, 1)
	go func() { result <- p.FollowAccess(t.Context(), access) }()
	access.wait(t, events.PartnerStudy(acme), len(announcements))
	access.check(t, events.PartnerStudy(acme), announcements)
	p.Close()
	if err := ended(t, result); !errors.Is(err, subscriber.ErrClosed) {
		t.Errorf("FollowAccess ended with %v", err)
	}
}

func TestNodeHandsOverKindsThatAreNotKnown(t *testing.T) {
	needNode(t)
	d, want, announcements := newServer(t, "S1"), newer("S1", newerKinds...), announced()
	publish(t, d, append(want, announcements...)...)
	for what, c := range map[string]struct {
		want    []events.Event
		options map[string]any
	}{
		"of a study": {want, nil}, "of the partner's access": {announcements, map[string]any{"study": nil}},
	} {
		t.Run(what, func(t *testing.T) {
			r := startNode(t, d, c.options)
			got := r.take(len(c.want))
			r.stop()
			for i, e := range c.want {
				if got[i].ID != e.ID {
					t.Errorf("event %d is %s, want %s", i+1, got[i].ID, e.ID)
				}
				var text string
				if err := json.Unmarshal(got[i].Data, &text); !e.Kind().Known() && e.DataContentType != "application/pdf" && (err != nil || text != string(e.Data)) {
					t.Errorf("the data of %s is %s; %v", e.Kind(), got[i].Data, err)
				}
			}
		})
	}
}
