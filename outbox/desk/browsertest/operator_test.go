package browsertest

import (
	"net/http"
	"testing"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/desk/desktest"
)

// The operator's page follows the program, and passes the checks of TestEachStateOfEachPage.
func TestTheOperatorsPage(t *testing.T) {
	t.Parallel()
	look := func(b *tab, name string) {
		t.Helper()
		if status := b.visit("/"); status != http.StatusOK {
			t.Fatalf("%s: status %d", name, status)
		}
		b.check(name)
	}
	look(newTab(t, startProgram(t).ops), "ops-nothing-signed")

	in := startProgram(t, func(o *outbox.Outbox) {
		addPI(t, o.Accounts())
		register(t, o, desktest.Agreeing(desktest.Study, 4, "10081007")...)
		_, err := o.SignOff(t.Context(), outbox.SignOff{User: desktest.User, Meaning: desktest.Meaning, IDs: []string{"400", "401"}})
		desktest.OK(t, err)
		desktest.OK(t, o.Source().Park(t.Context(), events.StudyKey(desktest.Study), "the stream has another event with this number"))
	})
	b := newTab(t, in.ops)
	look(b, "ops-parked")
	desktest.OK(t, in.server.Outbox.RequestRelease(t.Context(), "ops", events.StudyKey(desktest.Study)))
	b.eventually(false, "the study is released", `!document.getElementById("pk")`)
	in.follow()
	b.eventually(false, "the partner has all events", contains("#partners", "✓ none"))
	look(b, "ops-released")
}
