package readmodel

import (
	"time"

	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/subscriber/stream"
)

// State is whether the model follows the stream.
type State string

// The states.
const (
	Green   State = "green"   // it follows
	Waiting State = "waiting" // the stream cannot be read, or has not been yet
	Red     State = "red"     // stopped: stream and model do not agree, or storing fails
)

// Status is the state of the model for operators.
type Status struct {
	State    State
	Reason   string // why it is not green
	Since    time.Time
	CaughtUp bool   // everything is applied that the stream had when it was first read, or will have once it is filled again
	Lag      uint64 // events that are, or will be again, in the stream and are not applied
	Position stream.Position
	Refill   Refill
}

// Refill is the progress of replacing content that another derivation has made.
type Refill struct {
	Needed      bool
	Done, Total uint64 // events
	Reason      string // why the last attempt failed; another one follows
}

// Status returns the present status.
func (m *Model) Status() Status {
	position := m.Position()
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.status
	s.Position = position
	s.CaughtUp = m.target > 0 && position.StreamSequence+1 >= m.target
	end := m.last
	if !s.CaughtUp && m.target > 0 {
		end = max(end, m.target-1)
	}
	s.Lag = max(end, position.StreamSequence) - position.StreamSequence
	return s
}

func (m *Model) setState(state State, cause error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	reason := ""
	if cause != nil {
		reason = cause.Error()
	}
	if m.status.State == state && m.status.Reason == reason {
		return
	}
	if m.status.State != state {
		m.status.Since = m.cfg.Clock()
	}
	m.status.State, m.status.Reason = state, reason
	if cause != nil {
		m.cfg.Log.Warn("read model does not follow the stream", "state", state, "cause", cause)
	} else {
		m.cfg.Log.Info("read model follows the stream", "position", m.Position().StreamSequence)
	}
}

// compared notes that the stream is the model's, and that it ends at end, or will
// once it is filled again. The event for which the State became Red may still
// follow: it remains Red until an event is applied or none is left.
func (m *Model) compared(end uint64) {
	m.setLast(end)
	m.mu.Lock()
	if m.target == 0 || end < m.target { // it ends earlier than expected
		m.target = end + 1 // so that zero means unknown
	}
	red := m.status.State == Red
	m.mu.Unlock()
	if !red || m.Position().StreamSequence >= end {
		m.setState(Green, nil)
	}
}

func (m *Model) setLast(last uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = last
}

// publish makes a committed state visible to readers of Position and Directory.
func (m *Model) publish(p stream.Position, d access.Directory) {
	m.position.Store(&p)
	if before := m.directory.Swap(&d); before == nil || !before.Same(d) {
		select {
		case m.changed <- struct{}{}:
		default: // the receiver has not taken the last one yet
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.moved)
	m.moved = make(chan struct{})
}
