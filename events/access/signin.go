package access

import (
	"net/netip"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// SignInPolicy determines how long wrong attempts to sign in delay further ones. All parts
// of the program use it, with different numbers. It stores nothing: its caller stores
// WrongAttempts, in memory or in a table, for each user or client at each Place.
type SignInPolicy struct {
	Free    int           // after so many wrong attempts in a row, the next one has to wait
	First   time.Duration // the wait after Free attempts; each further wrong one doubles it
	Longest time.Duration // bounds the wait
	Forget  time.Duration // after so long without a wrong attempt, a new row begins
}

// The policies of the program.
var (
	// Sign-ins of one user at one place. A password may be guessed, so an attempt that has
	// to wait is refused without comparing its password. The same numbers slow wrong
	// secrets of one client at one place at the token endpoint.
	LockingSignIns = SignInPolicy{Free: 5, First: 15 * time.Minute, Longest: 15 * time.Minute, Forget: 15 * time.Minute}
	// Logins of one client to NATS at one place. NATS clients try again by themselves.
	SlowedSignIns = SignInPolicy{Free: 5, First: time.Second, Longest: time.Minute, Forget: 15 * time.Minute}
	// Sign-ins at the token endpoint at one place, of all clients together. A partner
	// that makes a mistake never comes near this; one that guesses ids and secrets does.
	PlaceSignIns = SignInPolicy{Free: 20, First: 15 * time.Second, Longest: 15 * time.Second, Forget: 5 * time.Minute}
)

// WrongAttempts are wrong attempts in a row. The zero value is none.
type WrongAttempts struct {
	Count int
	Last  time.Time // of the last one
}

// maxDrift is how far a clock is corrected while it runs without being wrong.
const maxDrift = 5 * time.Second

// Wait returns how long the next attempt has to wait at the time now; 0 if it may
// be made. It never returns more than Longest. If the last attempt is in the future, it was
// made by a clock that was ahead and has been set back since: the wait would last until the
// clock shows that time again, so there is none. The next wrong attempt begins another one.
func (p SignInPolicy) Wait(w WrongAttempts, now time.Time) time.Duration {
	if w.Count < p.Free || w.Last.Sub(now) > maxDrift {
		return 0
	}
	wait := p.First
	for doublings := w.Count - p.Free; doublings > 0 && wait < p.Longest; doublings-- {
		wait *= 2
	}
	wait = min(wait, p.Longest)
	return max(0, min(w.Last.Add(wait).Sub(now), wait))
}

// Add returns w with one more wrong attempt at the time now. After Forget, that is the
// first of a new row.
func (p SignInPolicy) Add(w WrongAttempts, now time.Time) WrongAttempts {
	if now.Sub(w.Last) >= p.Forget {
		w.Count = 0
	}
	return WrongAttempts{Count: w.Count + 1, Last: now}
}

// Slows reports whether the last attempt of w is the first in its row after which
// the next one has to wait.
func (p SignInPolicy) Slows(w WrongAttempts) bool { return w.Count == p.Free }

// maxSignIns is the largest number of WrongAttempts in memory. When one is dropped, Free
// attempts are allowed again. To have one dropped on purpose takes wrong attempts at about
// as many places. That gains little, because each place has Free attempts anyway. See also
// SignIns.
const maxSignIns = 10_000

// SignIns counts wrong client secrets in memory. Its caller compares the secret
// first, and calls Fail for wrong ones only. So a client with the right secret never has
// to wait, whatever others at the same place do.
//
// The counts are in a 2Q cache, which keeps those that were used once apart from those
// that were used again. So the count of a place that fails often is not dropped because
// many places fail once each. The methods may be called concurrently.
type SignIns struct {
	policy SignInPolicy
	mu     sync.Mutex // a count is read and written in one step
	wrong  *lru.TwoQueueCache[Attempt, WrongAttempts]
}

// Attempt identifies for which client, at which place, wrong attempts are counted.
type Attempt struct {
	Client string // empty for all clients that do not exist, or for all clients of the place
	Place  string // as Place returns it
}

// NewSignIns returns SignIns that count nothing yet.
func NewSignIns(policy SignInPolicy) *SignIns {
	wrong, err := lru.New2Q[Attempt, WrongAttempts](maxSignIns)
	if err != nil {
		panic(err) // only for a size below 1
	}
	return &SignIns{policy: policy, wrong: wrong}
}

// Fail is called for a wrong attempt at the time now. If the attempt had to wait, Fail does
// not count it and returns how much longer it has to wait. Otherwise Fail counts it and
// returns 0; slows reports whether it is the first in its row after which the next one has
// to wait.
func (s *SignIns) Fail(a Attempt, now time.Time) (wait time.Duration, slows bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, _ := s.wrong.Get(a)
	if wait := s.policy.Wait(w, now); wait > 0 {
		return wait, false
	}
	w = s.policy.Add(w, now)
	s.wrong.Add(a, w)
	return 0, s.policy.Slows(w)
}

// maxPlace is the largest number of bytes of a place that is no address.
const maxPlace = 64

// Place returns the place of an address, by which wrong attempts are counted. That is the
// IPv4 address, or the /64 prefix of the IPv6 address: within it, one host can choose
// addresses at will. The address may have a port, which is ignored. A text that is no
// address, such as "local", is a place of its own; it is cut to maxPlace bytes.
func Place(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		port, err := netip.ParseAddrPort(address)
		if err != nil {
			return address[:min(len(address), maxPlace)]
		}
		ip = port.Addr()
	}
	if ip = ip.Unmap(); ip.Is4() {
		return ip.String()
	}
	prefix, err := ip.WithZone("").Prefix(64)
	if err != nil {
		return ip.String()
	}
	return prefix.String()
}
