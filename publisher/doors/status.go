package doors

import (
	"sync"
)

// Status says how the doors stand.
type Status struct {
	Ready  bool   // all is as the log has it, and logins are answered
	Reason string // why not

	Consumers    int       // of partners, at the last look
	MaxConsumers int       // how many there may be
	Raise        string    // the setting that allows more
	Refused      []Refusal // whom there was no room for, which keeps nothing else from being ready
}

type status struct {
	mu     sync.Mutex
	reason error
	room   Status // without Ready and Reason
}

// set notes why the doors are not ready, nil when they are. It reports whether
// that is news.
func (s *status) set(reason error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	news := text(s.reason) != text(reason)
	s.reason = reason
	return news
}

// setRoom notes how many consumers there are and who was refused one, and returns
// what was noted before.
func (s *status) setRoom(consumers, limit int, raise string, refused []Refusal) (before Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before = s.room
	s.room = Status{Consumers: consumers, MaxConsumers: limit, Raise: raise, Refused: refused}
	return before
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Status returns the present status.
func (d *Doors) Status() Status {
	d.status.mu.Lock()
	defer d.status.mu.Unlock()
	s := d.status.room
	s.Ready, s.Reason = d.status.reason == nil, text(d.status.reason)
	return s
}
