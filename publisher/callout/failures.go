package callout

import (
	"sync"
	"time"

	"github.com/seed-e88a4ece/signoff/events/access"
)

const (
	freeFailures = 5 // in a row, before it takes longer
	longestWait  = time.Minute
	forgetAfter  = 15 * time.Minute
	maxTallies   = 4096
)

// failures slow down whoever tries secrets: after five wrong ones in a row, for
// one client from one place, each further one locks that client there, for one
// second at first, then for twice as long each time, a minute at most. From
// elsewhere the client is not affected.
//
// It is kept in memory and bounded: when it is full, the oldest is forgotten.
type failures struct {
	mu      sync.Mutex
	tallies map[attempt]tally
}

// attempt is who tries, from where. All clients that do not exist are one.
type attempt struct {
	client string
	place  string // as access.Place returns it
}

type tally struct {
	count int
	last  time.Time
}

func attemptOf(client, host string, known bool) attempt {
	if !known {
		client = ""
	}
	return attempt{client, access.Place(host)}
}

// locked reports whether the attempt is refused unseen at the time now.
func (f *failures) locked(a attempt, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.tallies[a]
	return now.Before(t.last.Add(t.wait()))
}

func (t tally) wait() time.Duration {
	over := t.count - freeFailures
	if over < 0 {
		return 0
	}
	return min(longestWait, time.Second<<min(over, 6))
}

// fail counts a failure and reports whether the attempt is locked from now on
// and was not before.
func (f *failures) fail(a attempt, now time.Time) (news bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.tallies[a]
	if now.Sub(t.last) > forgetAfter {
		t.count = 0
	}
	t.count++
	t.last = now
	if f.tallies == nil {
		f.tallies = make(map[attempt]tally)
	}
	if _, ok := f.tallies[a]; !ok && len(f.tallies) >= maxTallies {
		f.forgetOldest()
	}
	f.tallies[a] = t
	return t.count == freeFailures
}

func (f *failures) forgetOldest() {
	var oldest attempt
	var last time.Time
	for a, t := range f.tallies {
		if last.IsZero() || t.last.Before(last) {
			oldest, last = a, t.last
		}
	}
	delete(f.tallies, oldest)
}

// succeed ends the row of failures.
func (f *failures) succeed(a attempt) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.tallies, a)
}
