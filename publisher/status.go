package publisher

import (
	"errors"
	"sync"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
)

// State is what a relay is doing.
type State string

// The states.
const (
	Starting   State = "starting"    // stream and outbox are not compared yet
	Running    State = "running"     // everything pending is being published
	BackingOff State = "backing off" // an attempt failed, as when broker or outbox is away; it tries again
	Stopped    State = "stopped"     // stream and outbox contradict each other; a person is needed
)

// Status is what a relay is doing and how far it has come.
type Status struct {
	State          State
	Since          time.Time // when State began
	Reason         string    // why it backs off or stopped, and what to do
	StreamSequence uint64    // of the last event published and recorded
	Unsigned       bool      // it stopped because the stream holds an event that is not in the outbox
	Oldest         time.Time // of the oldest pending event of a study that is not parked; zero when there is none
}

// Ready reports whether sign-offs reach the stream.
func (s Status) Ready() bool { return s.State == Running }

// Status returns the present one.
func (r *Relay) Status() Status {
	r.status.mu.Lock()
	defer r.status.mu.Unlock()
	return r.status.now
}

// status guards the present Status. The methods that set the state report whether the
// state or its reason changed.
type status struct {
	mu  sync.Mutex
	now Status
}

// set sets the state and its reason. Since stays the same if only the reason changes.
func (s *status) set(state State, reason string, at time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now.State == state && s.now.Reason == reason {
		return false
	}
	if s.now.State != state {
		s.now.Since = at
	}
	s.now.State, s.now.Reason = state, reason
	return true
}

func (s *status) start(at time.Time) bool              { return s.set(Starting, "", at) }
func (s *status) run(at time.Time) bool                { return s.set(Running, "", at) }
func (s *status) backOff(at time.Time, why error) bool { return s.set(BackingOff, why.Error(), at) }

// stop sets the state to Stopped, and whether the reason is an event that was not signed.
func (s *status) stop(at time.Time, why error) {
	s.mu.Lock()
	s.now.Unsigned = errors.Is(why, errUnsigned)
	s.mu.Unlock()
	s.set(Stopped, why.Error(), at)
}

// recorded stores the stream sequence of the last recorded event.
func (s *status) recorded(n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.StreamSequence = n
}

// pending stores the time of the first of the pending entries; zero if there are none.
func (s *status) pending(entries []events.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.Oldest = time.Time{}
	if len(entries) > 0 {
		s.now.Oldest = entries[0].Event.Time
	}
}
