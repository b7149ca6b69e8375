package doors

import (
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
)

// spends counts messages of a partner, as a server does, and charges them.
type spends struct {
	*allowance
	sent map[string]uint64
}

func newSpends(limit, burst int) spends {
	s := spends{newAllowance(limit, burst), make(map[string]uint64)}
	s.charge([]events.Traffic{{Server: "one", Accounts: map[string]events.Messages{}}}, time.Time{})
	return s
}

func (s spends) send(partner string, n uint64, now time.Time) {
	s.sent[partner] += n
	accounts := make(map[string]events.Messages)
	for id, n := range s.sent {
		accounts[events.PartnerAccountPrefix+id] = events.Messages{Received: n}
	}
	s.charge([]events.Traffic{{Server: "one", Accounts: accounts}}, now)
}

func TestAllThatAPartnerSendsIsMadeGood(t *testing.T) {
	for name, looks := range map[string][]uint64{
		"counted at one look":        {5000},
		"some of it while it is out": {1001, 3999},
		"more at each look":          {500, 600, 3900},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			s := newSpends(1000, 1000)
			s.enter("other", start)
			for _, n := range looks {
				s.send("acme", n, start)
			}
			if s.out("other", start) {
				t.Error("another partner is out")
			}
			for after, want := range map[time.Duration]bool{0: true, 3900 * time.Millisecond: true, 4100 * time.Millisecond: false} { // 4,000 too many
				if got := s.out("acme", start.Add(after)); got != want {
					t.Errorf("out after %s: %v", after, got)
				}
			}
			if got := s.spent()["acme"]; got != 5000 {
				t.Errorf("%d were charged", got)
			}
		})
	}
}

func TestWhoIsPutOutAgainIsOutForLonger(t *testing.T) {
	now := time.Now()
	s := newSpends(1000, 1000)
	for _, want := range []int{1, 2, 4, 8, 15, 15} {
		s.send("acme", 2000, now)
		now = now.Add(time.Duration(want)*time.Second - time.Millisecond)
		if !s.out("acme", now) {
			t.Errorf("not out for %d seconds", want)
		}
		now = now.Add(2 * time.Millisecond)
		if s.out("acme", now) {
			t.Errorf("out for more than %d seconds", want)
		}
	}
	now = now.Add(forgiveAfter)
	s.send("acme", 2000, now)
	if s.out("acme", now.Add(shortestPause+time.Millisecond)) {
		t.Error("out for longer than the first time, though it kept to what it may for long")
	}
}
