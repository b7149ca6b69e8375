package server

import (
	"strings"
	"testing"
)

func TestFileDescriptorsAreReservedBeforeConnectionsGetThem(t *testing.T) {
	for _, c := range []struct {
		name          string
		limit, wanted int
		outside       bool
		api, nats     int
		err           string
	}{
		{"few", 300, 0, false, 86, 86, ""},
		{"few, and NATS outside", 300, 0, true, 172, 0, ""},
		{"many", 1 << 20, 0, false, 8192, 65536, ""},
		{"more for NATS", 1024, 100, false, 100, 796, ""},
		{"too many wanted", 300, 141, false, 0, 0, "at most 140"},
		{"the least", 192, 0, false, 32, 32, ""},
		{"too few", 191, 0, false, 0, 0, "at least 192"},
		{"the least, and NATS outside", 160, 0, true, 32, 0, ""},
		{"negative", 300, -1, false, 0, 0, "--max-connections"},
	} {
		t.Run(c.name, func(t *testing.T) {
			api, nats, err := divideDescriptors(c.limit, c.wanted, c.outside)
			if api != c.api || nats != c.nats || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("got %d and %d, %v", api, nats, err)
			}
		})
	}
}

func TestTheDeskHasMoreConnectionsWhereThereAreMany(t *testing.T) {
	for limit, want := range map[int]int{192: 32, 1024: 32, 1040: 34, 1 << 20: 256} {
		if got := deskConnections(limit); got != want {
			t.Errorf("%d of %d, want %d", got, limit, want)
		}
		api, nats, err := divideDescriptors(limit, 0, false)
		if err != nil || api+nats+want-minDeskConnections+reservedDescriptors > limit {
			t.Errorf("of %d: %d, %d and %d, %v", limit, api, nats, want, err)
		}
	}
}
