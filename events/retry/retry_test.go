package retry_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/seed-e88a4ece/signoff/events/leaktest"
	"github.com/seed-e88a4ece/signoff/events/retry"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

var errAway = errors.New("the broker is away")

func TestWaitsDoubleUpToTheLongestAndNeverEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		longest := time.Duration(rapid.Int64Range(int64(time.Millisecond), int64(time.Hour)).Draw(t, "longest"))
		waits := retry.NewWaits(longest)
		mean := min(retry.First, longest)
		for range 100 {
			if wait := waits.NextBackOff(); wait < mean/2 || wait > mean*3/2+1 {
				t.Fatalf("waits %s where the mean is %s", wait, mean)
			}
			mean = min(2*mean, longest)
		}
	})
}

func TestALoopTriesUntilItSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var failures int
		loop := retry.Loop{Longest: time.Second, Failed: func(err error) {
			if failures++; !errors.Is(err, errAway) {
				t.Errorf("Failed is called with %v", err)
			}
		}}
		begun, attempts := time.Now(), 0
		err := loop.Run(t.Context(), func(context.Context, func()) error {
			if attempts++; attempts < 1000 {
				return errAway
			}
			return nil
		})
		if err != nil || attempts != 1000 || failures != 999 {
			t.Errorf("%v after %d attempts, of which %d failed", err, attempts, failures)
		}
		if took := time.Since(begun); took < 400*time.Second || took > 1500*time.Second {
			t.Errorf("waits %s in all", took)
		}
	})
}

func TestALoopEndsAtOnceAtAnErrorThatWaitingDoesNotMend(t *testing.T) {
	attempts := 0
	err := retry.Loop{Longest: time.Hour}.Run(t.Context(), func(context.Context, func()) error {
		attempts++
		return retry.Stop(errAway)
	})
	if err != errAway || attempts != 1 { //nolint:errorlint // the same value that Stop got
		t.Errorf("%v after %d attempts", err, attempts)
	}
}

func TestALoopEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begun := time.Now()
		err := retry.Loop{Longest: time.Hour}.Run(ctx, func(context.Context, func()) error { return errAway })
		if err != nil || time.Since(begun) != time.Minute {
			t.Errorf("%v after %s", err, time.Since(begun))
		}
		err = retry.Loop{Longest: time.Hour, Failed: func(error) { t.Error("a failure after the end is reported") }}.
			Run(ctx, func(ctx context.Context, _ func()) error { return ctx.Err() })
		if err != nil {
			t.Error(err)
		}
	})
}

func TestAfterASuccessTheNextWaitIsShort(t *testing.T) {
	var waits []time.Duration
	loop := retry.Loop{Longest: time.Hour, Wait: func(_ context.Context, d time.Duration) { waits = append(waits, d) }}
	attempts := 0
	_ = loop.Run(t.Context(), func(_ context.Context, succeeded func()) error {
		switch attempts++; attempts {
		case 8:
			succeeded()
			return errAway
		case 9:
			return nil
		default:
			return errAway
		}
	})
	if len(waits) != 8 || waits[6] < time.Second || waits[7] > 2*retry.First {
		t.Errorf("waits %v; the seventh follows seven failures, the eighth a success", waits)
	}
}

func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		if err := retry.Sleep(t.Context(), time.Hour); err != nil || time.Since(begun) != time.Hour {
			t.Errorf("%v after %s", err, time.Since(begun))
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errAway)
		if err := retry.Sleep(ctx, time.Hour); !errors.Is(err, errAway) {
			t.Error(err)
		}
	})
}
