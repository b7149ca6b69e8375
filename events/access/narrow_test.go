package access_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events/access"
)

func TestLaterEventsEndAccessAndBeginNone(t *testing.T) {
	soon, late := time.Unix(100, 0).UTC(), time.Unix(200, 0).UTC()
	until := func(at time.Time) *time.Time { return &at }
	signer, _ := newSigner(t)
	key := signer.Key(time.Unix(1, 0))
	ended := key
	ended.Until = soon

	d := access.Directory{}.WithKey(key).
		WithPartner(access.Partner{ID: "acme", Name: "Acme", Enabled: true, Studies: []string{"A", "B"},
			Secrets: []access.Secret{{SHA256: "kept"}, {SHA256: "gone"}, {SHA256: "sooner", Expires: until(late)}, {SHA256: "later", Expires: until(soon)}}}).
		WithPartner(access.Partner{ID: "removed", Enabled: true, Studies: []string{"A"}, Secrets: []access.Secret{{SHA256: "x"}}}).
		WithPartner(access.Partner{ID: "untouched", Enabled: true, Studies: []string{"A"}})
	stranger, _ := newSigner(t)
	other := stranger.Key(time.Unix(1, 0))
	later := access.Directory{}.WithKey(ended).WithKey(other).
		WithPartner(access.Partner{ID: "acme", Name: "Renamed", Enabled: true, Studies: []string{"B", "C"},
			Secrets: []access.Secret{{SHA256: "kept"}, {SHA256: "new"}, {SHA256: "sooner", Expires: until(soon)}, {SHA256: "later", Expires: until(late)}}}).
		WithPartner(access.Partner{ID: "removed"}).
		WithPartner(access.Partner{ID: "added", Enabled: true, Studies: []string{"A"}})

	got := d.Narrow(later)
	want := []access.Partner{
		{ID: "acme", Name: "Acme", Enabled: true, Studies: []string{"B"},
			Secrets: []access.Secret{{SHA256: "kept"}, {SHA256: "sooner", Expires: until(soon)}, {SHA256: "later", Expires: until(soon)}}},
		{ID: "removed", Studies: []string{}, Secrets: []access.Secret{}},
		{ID: "untouched", Enabled: true, Studies: []string{"A"}},
	}
	if diff := cmp.Diff(want, got.Partners()); diff != "" {
		t.Error(diff)
	}
	if k, _ := got.Key(key.ID()); !k.Until.Equal(soon) {
		t.Errorf("the key ends at %s", k.Until)
	}
	if _, ok := got.Key(other.ID()); ok {
		t.Error("a key that is not on the log is accepted")
	}
	if p, _ := d.Partner("acme"); len(p.Studies) != 2 {
		t.Error("the directory it was made from has changed")
	}
	if !d.Narrow(access.Directory{}).Same(d) {
		t.Error("without later events it is another directory")
	}
}
