package publisher

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-e88a4ece/signoff/events/retry"
)

// idle waits until the source changes or the next comparison of stream and outbox is due.
// If it is due already, it returns at once and sets endKnown to false, so that work
// compares. Changes of the source do not put the comparison off.
func (r *Relay) idle(ctx context.Context) {
	wait := r.cfg.CompareEvery - time.Since(r.endKnownAt)
	if wait <= 0 {
		r.endKnown = false
		return
	}
	if left := r.cfg.Settle - r.cfg.Clock().Sub(r.lastUnconfirmedSend); !r.settled() {
		wait = min(wait, left) // release does nothing until then, but one may have been requested
	}
	retry.SleepUntil(ctx, wait, r.source.Changed(), struct{}{})
}

// failed is called after each failed attempt, before Run waits and tries again. The
// stream's end is unknown from then on. It sets the status, and logs the cause if it is
// a new one.
func (r *Relay) failed(ctx context.Context, cause error) {
	r.endKnown = false
	r.metrics.retries.Inc()
	if r.status.backOff(r.cfg.Clock(), cause) {
		r.log.Warn("publishing waits and tries again", "reason", cause)
	}
	if err := r.observe(ctx); err != nil {
		r.log.Debug("read pending events", "error", err)
	}
}

// running sets the state to Running, because stream and outbox were just reached.
func (r *Relay) running() {
	if r.status.run(r.cfg.Clock()) {
		r.log.Info("publishing", "sequence", r.head.StreamSequence)
	}
}

// observe stores the time of the oldest pending event in the status. It is called also
// when nothing can be published, so that the status shows how long events have waited.
func (r *Relay) observe(ctx context.Context) error {
	pending, err := r.source.Pending(ctx, 1)
	if err != nil {
		return fmt.Errorf("read pending events: %w", err)
	}
	r.status.pending(pending)
	return nil
}
