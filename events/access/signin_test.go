package access_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/seed-e88a4ece/signoff/events/access"
)

var policies = map[string]access.SignInPolicy{
	"locking": access.LockingSignIns, "slowed": access.SlowedSignIns, "place": access.PlaceSignIns,
}

// A caller that makes each wrong attempt as soon as the policy allows it makes no more
// than the policy's numbers allow, and never has to wait longer than Longest.
func TestTheSignInPolicyBoundsWrongAttempts(t *testing.T) {
	names := []string{"locking", "slowed", "place"}
	rapid.Check(t, func(t *rapid.T) {
		p := policies[rapid.SampledFrom(names).Draw(t, "policy")]
		now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
		var w access.WrongAttempts
		var made []time.Time
		for range rapid.IntRange(1, 100).Draw(t, "attempts") {
			wait := p.Wait(w, now)
			if wait < 0 || wait > p.Longest {
				t.Fatalf("has to wait %s after %+v", wait, w)
			}
			if wait > 0 && (p.Wait(w, now.Add(wait-1)) == 0 || p.Wait(w, now.Add(wait)) != 0) {
				t.Fatalf("%s is not the time to wait after %+v", wait, w)
			}
			if w.Count < p.Free && wait != 0 {
				t.Fatalf("has to wait %s after %d of %d free attempts", wait, w.Count, p.Free)
			}
			now = now.Add(wait)
			before := w
			w = p.Add(w, now)
			if w.Count != 1 && w.Count != before.Count+1 || p.Wait(w, now) < p.Wait(before, before.Last) && w.Count > 1 {
				t.Fatalf("%+v becomes %+v", before, w)
			}
			made = append(made, now)
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(2*p.Forget)).Draw(t, "idle") * int64(rapid.IntRange(0, 1).Draw(t, "idles"))))
		}
		// Within Forget: the Free attempts, and those that the shortest wait allows.
		most := p.Free + int(p.Forget/p.First) + 1
		for i := range made {
			if j := i + most; j < len(made) && made[j].Sub(made[i]) < p.Forget {
				t.Fatalf("%d attempts within %s", most+1, p.Forget)
			}
		}
	})
}

func TestAClockThatIsSetBackLocksForNoLongerThanThePolicySays(t *testing.T) {
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for name, p := range policies {
		for _, ahead := range []time.Duration{time.Second, time.Minute, 24 * time.Hour, 10 * 365 * 24 * time.Hour} {
			w := access.WrongAttempts{Count: 100, Last: now.Add(ahead)}
			wait := p.Wait(w, now)
			if wait > p.Longest {
				t.Errorf("%s, set back by %s: %s", name, ahead, wait)
			}
			if again := p.Wait(w, now.Add(wait+5*time.Second)); again != 0 {
				t.Errorf("%s, set back by %s: after a wait of %s it has to wait %s more", name, ahead, wait, again)
			}
			// The next wrong attempt is by the clock that is right.
			if wait := p.Wait(p.Add(w, now), now); wait != p.Longest {
				t.Errorf("%s, set back by %s: %s after another wrong attempt", name, ahead, wait)
			}
		}
	}
}

func TestEachFurtherFailureSlowsForTwiceAsLong(t *testing.T) {
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	p := access.SlowedSignIns
	s := access.NewSignIns(p)
	a := access.Attempt{Client: "acme", Place: "192.0.2.1"}
	for i := range p.Free {
		if wait, slows := s.Fail(a, now); wait != 0 || slows != (i == p.Free-1) {
			t.Fatalf("failure %d: has to wait %s, slows %t", i+1, wait, slows)
		}
	}
	want := time.Second
	for i := range 9 {
		for range 3 { // what comes too early is not counted
			if wait, slows := s.Fail(a, now); wait != want || slows {
				t.Errorf("after failure %d it has to wait %s instead of %s", p.Free+i, wait, want)
			}
		}
		now = now.Add(want)
		want = min(2*want, p.Longest)
		if wait, slows := s.Fail(a, now); wait != 0 || slows {
			t.Errorf("after the time to wait it has to wait %s more", wait)
		}
	}
	for what, other := range map[string]access.Attempt{
		"another client":      {Client: "other", Place: "192.0.2.1"},
		"another place":       {Client: "acme", Place: "192.0.2.2"},
		"one that is nobody":  {Place: "192.0.2.1"},
		"a place without one": {Client: "acme"},
	} {
		if wait, _ := s.Fail(other, now); wait > 0 {
			t.Errorf("%s is slowed too", what)
		}
	}
}

func TestFailuresAreForgottenAfterAWhile(t *testing.T) {
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	p := access.SlowedSignIns
	s := access.NewSignIns(p)
	a := access.Attempt{Client: "acme", Place: "192.0.2.1"}
	for range p.Free - 1 {
		s.Fail(a, now)
	}
	if wait, slows := s.Fail(a, now.Add(p.Forget)); wait > 0 || slows {
		t.Error("a failure of long ago counts")
	}
}

func TestWhoFailedMoreThanOnceIsNotPushedOutByThoseWhoFailedOnce(t *testing.T) {
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	s := access.NewSignIns(access.SlowedSignIns)
	often, once := access.Attempt{Place: "192.0.2.1"}, access.Attempt{Place: "192.0.2.2"}
	for range 9 {
		s.Fail(often, now)
	}
	s.Fail(once, now)
	for i := range 50_000 {
		s.Fail(access.Attempt{Place: fmt.Sprint(i)}, now)
	}
	if wait, _ := s.Fail(often, now); wait == 0 {
		t.Error("the one that failed most is forgotten")
	}
	for range access.SlowedSignIns.Free - 1 {
		s.Fail(once, now)
	}
	if wait, _ := s.Fail(once, now); wait > 0 {
		t.Error("nobody is ever dropped")
	}
}

// However many fail at once, no more are counted than one after the other.
func TestManyWrongAttemptsAtOnceGetNoFurther(t *testing.T) {
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	s := access.NewSignIns(access.PlaceSignIns)
	var counted atomic.Int32
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			if wait, _ := s.Fail(access.Attempt{Place: "192.0.2.1"}, now); wait == 0 {
				counted.Add(1)
			}
		})
	}
	all.Wait()
	if n := int(counted.Load()); n != access.PlaceSignIns.Free {
		t.Errorf("%d are counted", n)
	}
}

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
