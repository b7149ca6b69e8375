package publisher

import (
	"context"
	"fmt"
	"time"
)

// idle waits for something to publish, or until it is time to look at the
// stream again, however often it is woken for nothing meanwhile.
func (r *Relay) idle(ctx context.Context) {
	wait := r.cfg.LookEvery - time.Since(r.seen)
	if wait <= 0 {
		r.looked = false
		return
	}
	if left := r.cfg.Settle - r.cfg.Clock().Sub(r.doubt); !r.settled() {
		wait = min(wait, left) // then a release may be waiting
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-r.source.Changed():
	case <-timer.C:
	}
}

// failed notes a failure, after which Run waits and tries again. The stream's end
// counts as unknown then.
func (r *Relay) failed(ctx context.Context, cause error) {
	r.looked = false
	r.metrics.retries.Inc()
	if r.status.backOff(r.cfg.Clock(), cause) {
		r.log.Warn("publishing waits and tries again", "reason", cause)
	}
	if err := r.observe(ctx); err != nil {
		r.log.Debug("read pending events", "error", err)
	}
}

// running notes that stream and outbox were in reach.
func (r *Relay) running() {
	if r.status.run(r.cfg.Clock()) {
		r.log.Info("publishing", "ordinal", r.head.StreamSequence)
	}
}

// observe notes the oldest pending event, whether it can be published or not.
func (r *Relay) observe(ctx context.Context) error {
	pending, err := r.source.Pending(ctx, 1)
	if err != nil {
		return fmt.Errorf("read pending events: %w", err)
	}
	r.status.pending(pending)
	return nil
}
