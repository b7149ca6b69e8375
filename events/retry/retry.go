// Package retry repeats attempts that fail. A Loop waits longer after each failure in a
// row; NewWaits returns the waits alone. A row is a series of failures without a success
// between them. All parts of the program use the package, so that none ends during an
// outage, and none overloads a server that has just come back.
//
// It does not decide which errors are worth another attempt; see Stop.
package retry

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
)

// First is the mean of the first wait. The mean of each further one is twice as long.
const First = 50 * time.Millisecond

// Waits are the times to wait after failures in a row: NextBackOff returns the
// next one, Reset ends the row. They must not be used concurrently.
type Waits = backoff.BackOff

// NewWaits returns waits whose mean is First and doubles each time, up to longest. They
// never end. Each wait is longer or shorter than its mean by up to half of it, at random,
// so that clients that failed at the same time do not all return at the same time.
func NewWaits(longest time.Duration) Waits {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(min(First, longest)), backoff.WithMultiplier(2), backoff.WithRandomizationFactor(0.5),
		backoff.WithMaxInterval(longest), backoff.WithMaxElapsedTime(0))
}

// Loop tries until it succeeds, however long that takes.
type Loop struct {
	// Longest bounds the waits; see NewWaits. It must be set.
	Longest time.Duration

	// Failed is called after each failed attempt, before the wait, with what Readable
	// returns of its error. May be nil.
	Failed func(error)

	// Wait waits for d, until ctx ends, or until there is a reason to try again
	// earlier. Defaults to Sleep.
	Wait func(ctx context.Context, d time.Duration)
}

// Run calls attempt until it returns nil or Stop(err), or ctx ends. It returns err after
// Stop(err), and nil otherwise. An attempt that achieves something before it fails calls
// succeeded: then the waits begin anew with a short one.
//
// The error of an attempt during which ctx has ended is dropped, unless it is that of
// Stop, because the end of ctx is most likely its cause.
func (l Loop) Run(ctx context.Context, attempt func(ctx context.Context, succeeded func()) error) error {
	waits := NewWaits(l.Longest)
	for {
		err := attempt(ctx, waits.Reset)
		var end *stop
		switch {
		case errors.As(err, &end):
			return end.err
		case err == nil, ctx.Err() != nil:
			return nil
		}
		if l.Failed != nil {
			l.Failed(Readable(err))
		}
		wait := waits.NextBackOff()
		if l.Wait == nil {
			_ = Sleep(ctx, wait) // ctx is checked below
		} else {
			l.Wait(ctx, wait)
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// Stop returns an error that ends a Loop, for an err that another attempt cannot avoid.
func Stop(err error) error { return &stop{err} }

// stop is the error that Stop returns.
type stop struct{ err error }

func (s *stop) Error() string { return s.err.Error() }
func (s *stop) Unwrap() error { return s.err }

// Readable returns err with a text for people. The NATS client reports a message that it
// cannot send, because it has no connection and may not keep the message for later, as
// "outbound buffer limit exceeded".
func Readable(err error) error {
	if errors.Is(err, nats.ErrReconnectBufExceeded) {
		return noConnection{err}
	}
	return err
}

// noConnection is an error that contains nats.ErrReconnectBufExceeded.
type noConnection struct{ err error }

func (n noConnection) Error() string {
	return strings.ReplaceAll(n.err.Error(), nats.ErrReconnectBufExceeded.Error(), "no connection to NATS")
}

func (n noConnection) Unwrap() error { return n.err }

// Sleep waits for d and returns nil, or until ctx ends and returns the cause of that.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// SleepUntil waits for d, until ctx ends, or until want is received.
func SleepUntil[T comparable](ctx context.Context, d time.Duration, news <-chan T, want T) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case got := <-news:
			if got == want {
				return
			}
		}
	}
}

// pollEvery is the time between two calls of Poll.
const pollEvery = 5 * time.Millisecond

// Poll calls done every few milliseconds until it returns true or an error, or ctx ends.
// It returns nil, that error, or the cause of ctx's end. It is for a change of which
// nothing notifies this process, such as one in a database or in another process.
func Poll(ctx context.Context, done func() (bool, error)) error {
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		if err := Sleep(ctx, pollEvery); err != nil {
			return err
		}
	}
}
