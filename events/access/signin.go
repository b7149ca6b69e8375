package access

import (
	"net/netip"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// SignInPolicy is how wrong attempts to sign in slow down further ones. It is
// the one policy of the program, with the numbers that its caller needs. It keeps
// nothing: its caller stores WrongAttempts, in memory or in a table, for each user or
// client, and for each Place from which it is tried.
type SignInPolicy struct {
	Free    int           // so many wrong attempts in a row make further ones wait
	First   time.Duration // the wait after those; each further one doubles it
	Longest time.Duration // bounds the wait
	Forget  time.Duration // after so long without a wrong attempt the count starts anew
}

// The numbers for what signs in.
var (
	// Sign-ins of one user at one place: a password may be guessed, so further
	// attempts are not even checked. The same numbers slow wrong secrets of one client
	// at one place at the token endpoint.
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
	Last  time.Time
}

// Wait returns how long the next attempt has to wait at the time now; 0 if it may
// be made. It never exceeds Longest, also where the clock was set back.
func (p SignInPolicy) Wait(w WrongAttempts, now time.Time) time.Duration {
	if w.Count < p.Free {
		return 0
	}
	wait := p.First
	for doublings := w.Count - p.Free; doublings > 0 && wait < p.Longest; doublings-- {
		wait *= 2
	}
	wait = min(wait, p.Longest)
	return max(0, min(w.Last.Add(wait).Sub(now), wait))
}

// Add returns w with one more wrong attempt at the time now.
func (p SignInPolicy) Add(w WrongAttempts, now time.Time) WrongAttempts {
	if now.Sub(w.Last) >= p.Forget {
		w.Count = 0
	}
	return WrongAttempts{Count: w.Count + 1, Last: now}
}

// Slows reports whether the last attempt of w is the first in its row after which
// the next one has to wait.
func (p SignInPolicy) Slows(w WrongAttempts) bool { return w.Count == p.Free }

// maxSignIns bounds the counts in memory. Where one is dropped, Free attempts are
// allowed again. To have one dropped on purpose takes wrong attempts from as many
// places, each of which has Free attempts of its own, so that it gains little. See
// also SignIns.
const maxSignIns = 10_000

// SignIns counts wrong client secrets in memory. Its caller compares the secret
// first, and asks SignIns about wrong ones only: who has the right one is never kept
// waiting, whatever others at the same place do.
//
// A 2Q cache keeps counts that were used once apart from those that were used again,
// so that no number of places that fail once each makes it drop the count of one that
// fails often. Its methods may be called concurrently.
type SignIns struct {
	policy SignInPolicy
	mu     sync.Mutex // a count is read and written in one step
	wrong  *lru.TwoQueueCache[Attempt, WrongAttempts]
}

// Attempt identifies a count of wrong attempts.
type Attempt struct {
	Client string // empty for all clients that do not exist, or for all of a place
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

// Fail counts a wrong attempt at the time now and returns 0. It reports whether it is
// the one after which the next ones have to wait. An attempt that comes before its time
// is not counted; then Fail returns how long it still has to wait.
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

// maxPlace bounds a text that is no address, in bytes.
const maxPlace = 64

// Place returns the part of an address by which wrong attempts are counted: an IPv4
// address, or the /64 of an IPv6 address, within which one host can choose addresses
// at will. A port is left out. A text that is no address, such as "local", is a place
// of its own.
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
