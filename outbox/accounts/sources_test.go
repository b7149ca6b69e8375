package accounts_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/accounts"
)

func TestSources(t *testing.T) {
	d := newOutbox(t)
	ctx, acc := t.Context(), d.Accounts()
	secret := must(acc.AddSource(ctx, operator, "edc", []string{"B", "A", "B"}))(t)
	login := func(secret string) (accounts.Source, error) {
		return acc.AuthenticateSource(ctx, "edc", secret, "192.0.2.1")
	}
	want := func(studies ...string) {
		t.Helper()
		got := must(login(secret))(t)
		if diff := cmp.Diff(accounts.Source{ID: "edc", Studies: studies}, got); diff != "" {
			t.Error(diff)
		}
	}
	want("A", "B")
	ok(t, acc.GrantSource(ctx, operator, "edc", "C"))
	ok(t, acc.GrantSource(ctx, operator, "edc", "C"))
	ok(t, acc.RevokeSource(ctx, operator, "edc", "A"))
	want("B", "C")
	ok(t, acc.GrantSource(ctx, operator, "edc", "A"))
	ok(t, acc.RevokeSource(ctx, operator, "edc", "B"))
	want("A", "C")
	wantCode(t, acc.RevokeSource(ctx, operator, "edc", "B"), events.NotFound)
	wantCode(t, acc.GrantSource(ctx, operator, "edc", "_internal"), events.Invalid)
	wantCode(t, acc.GrantSource(ctx, operator, "nobody", "A"), events.NotFound)

	former := secret
	secret = must(acc.RotateSource(ctx, operator, "edc"))(t)
	for range 7 { // wrong ones are slowed, and lock nobody out who has the right one
		_, err := login(former)
		if code := events.CodeOf(err); code != events.Unauthenticated && code != events.Throttled {
			t.Errorf("%v", err)
		}
	}
	want("A", "C")
	_, err := acc.AuthenticateSource(ctx, "x", secret, "192.0.2.1")
	wantCode(t, err, events.Unauthenticated)
	_, err = acc.AuthenticateSource(ctx, "e d c", secret, "192.0.2.1")
	wantCode(t, err, events.Unauthenticated)

	ok(t, acc.RemoveSource(ctx, operator, "edc"))
	_, err = login(secret)
	wantCode(t, err, events.Throttled)
	wantCode(t, acc.RemoveSource(ctx, operator, "edc"), events.Conflict)
	_, err = acc.AddSource(ctx, operator, "edc", nil)
	wantCode(t, err, events.Conflict)
	if diff := cmp.Diff([]accounts.Source{{ID: "edc", Studies: []string{"A", "C"}, Removed: true}}, must(acc.Sources(ctx))(t)); diff != "" {
		t.Error(diff)
	}
	var actions []string
	ok(t, d.Audit(ctx, outbox.AuditFilter{Action: "source"}, func(e outbox.AuditEntry) error {
		actions = append(actions, e.Action+" "+e.Subject+" "+e.Study)
		return nil
	}))
	if diff := cmp.Diff([]string{
		"source.added edc ", "source.granted edc C", "source.revoked edc A", "source.granted edc A", "source.revoked edc B", "source.rotated edc ", "source.removed edc ",
	}, actions); diff != "" {
		t.Error(diff)
	}
	var ofStudy []string
	ok(t, d.Audit(ctx, outbox.AuditFilter{Study: "C", People: true}, func(e outbox.AuditEntry) error {
		ofStudy = append(ofStudy, e.Action)
		return nil
	}))
	if diff := cmp.Diff([]string{"source.added", "source.granted", "source.rotated", "sign-in.failed", "source.removed"}, ofStudy); diff != "" {
		t.Error(diff)
	}
}

func TestStateOfSourcesNamesItsLine(t *testing.T) {
	d := newOutbox(t)
	must(d.Accounts().AddSource(t.Context(), operator, "edc", []string{"A"}))(t)
	for _, statement := range []string{
		`insert into source_grants (source, study, line) values ('edc', 'B', (select max(row) from audit))`,
		`update source_grants set study = 'B'`,
		`update source_grants set revoked = 'now'`,
		`delete from source_grants`,
		`insert or replace into source_grants select * from source_grants`,
	} {
		if _, err := d.DB().Writer.Exec(statement); err == nil {
			t.Errorf("%s was accepted", statement)
		}
	}
}
