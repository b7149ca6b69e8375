package access_test

import (
	"strings"
	"testing"

	"github.com/seed-e88a4ece/signoff/events/access"
)

func TestAPlaceIsWhatOneHolderCannotChoose(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1":                          "192.0.2.1",
		"192.0.2.1:4222":                     "192.0.2.1",
		"::ffff:192.0.2.1":                   "192.0.2.1",
		"[::ffff:192.0.2.1]:80":              "192.0.2.1",
		"2001:db8:1:2:3:4:5:6":               "2001:db8:1:2::/64",
		"[2001:db8:1:2:ffff::1]:80":          "2001:db8:1:2::/64",
		"fe80::1%eth0":                       "fe80::/64",
		"local":                              "local",
		"":                                   "",
		strings.Repeat("not an address", 10): strings.Repeat("not an address", 10)[:64],
	} {
		if got := access.Place(address); got != want {
			t.Errorf("place of %q is %q, want %q", address, got, want)
		}
	}
}
