package ledger

import "sync"

// signal wakes those who wait for a change. Each of their channels has room for one
// value, so that a change while nobody receives is not lost.
type signal struct {
	first chan struct{} // always there

	mu   *sync.Mutex
	more map[chan struct{}]struct{}
}

func newSignal() signal {
	return signal{first: make(chan struct{}, 1), mu: new(sync.Mutex), more: make(map[chan struct{}]struct{})}
}

// watch adds a channel, and returns it with a function that removes it.
func (s signal) watch() (changed <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.more[c] = struct{}{}
	return c, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.more, c)
	}
}

// send sends a value to each channel in which there is none yet. It does not wait.
func (s signal) send() {
	wake(s.first)
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.more {
		wake(c)
	}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // there is a value that nobody has taken yet
	}
}
