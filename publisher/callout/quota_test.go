package callout

import (
	"fmt"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// measured counts messages of partners, as a server does, and charges them.
type measured struct {
	*quotas
	sent map[string]uint64
}

func newMeasured(limit, burst int) measured {
	s := measured{newQuotas(limit, burst), make(map[string]uint64)}
	s.chargeTraffic([]tenancy.Traffic{{Server: "one", Accounts: map[string]tenancy.Messages{}}}, time.Time{})
	return s
}

func (s measured) send(partner string, n uint64, now time.Time) {
	s.sent[partner] += n
	accounts := make(map[string]tenancy.Messages)
	for id, n := range s.sent {
		accounts[tenancy.AccountPrefix+id] = tenancy.Messages{Received: n}
	}
	s.chargeTraffic([]tenancy.Traffic{{Server: "one", Accounts: accounts}}, now)
}

func TestAPartnerIsSuspendedUntilItsQuotaHasRecovered(t *testing.T) {
	for name, measurements := range map[string][]uint64{
		"counted at once":                  {5000},
		"some of it while it is suspended": {1001, 3999},
		"more at each measurement":         {500, 600, 3900},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			s := newMeasured(1000, 1000)
			s.chargeLogin("other", start)
			for _, n := range measurements {
				s.send("acme", n, start)
			}
			if s.suspended("other", start) {
				t.Error("another partner is suspended")
			}
			for after, want := range map[time.Duration]bool{0: true, 3900 * time.Millisecond: true, 4100 * time.Millisecond: false} { // 4,000 too many
				if got := s.suspended("acme", start.Add(after)); got != want {
					t.Errorf("suspended after %s: %v", after, got)
				}
			}
			if got := s.usage()["acme"]; got != 5000 {
				t.Errorf("%d were charged", got)
			}
		})
	}
}

func TestAPartnerThatIsSuspendedAgainIsSuspendedForLonger(t *testing.T) {
	now := time.Now()
	s := newMeasured(1000, 1000)
	for _, want := range []int{1, 2, 4, 8, 15, 15} {
		s.send("acme", 2000, now)
		now = now.Add(time.Duration(want)*time.Second - time.Millisecond)
		if !s.suspended("acme", now) {
			t.Errorf("not suspended for %d seconds", want)
		}
		now = now.Add(2 * time.Millisecond)
		if s.suspended("acme", now) {
			t.Errorf("suspended for more than %d seconds", want)
		}
	}
	now = now.Add(forgiveAfter)
	s.send("acme", 2000, now)
	if s.suspended("acme", now.Add(shortestSuspension+time.Millisecond)) {
		t.Error("suspended for longer than the first time, though it kept to its quota for long")
	}
}

// A server has another id after each start.
func TestServersThatAreGoneAreForgotten(t *testing.T) {
	now := time.Now()
	q := newQuotas(1000, 1000)
	for i := range 100 {
		now = now.Add(time.Minute)
		q.chargeTraffic([]tenancy.Traffic{{Server: fmt.Sprint("start ", i)}}, now)
	}
	if n := len(q.measured); n > 12 {
		t.Errorf("%d measurements are kept", n)
	}
	received := func(n uint64) []tenancy.Traffic {
		return []tenancy.Traffic{{Server: "silent", Accounts: map[string]tenancy.Messages{tenancy.AccountPrefix + "acme": {Received: n}}}}
	}
	q.chargeTraffic(received(10), now)
	now = now.Add(forgetServerAfter)
	q.chargeTraffic(nil, now)
	q.chargeTraffic(received(2000), now)
	if got := q.usage()["acme"]; got != 1990 {
		t.Errorf("%d messages were charged of what was sent while the server did not answer", got)
	}
}
