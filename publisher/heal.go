package publisher

import (
	"context"
	"fmt"
	"maps"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
)

// heal fills a stream that ends at sequence last, before head: all or its newest
// messages are lost. What it still holds must be what was recorded; then what is missing is
// published again, each event at its ordinal.
//
// The stream is marked before anything else, and stays so whatever goes wrong:
// whoever follows it without an outbox must not take its beginning, in which
// access is granted that was revoked since, for all there is. The next look goes
// on from where this one ended, and takes the mark away at the end.
func (r *Relay) heal(ctx context.Context, settings *jetstream.StreamConfig, last, head uint64) error {
	r.log.Warn("the stream lost events and is filled again from the outbox", "holds", last, "recorded", head)
	if err := r.mark(ctx, settings, head); err != nil {
		return err
	}
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

// mark writes into the stream's metadata up to where it is being filled again;
// zero takes the mark away. What else is in the metadata stays: some is the
// broker's own. It asks for nothing where the settings say so already.
func (r *Relay) mark(ctx context.Context, settings *jetstream.StreamConfig, to uint64) error {
	next := *settings
	next.Metadata = refillMark(settings.Metadata, to)
	if maps.Equal(next.Metadata, settings.Metadata) {
		return nil
	}
	r.step(StepMark)
	ctx, cancel := context.WithTimeout(ctx, r.cfg.AckTimeout)
	defer cancel()
	if _, err := r.js.UpdateStream(ctx, next); err != nil {
		return fmt.Errorf("mark how far stream %s is filled again: %w", next.Name, err)
	}
	*settings = next
	return nil
}

// refillMark returns metadata with the mark, or without one where to is zero.
func refillMark(metadata map[string]string, to uint64) map[string]string {
	marked := maps.Clone(metadata)
	delete(marked, events.RefillKey)
	if to == 0 {
		return marked
	}
	if marked == nil {
		marked = make(map[string]string, 1)
	}
	marked[events.RefillKey] = strconv.FormatUint(to, 10)
	return marked
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
		if e.StreamSequence != from+uint64(i) {
			return nil, events.Errorf(events.Conflict, "the outbox gave ordinal %d where %d was expected", e.StreamSequence, from+uint64(i))
		}
	}
	if len(entries) == 0 {
		return nil, events.Errorf(events.Conflict, "the outbox has no event with ordinal %d, though it has later ones", from)
	}
	return entries, nil
}
