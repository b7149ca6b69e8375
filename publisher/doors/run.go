package doors

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/retry"
)

const (
	patience     = 5 * time.Second                // with the broker, where nothing must end
	withdrawWait = 300 * time.Millisecond         // with the broker, where something must
	loginTimeout = events.LoginWait + time.Second // by then a connection is there, or its login failed
	watchEvery   = 200 * time.Millisecond
	atOnce       = 16 // partners or consumers
	loginSubject = "$SYS.REQ.USER.AUTH"
	longestRetry = 2 * time.Second
)

var (
	errChanged    = errors.New("access has changed meanwhile") // ends a pass early
	errNotStarted = errors.New("not started")
	errStopped    = errors.New("stopped")
)

// Run keeps the doors until ctx ends, and returns nil then. What fails is tried
// again, without end; meanwhile it stays closed. Logins are answered once the
// directory holds all that the stream held at the start, and every account was
// built. They are not answered, all connections of partners are closed and nothing
// else is changed while only a newer version knows who may come in: what it made,
// such as a consumer, would be in nobody's grants here.
func (d *Doors) Run(ctx context.Context) error {
	var watching sync.WaitGroup
	watching.Go(func() { d.watchTraffic(ctx) })
	defer watching.Wait()
	var logins *nats.Subscription
	begun := false
	loop := retry.Loop{Longest: longestRetry, Wait: d.await}
	err := loop.Run(ctx, func(ctx context.Context, succeeded func()) error {
		for ctx.Err() == nil {
			err := d.look(ctx, &begun)
			switch {
			case errors.Is(err, events.Outdated) && logins != nil:
				_ = logins.Unsubscribe() // the connection may be closed already
				logins = nil
			case errors.Is(err, events.Outdated):
			case begun && logins == nil && ctx.Err() == nil:
				logins, err = d.open(err)
			}
			d.report(ctx, err)
			switch {
			case errors.Is(err, errChanged):
			case err != nil:
				return err
			default:
				succeeded()
				d.await(ctx, d.cfg.Interval)
			}
		}
		return nil
	})
	if logins != nil {
		_ = logins.Unsubscribe() // the connection may be closed already
	}
	d.status.set(errStopped)
	return err
}

// open begins to answer logins, whatever else is left to do: who is not
// admitted yet is refused.
func (d *Doors) open(err error) (*nats.Subscription, error) {
	logins, subscribeErr := d.nc.QueueSubscribe(loginSubject, events.LoginQueue, d.answer)
	if subscribeErr != nil {
		return nil, errors.Join(err, fmt.Errorf("answer logins: %w", subscribeErr))
	}
	if flushErr := d.nc.FlushTimeout(patience); flushErr != nil { // the broker asks from now on
		_ = logins.Unsubscribe() // the connection may be closed already
		return nil, errors.Join(err, fmt.Errorf("answer logins: %w", flushErr))
	}
	return logins, err
}

// await waits until the directory changes or a consumer was deleted to be made
// again, and as long as wait at most. It keeps looking at the connections that
// were to be closed a moment ago.
func (d *Doors) await(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.log.Changed():
			return
		case <-d.again:
			return
		case <-timer.C:
			return
		case <-tick.C:
			if d.sweepWatched(ctx) != nil {
				return // which shows in the next look, if it lasts
			}
		}
	}
}

func (d *Doors) report(ctx context.Context, err error) {
	if ctx.Err() != nil || errors.Is(err, errChanged) {
		return
	}
	if err != nil {
		d.metrics.retries.Inc()
	}
	if d.status.set(err) && err != nil {
		d.cfg.Log.Warn("doors wait and try again", "cause", err)
	}
}

// look makes everything as the directory has it now. Begun turns true once
// everything was tried.
func (d *Doors) look(ctx context.Context, begun *bool) error {
	if directory := d.log.Directory(); directory.Current() != nil {
		return errors.Join(directory.Current(), d.flush(ctx), d.sweepAll(ctx, directory))
	}
	if !*begun {
		if err := d.begin(ctx); err != nil {
			return err
		}
	}
	err := d.pass(ctx)
	*begun = *begun || !errors.Is(err, errChanged)
	return err
}

// wholeTo returns where the stream ends. While it is being filled again it is an
// error: its beginning grants what was revoked later, and consumers that are behind
// its end cannot be made.
func wholeTo(stream jetstream.Stream) (last uint64, err error) {
	info := stream.CachedInfo()
	last = info.State.LastSeq
	if end := events.StreamEnd(info.Config.Metadata, last); end > last {
		return last, events.Errorf(events.Unavailable, "the stream is being filled again: it holds %d of %d events", last, end)
	}
	return last, nil
}

// begin waits for a directory that holds all that the stream holds: an older
// one knows grants that were withdrawn since.
func (d *Doors) begin(ctx context.Context) error {
	short, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	stream, err := d.js.Stream(short, events.Stream)
	if err != nil {
		return fmt.Errorf("look at stream: %w", err)
	}
	last, err := wholeTo(stream)
	if err != nil {
		return err
	}
	if err := d.log.WaitFor(short, last); err != nil {
		return fmt.Errorf("wait for all that is in the stream: %w", err)
	}
	stored, err := d.receipts.Receipts(short)
	if err != nil {
		return fmt.Errorf("read receipts: %w", err)
	}
	for _, r := range stored {
		d.floors[consumerOf(r)] = r.Acknowledged
	}
	return nil
}
