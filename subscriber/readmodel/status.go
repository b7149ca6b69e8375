package readmodel

import (
	"context"
	"time"

	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/subscriber/stream"
)

// State says whether the model follows the stream.
type State string

// The states.
const (
	Green   State = "green"   // it follows
	Waiting State = "waiting" // the broker cannot be read, or has not been yet
	Red     State = "red"     // stopped: stream and model do not agree, or storing fails
)

// Status is what an operator must know of the model.
type Status struct {
	State    State
	Reason   string // why it is not green
	Since    time.Time
	CaughtUp bool   // all is applied that the stream held when it was first read, or was to hold once filled again
	Lag      uint64 // events known to be in the stream, or to come back there, that are not applied
	Position stream.Position
	Refill   Refill
}

// Refill is about a model whose content another derivation has made, while it
// is being made anew.
type Refill struct {
	Needed      bool
	Done, Total uint64 // events
	Reason      string // why the last attempt failed; it is tried again
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

// compared notes that the stream, which has its end there or will have it there
// once it is filled again, is the model's. What turned the model red may lie
// ahead still: it stays so until something is applied, or nothing is left to be.
func (m *Model) compared(end uint64) {
	m.heard(end)
	m.mu.Lock()
	if m.target == 0 || end < m.target { // it ends earlier than was to be expected
		m.target = end + 1 // so that zero means: not known
	}
	red := m.status.State == Red
	m.mu.Unlock()
	if !red || m.Position().StreamSequence >= end {
		m.setState(Green, nil)
	}
}

func (m *Model) heard(last uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = last
}

// publish makes a committed state visible.
func (m *Model) publish(p stream.Position, d access.Directory) {
	m.position.Store(&p)
	if before := m.directory.Swap(&d); before == nil || !before.Same(d) {
		select {
		case m.changed <- struct{}{}:
		default: // there is one that nobody has taken yet
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.moved)
	m.moved = make(chan struct{})
}

// lookEvery is how often WaitFor looks at a file that another process writes.
const lookEvery = 10 * time.Millisecond

// WaitFor returns nil once the message with this stream sequence is applied,
// by this process or another, else the cause for which ctx ended.
func (m *Model) WaitFor(ctx context.Context, sequence uint64) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		m.mu.Lock()
		moved, running := m.moved, m.running
		m.mu.Unlock()
		if m.Position().StreamSequence >= sequence {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-moved:
		case <-tick.C:
			if running {
				continue
			}
			if stored, err := m.stored(ctx); err != nil || stored.StreamSequence >= sequence {
				return err
			}
		}
	}
}
