package publisher

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
)

var errUnsettled = errors.New("wait until nothing can be on its way to the broker any more")

// park parks a study whose next event the broker refuses for its size, so that the events
// of other studies are published. While a message may still be on its way to the broker it
// returns an error (errUnsettled) and the relay tries again, because parking changes the
// order of what is pending.
func (r *Relay) park(ctx context.Context, e events.Event, cause error) error {
	if !r.settled() {
		return fmt.Errorf("park study %s: %w", e.Study, errUnsettled)
	}
	reason := fmt.Sprintf("%s, has %d bytes: %v; raise the broker's limit and release the study", describe(e), len(e.Data), cause)
	r.step(StepPark)
	if err := r.source.Park(ctx, e.Study, reason); err != nil {
		return r.comparer.unlessOvertaken(ctx, r.head, fmt.Errorf("park study %s: %w", e.Study, err))
	}
	r.oneByOne = 0
	r.metrics.parks.Inc()
	r.log.Warn("study parked: its events wait, those of other studies go on", "study", e.Study, "reason", reason)
	return nil
}

// release releases the parked studies for which that was requested, and reports whether
// there were any. While a message may still be on its way to the broker it does nothing,
// because a release changes the order of what is pending.
func (r *Relay) release(ctx context.Context) (bool, error) {
	if !r.settled() {
		return false, nil
	}
	n, err := r.source.Release(ctx)
	if err != nil {
		return false, fmt.Errorf("release parked studies: %w", err)
	}
	if n > 0 {
		r.log.Info("parked studies released", "studies", n)
	}
	return n > 0, nil
}
