package access_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
)

func TestALimitedDirectoryAllowsWhatBothAllow(t *testing.T) {
	soon, late := time.Unix(100, 0).UTC(), time.Unix(200, 0).UTC()
	until := func(at time.Time) *time.Time { return &at }
	signer, _ := newSigner(t)
	key := signer.Key(time.Unix(1, 0))
	ended := key
	ended.Until = soon
	onlyOnLog, _ := newSigner(t)
	onlyInOther, _ := newSigner(t)
	unchanged := access.Partner{ID: "unchanged", Enabled: true, Studies: []string{"A"}, Secrets: []access.Secret{{SHA256: "kept", Expires: until(soon)}}}

	d := access.Directory{}.WithKey(key).WithKey(onlyOnLog.Key(time.Unix(1, 0))).
		WithPartner(access.Partner{ID: "acme", Name: "Acme", Enabled: true, Studies: []string{"A", "B"},
			Secrets: []access.Secret{{SHA256: "kept"}, {SHA256: "gone"}, {SHA256: "sooner", Expires: until(late)}, {SHA256: "later", Expires: until(soon)}}}).
		WithPartner(access.Partner{ID: "removed", Enabled: true, Studies: []string{"A"}, Secrets: []access.Secret{{SHA256: "x"}}}).
		WithPartner(access.Partner{ID: "only-on-log", Enabled: true, Studies: []string{"A"}, Secrets: []access.Secret{{SHA256: "x"}}}).
		WithPartner(unchanged)
	other := access.Directory{}.WithKey(ended).WithKey(onlyInOther.Key(time.Unix(1, 0))).
		WithPartner(access.Partner{ID: "acme", Name: "Renamed", Enabled: true, Studies: []string{"B", "C"},
			Secrets: []access.Secret{{SHA256: "kept"}, {SHA256: "new"}, {SHA256: "sooner", Expires: until(soon)}, {SHA256: "later", Expires: until(late)}}}).
		WithPartner(access.Partner{ID: "removed"}).
		WithPartner(access.Partner{ID: "added", Enabled: true, Studies: []string{"A"}}).
		WithPartner(unchanged)

	got := d.Limit(other)
	want := []access.Partner{
		{ID: "acme", Name: "Acme", Enabled: true, Studies: []string{"B"},
			Secrets: []access.Secret{{SHA256: "kept"}, {SHA256: "sooner", Expires: until(soon)}, {SHA256: "later", Expires: until(soon)}}},
		{ID: "removed", Studies: []string{}, Secrets: []access.Secret{}},
		unchanged,
	}
	if diff := cmp.Diff(want, got.Partners()); diff != "" {
		t.Error(diff)
	}
	if keys := got.Keys(); len(keys) != 1 || keys[0].ID() != key.ID() || !keys[0].Until.Equal(soon) {
		t.Errorf("the keys are %v", keys)
	}
	if p, _ := d.Partner("acme"); len(p.Studies) != 2 {
		t.Error("the directory it was made from has changed")
	}
	if n := len(d.Limit(access.Directory{}).Partners()) + len(d.Limit(access.Directory{}).Keys()); n != 0 {
		t.Errorf("limited by an empty directory it has %d partners and keys", n)
	}
}

func TestAKeyThatOneDirectoryRevokesIsRevoked(t *testing.T) {
	signer, _ := newSigner(t)
	key := signer.Key(now)
	revoked, retired := key, key
	revoked.Until, retired.Until = key.From, now.Add(-time.Hour) // retired by a clock that was behind
	for _, c := range []struct{ a, b access.Key }{{key, revoked}, {revoked, key}, {retired, revoked}, {revoked, retired}} {
		got, _ := access.Directory{}.WithKey(c.a).Limit(access.Directory{}.WithKey(c.b)).Key(key.ID())
		if !got.Revoked() {
			t.Errorf("%v limited by %v is %v", c.a.Until, c.b.Until, got.Until)
		}
	}
}

func TestLimitedDirectoriesAreTheSameOnlyWithTheSameLimit(t *testing.T) {
	list := grants(t, 2)
	d, one, two := fold(t, list), fold(t, list[:1]), fold(t, list)
	if d.Limit(one).Same(d.Limit(two)) || d.Limit(two).Same(d) || !d.Limit(one).Same(d.Limit(one)) {
		t.Error("Same does not distinguish the limits")
	}
	if got := d.Limit(one).LimitedBy(); got != list[0].ChainHead() || d.LimitedBy() != (events.ChainHead{}) {
		t.Errorf("it is limited by %v", got)
	}
}
