// Package poll paces loops that wait for something outside of the process.
package poll

import (
	"context"
	"time"
)

// Pause is the time between two polls.
func Pause(ctx context.Context) error {
	timer := time.NewTimer(5 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
