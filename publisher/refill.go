package publisher

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
)

// comparePage is how many entries are compared, and recorded, at a time: more
// than a publisher that was killed can have left unrecorded.
const comparePage = 1000

// compare compares the stream with the outbox and makes them agree. Events that the stream
// lost are published again. Events that it holds after the last recorded one are recorded.
// A Conflict Error means that stream and outbox contradict each other.
//
// Head is read before the stream is looked up, and the pending entries after it: Comparer
// relies on this order.
func (r *Relay) compare(ctx context.Context) error {
	r.step(StepCompare)
	r.metrics.comparisons.Inc()
	if err := r.observe(ctx); err != nil {
		return err
	}
	head, err := r.source.Head(ctx)
	if err != nil {
		return fmt.Errorf("read the last recorded event: %w", err)
	}
	r.head = head
	stream, err := r.openStream(ctx, head.StreamSequence)
	if err != nil {
		return err
	}
	state, settings := stream.CachedInfo().State, stream.CachedInfo().Config
	found, err := r.comparer.compare(ctx, head, state, comparePage)
	if err != nil {
		return err
	}
	if found.Lost > 0 {
		if err := r.refill(ctx, &settings, state.LastSeq, head.StreamSequence); err != nil {
			return err
		}
	}
	r.status.recorded(head.StreamSequence)
	if err := r.recordFound(ctx, found); err != nil {
		return err
	}
	// Remove the mark also if nothing was lost: a relay that refilled the stream may have
	// been killed before it did. After a contradiction the mark stays, because it is
	// unknown where the stream has to end.
	if err := r.mark(ctx, &settings, 0); err != nil {
		return err
	}
	r.confirmEnd()
	return nil
}

// errDeleted is returned while a deletion of the stream may not have ended.
var errDeleted = errors.New("it is missing; wait until its deletion has ended")

// openStream returns the stream. If there is none, it creates one, with the mark that it is
// being filled again up to sequence head.
//
// A stream with events that is missing was deleted, perhaps just now. The broker no longer
// finds it as soon as the deletion begins, and removes its files afterwards. A stream that
// is created before that has the same files: it then loses what is published to it, or
// ends where the deleted one did, empty. So a stream is created only after it has been
// missing for Config.Settle.
func (r *Relay) openStream(ctx context.Context, head uint64) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.AckTimeout)
	defer cancel()
	cfg := r.cfg.Stream
	cfg.RefillTo = head
	stream, err := ensureStream(ctx, r.js, cfg, func() error {
		now := r.cfg.Clock()
		if r.missingSince.IsZero() {
			r.missingSince = now
		}
		if head > 0 && now.Sub(r.missingSince) < r.cfg.Settle {
			return errDeleted
		}
		return nil
	})
	if err == nil {
		r.missingSince = time.Time{}
	}
	return stream, err
}

// recordFound records the events that the stream holds after the last recorded one, page
// by page. Their acknowledgement was lost.
func (r *Relay) recordFound(ctx context.Context, found Comparison) error {
	for page := found.Unrecorded; len(page) > 0; {
		from := page[0].StreamSequence
		if err := r.record(ctx, page); err != nil {
			return err
		}
		r.metrics.found.Add(float64(len(page)))
		r.log.Info("found events in the stream whose acknowledgement was lost", "events", len(page), "from", from)
		var err error
		if page, err = r.comparer.unrecorded(ctx, r.head, found.Last, comparePage); err != nil {
			return err
		}
	}
	return nil
}

// refill publishes recorded events again, each at its sequence, to a stream that lost all
// or its newest messages: it ends at sequence last, before head. First it verifies that
// what the stream still holds is what was recorded.
//
// Before anything else it marks the stream, and the mark stays whatever fails. Readers
// without an outbox must not take the beginning of the stream for all of it: access may be
// granted there that was revoked later. After a failure the next comparison goes on where
// this one ended. Its caller, compare, removes the mark at the end.
func (r *Relay) refill(ctx context.Context, settings *jetstream.StreamConfig, last, head uint64) error {
	r.log.Warn("the stream lost events and is filled again from the outbox", "holds", last, "recorded", head)
	if err := r.mark(ctx, settings, head); err != nil {
		return err
	}
	if err := r.comparer.VerifyRecorded(ctx, last); err != nil {
		return err
	}
	for last < head && ctx.Err() == nil {
		entries, err := r.comparer.recorded(ctx, last+1, int(min(head-last, uint64(r.page))))
		if err != nil {
			return err
		}
		batch := r.nextBatch(entries)
		r.step(StepRefill)
		if err := r.sendAndCount(ctx, last, batch); err != nil {
			return fmt.Errorf("publish again from sequence %d: %w", last+1, err)
		}
		last += uint64(len(batch))
		r.metrics.refilled.Add(float64(len(batch)))
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	r.log.Info("the stream holds all recorded events again", "sequence", head)
	return nil
}

// mark writes into the stream's metadata up to which sequence it is being filled again;
// zero removes the mark. Other metadata stays, because some is the broker's own. If the
// settings already agree, it sends no request; otherwise it updates them too.
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

// refillMark returns a copy of the metadata with the mark, or without it if to is zero.
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
