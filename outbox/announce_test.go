package outbox_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/outbox"
)

// told returns all events of access, as "study kind subject", and forgets them.
func (d *testOutbox) told() (out []string) {
	d.t.Helper()
	out = subjects(d.pending(1000))
	d.record(1000)
	return out
}

func TestPartnersAreToldOfTheirGrants(t *testing.T) {
	d := newOutbox(t)
	ctx := t.Context()
	wants := func(t *testing.T, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, d.told()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	t.Run("once for each study they start with, after their state", func(t *testing.T) {
		must(d.Accounts().AddPartner(ctx, operator, "acme", "", []string{"B", "A", "B"}))(t)
		wants(t, "_access partner Partner/acme", "_partner/acme granted ResearchStudy/A", "_partner/acme granted ResearchStudy/B")
	})
	t.Run("not at all where they start with none", func(t *testing.T) {
		must(d.Accounts().AddPartner(ctx, operator, "globex", "", nil))(t)
		wants(t, "_access partner Partner/globex")
	})
	t.Run("when a study is granted, and not when it is granted again", func(t *testing.T) {
		ok(t, d.Accounts().GrantPartner(ctx, operator, "acme", "München"))
		ok(t, d.Accounts().GrantPartner(ctx, operator, "acme", "München"))
		ok(t, d.Accounts().GrantPartner(ctx, operator, "globex", "A"))
		token := events.StudyKey("München")
		wants(t, "_access partner Partner/acme", "_partner/acme granted ResearchStudy/"+token,
			"_access partner Partner/globex", "_partner/globex granted ResearchStudy/A")
	})
	t.Run("when a study is revoked, and not when they do not have it", func(t *testing.T) {
		ok(t, d.Accounts().RevokePartner(ctx, operator, "acme", "A"))
		wantCode(t, d.Accounts().RevokePartner(ctx, operator, "acme", "A"), events.NotFound)
		wants(t, "_access partner Partner/acme", "_partner/acme revoked ResearchStudy/A")
	})
	t.Run("not of a new secret", func(t *testing.T) {
		must(d.Accounts().RotatePartner(ctx, operator, "acme", 0))(t)
		wants(t, "_access partner Partner/acme")
	})
	t.Run("of each study they lose when they are removed", func(t *testing.T) {
		ok(t, d.Accounts().RemovePartner(ctx, operator, "acme"))
		wants(t, "_access partner Partner/acme", "_partner/acme revoked ResearchStudy/B",
			"_partner/acme revoked ResearchStudy/"+events.StudyKey("München"))
	})
	t.Run("not of what was refused", func(t *testing.T) {
		_, err := d.Accounts().AddPartner(ctx, operator, "acme", "", []string{"C"})
		wantCode(t, err, events.Conflict)
		wantCode(t, d.Accounts().GrantPartner(ctx, operator, "acme", "C"), events.Conflict)
		wantCode(t, d.Accounts().GrantPartner(ctx, operator, "globex", "_partner/acme"), events.Invalid)
		wants(t)
	})
	recorded := must(d.Source().Recorded(ctx, 1, 1000))(t)
	chain := make([]events.Event, len(recorded))
	for i, r := range recorded {
		chain[i] = r.Event
	}
	follow(t, chain)
}

func TestAnAnnouncementAsThePartnerSeesIt(t *testing.T) {
	d := newOutbox(t)
	must(d.Accounts().AddPartner(t.Context(), operator, "acme", "", []string{"München 7"}))(t)
	e := d.pending(10)[1].Event
	token := events.StudyKey("München 7")
	want := events.Event{
		ID: e.ID, Time: e.Time, Hash: e.Hash,
		Source: "/signoff/Partner/acme", Type: "org.mskcc.crit.access.granted.v1", Subject: "ResearchStudy/" + token,
		DataContentType: "application/json", Study: "_partner/acme", Number: 1, PartitionKey: "_partner/acme", PreviousHash: events.NoHash,
		Data: []byte(`{"partner":"acme","study":"München 7","token":"` + token + `"}`),
	}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := e.NATSSubject(); got != "crit.partner.acme.access" {
		t.Error(got)
	}
	if g := must(e.Grant())(t); g.Study != "München 7" || g.StudyKey != token {
		t.Errorf("%+v", g)
	}
}

func TestAGrantAndItsAnnouncementAreOne(t *testing.T) {
	d := newOutbox(t)
	_, err := raw(t, d.path).Writer.Exec(`
		create trigger refuse before insert on events
			when new.kind = 'access.granted.v1'
		begin
			select raise(abort, 'disk full');
		end`)
	ok(t, err)
	if _, err := d.Accounts().AddPartner(t.Context(), operator, "acme", "", []string{"A"}); err == nil {
		t.Error("the partner was added")
	}
	if p := must(d.Accounts().Partners(t.Context()))(t); len(p) != 0 {
		t.Errorf("%+v", p)
	}
	if e := d.pending(10); len(e) != 0 {
		t.Errorf("%d events", len(e))
	}
}

// An outbox of a version that told partners nothing has partners with grants
// and no chain of theirs.
func TestPartnersOfAnOlderOutboxAreToldOnce(t *testing.T) {
	d := newOutbox(t)
	must(raw(t, d.path).Writer.Exec(`drop trigger partners_line_added`))(t)
	for _, p := range []access.Partner{
		{ID: "acme", Studies: []string{"A", "B"}, Secrets: []access.Secret{}, Enabled: true},
		{ID: "gone", Studies: []string{}, Secrets: []access.Secret{}},
	} {
		state := must(json.Marshal(p))(t)
		_, err := raw(t, d.path).Writer.Exec(`insert into partners (id, state) values (?, ?)`, p.ID, string(state))
		ok(t, err)
	}
	for range 2 {
		open(t, d.path, outbox.Config{})
		want := []string{"_partner/acme granted ResearchStudy/A", "_partner/acme granted ResearchStudy/B"}
		if diff := cmp.Diff(want, subjects(d.pending(10))); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestInternalStudiesInStatus(t *testing.T) {
	d := newOutbox(t)
	d.signedIn("A", "1")
	must(d.Accounts().AddPartner(t.Context(), operator, "acme", "", []string{"A"}))(t)
	got := make(map[string]bool)
	for _, s := range must(d.Status(t.Context()))(t).Studies {
		got[s.Study] = s.Internal
	}
	want := map[string]bool{"A": false, "_access": true, "_partner/acme": true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAnInternalStudyParksLikeAnother(t *testing.T) {
	d := newOutbox(t)
	must(d.Accounts().AddPartner(t.Context(), operator, "acme", "", []string{"A"}))(t)
	study := events.PartnerStudy("acme")
	ok(t, d.Source().Park(t.Context(), study, "refused"))
	if diff := cmp.Diff([]string{"_access partner Partner/acme"}, subjects(d.pending(10))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	d.record(1)
	ok(t, d.RequestRelease(t.Context(), operator, study))
	if n := must(d.Source().Release(t.Context()))(t); n != 1 || len(d.pending(10)) != 1 {
		t.Errorf("released %d", n)
	}
	ok(t, d.Audit(t.Context(), outbox.AuditFilter{Study: study}, func(e outbox.AuditEntry) error {
		if e.Subject != study {
			t.Errorf("%s of %s", e.Action, e.Subject)
		}
		return nil
	}))
}

func TestSecretsInForceAreFew(t *testing.T) {
	d := newOutbox(t)
	ctx := t.Context()
	must(d.Accounts().AddPartner(ctx, operator, "acme", "", nil))(t)
	for range 7 {
		must(d.Accounts().RotatePartner(ctx, operator, "acme", time.Hour))(t)
	}
	_, err := d.Accounts().RotatePartner(ctx, operator, "acme", time.Hour)
	wantCode(t, err, events.Conflict, "rotate without grace")
	secret := must(d.Accounts().RotatePartner(ctx, operator, "acme", 0))(t)
	p := must(d.Accounts().AuthenticateClient(ctx, "acme", secret, "local"))(t)
	if len(p.Secrets) != 1 {
		t.Errorf("%d secrets", len(p.Secrets))
	}
}
