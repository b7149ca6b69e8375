package operator_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

func contains(text, part []byte) bool { return bytes.Contains(text, bytes.TrimSpace(part)) }

func TestTheServicesAccountExportsByWildcards(t *testing.T) {
	k, dir := newKeys(t), t.TempDir()
	roles, err := k.RoleKeys()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Preload(roles, dir, time.Now()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, k.App+".jwt"))
	if err != nil {
		t.Fatal(err)
	}
	claims, err := jwt.DecodeAccountClaims(string(text))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range claims.Exports {
		got = append(got, string(e.Subject))
	}
	slices.Sort(got)
	want := []string{
		"$JS.ACK.*.*.SIGNOFF.*.*.*.*.*.>", "$JS.ACK.SIGNOFF.*.*.*.*.*.*",
		"$JS.API.CONSUMER.INFO.SIGNOFF.*", "$JS.API.CONSUMER.LIST.SIGNOFF", "$JS.API.CONSUMER.MSG.NEXT.SIGNOFF.*", "$JS.API.CONSUMER.NAMES.SIGNOFF",
		"$JS.API.DIRECT.GET.SIGNOFF", "$JS.API.DIRECT.GET.SIGNOFF.>", "$JS.API.INFO", "$JS.API.STREAM.INFO.SIGNOFF", "$JS.API.STREAM.LIST",
		"$JS.API.STREAM.MSG.GET.SIGNOFF", "$JS.API.STREAM.NAMES",
		"crit.internal.access", "crit.partner.*.access", "crit.v1.*.>",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("exports:\n%s", diff)
	}
	if len(text) > 8<<10 {
		t.Errorf("it has %d bytes", len(text))
	}
}

func TestAnAccountThatIsNoPartnersIsRefused(t *testing.T) {
	t.Parallel()
	in := newInstallation(t, 1, false)
	a := in.accounts()
	for _, name := range []string{"", "APP", "READ", "SYS", "AUTH", "acme", "partner-", "partner-a.b", "partner-.APP", "partner-a b"} {
		err := a.SetAccount(t.Context(), tenancy.Account{Name: name, Limits: limits})
		if !errors.Is(err, events.Invalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.SetAccount(ended, accountOf("acme", "A")); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
}

// What servers take for the later of two accounts is what was issued later.
func TestEachChangeIsIssuedLaterWhateverTheClockShows(t *testing.T) {
	t.Parallel()
	in := newInstallation(t, 1, false)
	n := in.nodes[0]
	now := time.Unix(1_700_000_000, 0)
	in.clock = func() time.Time { return now }
	issued := func() int64 {
		t.Helper()
		claims, err := jwt.DecodeAccountClaims(in.stored(n, "acme"))
		if err != nil {
			t.Fatal(err)
		}
		return claims.IssuedAt
	}
	last, ids := int64(0), make(map[string]bool)
	a := in.accounts()
	for i, step := range []struct {
		what string
		do   func()
	}{
		{"the first", func() {}},
		{"the clock stands", func() {}},
		{"the clock goes back", func() { now = now.Add(-time.Hour) }},
		{"a new process", func() { a = in.accounts() }},
		{"the clock goes on", func() { now = now.Add(2 * time.Hour) }},
	} {
		step.do()
		studies := []string{"A", "B"}[:1+i%2]
		if err := a.SetAccount(t.Context(), accountOf("acme", studies...)); err != nil {
			t.Fatal(err)
		}
		in.wantImports("acme", studies...)
		got := issued()
		if got <= last || got < now.Unix() {
			t.Errorf("%s: issued at %d, before at %d, now it is %d", step.what, got, last, now.Unix())
		}
		last = got
		claims, err := jwt.DecodeGeneric(in.stored(n, "acme"))
		if err != nil || ids[claims.ID] {
			t.Errorf("%s: the identity %s was there before, %v", step.what, claims.ID, err)
		}
		ids[claims.ID] = true
	}
	before := in.stored(n, "acme")
	now = now.Add(time.Hour)
	for _, same := range []func() error{
		func() error { return a.SetAccount(t.Context(), accountOf("acme", "A")) },
		func() error { return in.accounts().SetAccount(t.Context(), accountOf("acme", "A")) },
		func() error {
			return in.accounts().Compare(t.Context(), slices.Values([]tenancy.Account{accountOf("acme", "A")}))
		},
	} {
		if err := same(); err != nil {
			t.Fatal(err)
		}
		if in.stored(n, "acme") != before {
			t.Error("what does not differ was pushed")
		}
	}
}

func TestARemovedPartnersAccountIsClosedAndOpenedAgain(t *testing.T) {
	t.Parallel()
	eachSize(t, func(t *testing.T, in *installation) {
		in.answerLogins()
		a := in.accounts()
		set := func(account tenancy.Account) {
			t.Helper()
			if err := a.SetAccount(t.Context(), account); err != nil {
				t.Fatal(err)
			}
		}
		set(accountOf("acme", "A"))
		nc := in.mustLogin(in.nodes[0], "acme")
		closed := nc.ConnectedUrl
		set(tenancy.ClosedAccount("acme"))
		in.until("its connection is closed", func() error {
			if nc.IsClosed() {
				return nil
			}
			return errors.New(closed())
		})
		for _, n := range in.nodes {
			claims, err := jwt.DecodeAccountClaims(in.stored(n, "acme"))
			if err != nil {
				t.Fatal(err)
			}
			if len(claims.Imports)+len(claims.SigningKeys)+len(claims.Mappings) > 0 || claims.Limits.Conn != 0 {
				t.Errorf("server %s stores %s", n.name, claims)
			}
			if _, err := in.login(n, "acme"); err == nil {
				t.Errorf("a removed partner got in at %s", n.name)
			}
		}
		set(accountOf("acme", "B"))
		in.wantImports("acme", "B")
		in.mustLogin(in.nodes[len(in.nodes)-1], "acme")
	})
}
