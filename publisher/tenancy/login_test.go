package tenancy_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

func TestConnectionNamesAreReadAsTheyWereWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.StringMatching(`[A-Za-z0-9_-]{1,64}`)
		want := tenancy.ConnectionName{
			Partner: id.Draw(t, "partner"), Secret: rapid.StringMatching(`[0-9a-f]{16}`).Draw(t, "secret"),
			Grants: tenancy.GrantsID(rapid.SliceOf(id).Draw(t, "keys"), rapid.SliceOf(id).Draw(t, "revoked")),
		}
		if got, ok := tenancy.ParseConnectionName(want.String()); !ok || got != want {
			t.Fatalf("%q is read as %+v, %t", want, got, ok)
		}
	})
	for _, other := range []string{"", "acme", "acme.x", "acme.x.y.z", "..."} {
		if n, ok := tenancy.ParseConnectionName(other); ok {
			t.Errorf("%q is taken for %+v", other, n)
		}
	}
	if tenancy.GrantsID([]string{"A", "B"}, nil) == tenancy.GrantsID([]string{"AB"}, nil) || tenancy.GrantsID([]string{"A"}, []string{"B"}) == tenancy.GrantsID([]string{"A", "B"}, nil) || tenancy.GrantsID(nil, nil) == tenancy.GrantsID([]string{""}, nil) && tenancy.GrantsID(nil, nil) == tenancy.GrantsID([]string{"A"}, nil) {
		t.Error("different studies have one name")
	}
}
