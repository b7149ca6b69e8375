package readmodel

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
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
	Heard    time.Time // when an event was received last, or the end of the stream looked up; zero: not yet
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
	// Until then the stream may end before the target, while it is filled again.
	if !s.CaughtUp && m.target > 0 {
		end = max(end, m.target-1)
	}
	s.Lag = max(end, position.StreamSequence) - position.StreamSequence
	return s
}

// setState sets the state and its reason, and logs them if they have changed. Since is
// set only if the state has.
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

// compared is called when the stream was found to be the model's. End is its last stream
// sequence, or the one that it will have once it is filled again. The State becomes
// Green. But a Red one remains while events are left, because the first of them may be
// the one that cannot be applied; applying it makes the State Green.
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

// setLast stores the last sequence of the stream, for Lag, and that it was heard now.
func (m *Model) setLast(last uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last, m.status.Heard = last, m.cfg.Clock()
}

// publish makes a committed state visible to readers of Directory and Position. The position
// comes last, because whoever has waited for it uses the directory.
func (m *Model) publish(p stream.Position, d access.Directory) {
	if before := m.directory.Swap(&d); before == nil || !before.Same(d) {
		select {
		case m.changed <- struct{}{}:
		default: // an earlier change was not received yet, and stands for this one too
		}
	}
	m.position.Store(&p)
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.moved)
	m.moved = make(chan struct{})
}

// pollInterval is how often a file that another process writes is read again.
const pollInterval = 10 * time.Millisecond

// WaitFor waits until the message with this stream sequence is applied, by this
// process or another. If ctx ends first, it returns its cause.
func (m *Model) WaitFor(ctx context.Context, streamSequence uint64) error {
	return m.waitUntil(ctx, func() (bool, error) {
		if reached := m.Position().StreamSequence >= streamSequence; reached || m.isRunning() {
			return reached, nil
		}
		stored, err := m.storedPosition(ctx)
		return stored.StreamSequence >= streamSequence, err
	})
}

// WaitForChainHead waits until the events of a study are applied up to head, by
// this process or another. If ctx ends first, it returns its cause.
func (m *Model) WaitForChainHead(ctx context.Context, studyKey string, head events.ChainHead) error {
	return m.waitUntil(ctx, func() (bool, error) {
		applied, err := m.ChainHead(ctx, studyKey)
		return applied.Number >= head.Number, err
	})
}

// waitUntil calls applied until it returns true or an error: after each commit in
// this process, and at intervals, because commits of another process are not
// announced.
func (m *Model) waitUntil(ctx context.Context, applied func() (bool, error)) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		m.mu.Lock()
		moved := m.moved // read before applied is called, so that no commit is missed
		m.mu.Unlock()
		done, err := applied()
		switch {
		case err != nil && ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil || done:
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-moved:
		case <-tick.C:
		}
	}
}

// ChainHead returns the chain head of a study as applied, by this process or
// another; the zero ChainHead for a study without events.
func (m *Model) ChainHead(ctx context.Context, studyKey string) (head events.ChainHead, err error) {
	err = m.db.Reader.QueryRowContext(ctx, `
		select sequence, hash
		from studies
		where token = ?`, studyKey).Scan(&head.Number, &head.Hash)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return head, fmt.Errorf("read the chain head of a study: %w", err)
	}
	return head, nil
}
