package partnerlimit_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-e88a4ece/signoff/events/leaktest"
	"github.com/seed-e88a4ece/signoff/subscriber/api/partnerlimit"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func enter(t *testing.T, l *partnerlimit.Limit, partner string) (leave func()) {
	t.Helper()
	leave, err := l.Enter(t.Context(), partner)
	if err != nil {
		t.Fatal(err)
	}
	return leave
}

func TestRequestsBeyondTheLimitWaitForTheirTurnAndThenAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &partnerlimit.Limit{Running: 2, Waiting: 2, Wait: 2 * time.Second}
		first, second := enter(t, l, "acme"), enter(t, l, "acme")
		type entered struct {
			leave func()
			err   error
			after time.Duration
		}
		began := time.Now()
		results := make(chan entered)
		for range 2 {
			go func() {
				leave, err := l.Enter(t.Context(), "acme")
				results <- entered{leave, err, time.Since(began)}
			}()
		}
		synctest.Wait() // both wait
		if _, err := l.Enter(t.Context(), "acme"); !errors.Is(err, partnerlimit.ErrTooMany) || time.Since(began) != 0 {
			t.Errorf("a request that may not wait: %v after %s", err, time.Since(began))
		}
		enter(t, l, "other")() // another partner does not wait

		time.Sleep(time.Second)
		first()
		if r := <-results; r.err != nil || r.after != time.Second {
			t.Errorf("the first that waits: %v after %s", r.err, r.after)
		} else {
			defer r.leave()
		}
		if r := <-results; !errors.Is(r.err, partnerlimit.ErrTooMany) || r.after != 2*time.Second {
			t.Errorf("the second that waits: %v after %s", r.err, r.after)
		}
		second()
		enter(t, l, "acme")()
	})
}

func TestARequestWhoseCallerHasGoneStopsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &partnerlimit.Limit{Running: 1, Waiting: 1, Wait: time.Hour}
		leave := enter(t, l, "acme")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := l.Enter(ctx, "acme"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		leave()
		enter(t, l, "acme")()
	})
}

func TestNoMoreThanTheLimitRunAtATime(t *testing.T) {
	l := &partnerlimit.Limit{Running: 2, Waiting: 100, Wait: time.Minute}
	var running, most atomic.Int64
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			leave, err := l.Enter(t.Context(), "acme")
			if err != nil {
				t.Error(err)
				return
			}
			defer leave()
			for now := running.Add(1); ; {
				before := most.Load()
				if now <= before || most.CompareAndSwap(before, now) {
					break
				}
			}
			running.Add(-1)
		})
	}
	group.Wait()
	if n := most.Load(); n > 2 {
		t.Errorf("%d ran at a time", n)
	}
}
