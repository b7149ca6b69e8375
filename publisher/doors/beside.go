package doors

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/retry"
)

// freshFor is how long a directory counts as the latest once it was found to be.
// It bounds what many logins cost the broker.
const freshFor = 250 * time.Millisecond

// freshWait is for the broker to say how long the stream is, and for the
// directory to hold that; most clients wait 2 s for an answer to their login.
const freshWait = 1500 * time.Millisecond

// beside is about doors that only answer logins.
type beside struct {
	is    bool
	mu    sync.Mutex
	until time.Time // the directory counts as the latest
}

// Answer answers logins beside other doors that Run on the same log, on another
// machine perhaps, until ctx ends, and returns nil then. It makes no consumers
// and sets no accounts; it closes no connections either: those that Run close
// what was opened with more than is granted. Accounts and Receipts are not used.
//
// It answers by no directory that may be out of date, but only if it holds all
// that the stream holds at the time of the login, and the stream is not being
// filled again. While that is not so, or cannot be found out, or only a newer
// version knows who may come in, it does not answer at all: others may, and
// clients try on, where two refusals would be the end.
func (d *Doors) Answer(ctx context.Context) error {
	d.beside.is = true
	others, err := d.nc.Subscribe(events.PutOutSubject, d.hearOut)
	if err != nil {
		return fmt.Errorf("hear who is out: %w", err)
	}
	var logins *nats.Subscription
	defer func() {
		_ = others.Unsubscribe() // the connection may be closed already
		if logins != nil {
			_ = logins.Unsubscribe()
		}
		d.status.set(errStopped)
	}()
	loop := retry.Loop{Longest: longestRetry, Wait: d.await}
	return loop.Run(ctx, func(ctx context.Context, succeeded func()) error {
		for ctx.Err() == nil {
			err := d.fresh(ctx)
			switch {
			case err == nil && logins == nil:
				logins, err = d.open(nil)
			case err != nil && logins != nil:
				_ = logins.Unsubscribe()
				logins = nil
			}
			d.report(ctx, err)
			if err != nil {
				return err
			}
			succeeded()
			d.await(ctx, d.cfg.Interval)
		}
		return nil
	})
}

// fresh makes sure that the directory holds all that the stream holds, and that
// this version knows what that means. While the stream is being filled again that
// does not count: its beginning grants what was revoked later.
func (d *Doors) fresh(ctx context.Context) error {
	b := &d.beside
	b.mu.Lock()
	defer b.mu.Unlock()
	asked := d.cfg.Clock()
	if asked.Before(b.until) {
		return d.log.Directory().Current()
	}
	ctx, cancel := context.WithTimeout(ctx, freshWait)
	defer cancel()
	stream, err := d.js.Stream(ctx, events.Stream)
	if err != nil {
		return fmt.Errorf("look at stream: %w", err)
	}
	last, err := wholeTo(stream)
	if err != nil {
		return err
	}
	if err := d.log.WaitFor(ctx, last); err != nil {
		return fmt.Errorf("wait for all that is in the stream: %w", err)
	}
	b.until = asked.Add(freshFor)
	return d.log.Directory().Current()
}

// admittedTo returns the studies that a login of the guest may open; not ok: it
// opens nothing.
func (d *Doors) admittedTo(g guest) (tokens []string, ok bool) {
	if d.beside.is {
		return g.tokens, true
	}
	tokens, ok = d.admitted[g.ID]
	return tokens, ok
}
