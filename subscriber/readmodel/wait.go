package readmodel

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
)

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
