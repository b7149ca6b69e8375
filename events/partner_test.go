package events_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
)

func TestGrants(t *testing.T) {
	const study = "M\u00fcnchen 7"
	want := events.Grant{Partner: "acme", Study: study, StudyKey: events.StudyKey(study)}
	announcement := func(k events.Kind, g events.Grant) events.Event {
		data, err := json.Marshal(g)
		if err != nil {
			t.Fatal(err)
		}
		e := sampleEvent(events.DefaultNamespace, k, events.PartnerStudy("acme"), events.ChainHead{}, string(data))
		e.Subject = want.EventSubject()
		return e
	}
	for _, k := range []events.Kind{events.AccessGranted, events.AccessRevoked} {
		got, err := announcement(k, want).Grant()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-sent +read):\n%s", k, diff)
		}
	}
	other, elsewhere, renamed := want, want, want
	other.Partner, elsewhere.Study, renamed.StudyKey = "globex", "B", "B"
	list := announcement(events.AccessGranted, want)
	list.Data = []byte("[]")
	for name, e := range map[string]events.Event{
		"another partner's":        announcement(events.AccessGranted, other),
		"of another study":         announcement(events.AccessGranted, elsewhere),
		"with another key":         announcement(events.AccessRevoked, renamed),
		"that is a list":           list,
		"of another kind of event": announcement(events.AccessPartner, want),
	} {
		if g, err := e.Grant(); events.CodeOf(err) != events.Invalid || g != (events.Grant{}) {
			t.Errorf("a grant %s returns %v, %v", name, g, err)
		}
	}
}
