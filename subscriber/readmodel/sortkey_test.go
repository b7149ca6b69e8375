package readmodel_test

import (
	"cmp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

func TestKeysSortAsIDs(t *testing.T) {
	id := rapid.OneOf(
		rapid.SampledFrom(someIDs), rapid.StringMatching(`[0-9]{1,64}`), rapid.StringMatching(`0{0,3}[0-9]{1,3}`),
		rapid.StringMatching(`[A-Za-z0-9.-]{1,64}`))
	rapid.Check(t, func(t *rapid.T) {
		a, b := id.Draw(t, "a"), id.Draw(t, "b")
		if got, want := strings.Compare(readmodel.IDKey(a), readmodel.IDKey(b)), compareIDs(a, b); cmp.Compare(got, 0) != cmp.Compare(want, 0) {
			t.Fatalf("%q and %q compare as %d, their keys %q and %q as %d", a, b, want, readmodel.IDKey(a), readmodel.IDKey(b), got)
		}
	})
}
