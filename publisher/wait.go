package publisher

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-e88a4ece/signoff/events/retry"
)

// idle waits for something to publish, or until it is time to compare stream and outbox
// again, however often it is woken for nothing meanwhile.
func (r *Relay) idle(ctx context.Context) {
	wait := r.cfg.CompareEvery - time.Since(r.endKnownAt)
	if wait <= 0 {
		r.endKnown = false
		return
	}
	if left := r.cfg.Settle - r.cfg.Clock().Sub(r.lastUnconfirmedSend); !r.settled() {
		wait = min(wait, left) // then a release may be waiting
	}
	retry.SleepUntil(ctx, wait, r.source.Changed(), struct{}{})
}

// failed notes a failure, after which Run waits and tries again. The stream's end
// counts as unknown then.
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

// running stores that stream and outbox were reached.
func (r *Relay) running() {
	if r.status.run(r.cfg.Clock()) {
		r.log.Info("publishing", "sequence", r.head.StreamSequence)
	}
}

// observe stores the age of the oldest pending event, whether it can be published or not.
func (r *Relay) observe(ctx context.Context) error {
	pending, err := r.source.Pending(ctx, 1)
	if err != nil {
		return fmt.Errorf("read pending events: %w", err)
	}
	r.status.pending(pending)
	return nil
}
