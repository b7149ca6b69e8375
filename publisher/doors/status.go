package doors

import (
	"sync"
)

// Status says how the doors stand.
type Status struct {
	Ready  bool   // all is as the log has it, and logins are answered
	Reason string // why not
}

type status struct {
	mu     sync.Mutex
	reason error
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

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Status gives the present status.
func (d *Doors) Status() Status {
	d.status.mu.Lock()
	defer d.status.mu.Unlock()
	return Status{Ready: d.status.reason == nil, Reason: text(d.status.reason)}
}
