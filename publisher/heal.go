package publisher

import (
	"context"
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
)

// heal fills a stream that ends at sequence last, before head: all or its
// newest messages are lost. What it still holds must be what was recorded;
// then what is missing is published again, each event at its ordinal.
func (r *Relay) heal(ctx context.Context, last, head uint64) error {
	r.log.Warn("the stream lost events and is filled again from the outbox", "holds", last, "recorded", head)
	if err := r.verifyRecorded(ctx, last); err != nil {
		return err
	}
	for last < head && ctx.Err() == nil {
		entries, err := r.recorded(ctx, last+1, int(min(head-last, uint64(r.page))))
		if err != nil {
			return err
		}
		batch := r.cut(entries)
		r.step(StepHeal)
		if err := r.put(ctx, last, batch); err != nil {
			return fmt.Errorf("publish again from sequence %d: %w", last+1, err)
		}
		last += uint64(len(batch))
		r.metrics.healed.Add(float64(len(batch)))
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	r.log.Info("the stream holds all recorded events again", "sequence", head)
	return nil
}

// verifyRecorded compares everything the stream holds, up to sequence last,
// with what was recorded.
func (r *Relay) verifyRecorded(ctx context.Context, last uint64) error {
	for from := uint64(1); from <= last; {
		entries, err := r.recorded(ctx, from, int(min(last-from+1, uint64(r.cfg.MaxBatch))))
		if err != nil {
			return err
		}
		if err := r.verify(ctx, entries); err != nil {
			return err
		}
		from += uint64(len(entries))
	}
	return nil
}

// recorded reads entries by ordinal, at least one.
func (r *Relay) recorded(ctx context.Context, from uint64, limit int) ([]events.Entry, error) {
	entries, err := r.source.Recorded(ctx, from, limit)
	if err != nil {
		return nil, fmt.Errorf("read recorded events: %w", err)
	}
	for i, e := range entries {
		if e.Ordinal != from+uint64(i) {
			return nil, events.Errorf(events.Conflict, "the outbox gave ordinal %d where %d was expected", e.Ordinal, from+uint64(i))
		}
	}
	if len(entries) == 0 {
		return nil, events.Errorf(events.Conflict, "the outbox has no event with ordinal %d, though it has later ones", from)
	}
	return entries, nil
}
