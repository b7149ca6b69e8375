// Package poll waits for changes in a database or in another process.
package poll

import (
	"context"
	"time"
)

// every is the time between two tries.
const every = 5 * time.Millisecond

// Until calls done until it returns true or an error, or ctx ends. It returns the
// error, or the cause of ctx's end.
func Until(ctx context.Context, done func() (bool, error)) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		timer.Reset(every)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
		}
	}
}
