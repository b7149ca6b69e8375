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
	// Sign-ins with a user's password, and at the token endpoint with a client's
	// secret, of one user or client at one place.
	LockingSignIns = SignInPolicy{Free: 5, First: 15 * time.Minute, Longest: 15 * time.Minute, Forget: 15 * time.Minute}
	// Logins of one client to NATS at one place. NATS clients try again by
	// themselves, so a lock of minutes would hit those who only come with an old secret.
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

// SignIns counts wrong attempts in memory. A 2Q cache keeps counts that were used
// once apart from those that were used again, so that no number of places that fail
// once each makes it drop the count of one that fails often. Its methods may be
// called concurrently.
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

// Wait returns how long the attempt has to wait at the time now; 0 if it may be
// made.
func (s *SignIns) Wait(a Attempt, now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, _ := s.wrong.Get(a)
	return s.policy.Wait(w, now)
}

// Fail counts a wrong attempt, and reports whether it is the one after which the
// next ones have to wait.
func (s *SignIns) Fail(a Attempt, now time.Time) (slows bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, _ := s.wrong.Get(a)
	w = s.policy.Add(w, now)
	s.wrong.Add(a, w)
	return s.policy.Slows(w)
}

// Succeed ends the row of wrong attempts.
func (s *SignIns) Succeed(a Attempt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrong.Remove(a)
}

// Begin counts an attempt as wrong before its outcome is known, so that many at
// the same time get no further than one after the other. Where the attempt has to
// wait, it returns how long, and counts nothing. Otherwise the caller calls undo
// if the attempt was not wrong.
func (s *SignIns) Begin(a Attempt, now time.Time) (undo func(), wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, _ := s.wrong.Get(a)
	if wait := s.policy.Wait(before, now); wait > 0 {
		return nil, wait
	}
	s.wrong.Add(a, s.policy.Add(before, now))
	return func() { s.undo(a, before.Last, now) }, 0
}

// undo takes back one attempt of the time at; last is that of the one before it.
func (s *SignIns) undo(a Attempt, last, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, ok := s.wrong.Get(a)
	switch {
	case !ok: // dropped meanwhile
	case w.Count <= 1:
		s.wrong.Remove(a)
	default:
		w.Count--
		if w.Last.Equal(at) {
			w.Last = last
		}
		s.wrong.Add(a, w)
	}
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
