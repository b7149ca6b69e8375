package partners

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/events/retry"
	"github.com/seed-e88a4ece/signoff/publisher/callout"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

const (
	serverTimeout   = 5 * time.Second                 // of a request, where nothing must end
	withdrawTimeout = 300 * time.Millisecond          // of a request, where something must
	loginTimeout    = tenancy.LoginWait + time.Second // by then a login has opened its connection or has failed
	recheckEvery    = 200 * time.Millisecond
	concurrency     = 16 // partners or consumers that are changed at the same time
	longestRetry    = 2 * time.Second
)

var (
	errChanged    = errors.New("access has changed meanwhile") // ends a round early
	errBehind     = errors.New("a NATS server may store other accounts than it should")
	errNotStarted = errors.New("not started")
	errStopped    = errors.New("stopped")
)

// Run reconciles until ctx ends, and returns nil then. What fails is tried again, without
// end; meanwhile it stays closed. Logins are answered once the directory reflects all that
// the stream held at the start and every account was set. While only a newer version knows
// the grants they are not answered, all connections of partners are closed, and nothing
// else is changed: something that the newer version made, such as a consumer, would
// belong to nobody here.
func (r *Reconciler) Run(ctx context.Context) error {
	started := false
	loop := retry.Loop{Longest: longestRetry, Wait: r.wait}
	err := loop.Run(ctx, func(ctx context.Context, succeeded func()) error {
		for ctx.Err() == nil {
			err := r.round(ctx, &started)
			switch {
			case errors.Is(err, events.Outdated):
				r.callout.Stop()
			case started && ctx.Err() == nil: // whatever else failed: who is not admitted yet is refused
				err = errors.Join(err, r.callout.Start())
			}
			r.report(ctx, err)
			switch {
			case errors.Is(err, errChanged):
			case err != nil:
				return err
			default:
				succeeded()
				r.wait(ctx, r.cfg.Interval)
			}
		}
		return nil
	})
	r.callout.Stop()
	r.status.set(errStopped)
	return err
}

// wait returns when the directory changes or another round is asked for, after d at the
// latest. Meanwhile it checks the connections of partners from whom something was
// withdrawn, and which servers there are.
func (r *Reconciler) wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	tick := time.NewTicker(recheckEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.directory.Changed():
			return
		case <-r.again:
			return
		case <-timer.C:
			return
		case <-tick.C:
			if errors.Join(r.recheckConnections(ctx), r.watchServers(ctx)) != nil {
				return // the next round compares accounts, or reports what lasts
			}
		}
	}
}

func (r *Reconciler) report(ctx context.Context, err error) {
	if ctx.Err() != nil || errors.Is(err, errChanged) {
		return
	}
	if err != nil {
		r.metrics.retries.Inc()
	}
	if r.status.set(err) && err != nil {
		r.cfg.Log.Warn("partners' accounts and consumers do not match the directory yet; trying again", "cause", err)
	}
}

// round makes everything match the directory. Started becomes true once every partner
// was tried.
func (r *Reconciler) round(ctx context.Context, started *bool) error {
	if directory := r.directory.Directory(); directory.Current() != nil {
		return errors.Join(directory.Current(), r.flushLogins(ctx), r.closeConnections(ctx, directory))
	}
	if !*started {
		if err := r.prepare(ctx); err != nil {
			return err
		}
	}
	err := r.reconcile(ctx)
	*started = *started || !errors.Is(err, errChanged)
	return err
}

// prepare waits for the latest directory and reads the receipts.
func (r *Reconciler) prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, serverTimeout)
	defer cancel()
	if err := callout.CatchUp(ctx, r.js, r.directory); err != nil {
		return err
	}
	stored, err := r.receipts.Receipts(ctx)
	if err != nil {
		return fmt.Errorf("read receipts: %w", err)
	}
	for _, receipt := range stored {
		r.acknowledged[consumerOf(receipt)] = receipt.Acknowledged
	}
	return nil
}

// EndRequests ends the requests for events that wait at a consumer of a partner without a
// connection. The server goes on with requests whose replies reach nobody, until they
// expire. They end only with their consumer: so it is deleted, and created again behind
// what was acknowledged.
func (r *Reconciler) EndRequests(ctx context.Context, consumer string) error {
	if err := r.deleteConsumer(ctx, consumer); err != nil {
		return err
	}
	select {
	case r.again <- struct{}{}:
	default: // there is another round anyway
	}
	return nil
}

// flushLogins waits until the server knows all answers to logins that were sent.
func (r *Reconciler) flushLogins(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, withdrawTimeout)
	defer cancel()
	return r.callout.Flush(ctx)
}

// closeConnections checks the connections of all partners, removed ones too.
func (r *Reconciler) closeConnections(ctx context.Context, directory access.Directory) error {
	return r.enforcer.CloseConnections(ctx, directory.Partners())
}

// recheckConnections checks the connections of partners from whom something was withdrawn
// less than loginTimeout ago.
func (r *Reconciler) recheckConnections(ctx context.Context) error {
	directory, now := r.directory.Directory(), r.cfg.Clock()
	maps.DeleteFunc(r.recheckUntil, func(_ string, until time.Time) bool { return now.After(until) })
	if len(r.recheckUntil) == 0 {
		return nil
	}
	var partners []access.Partner
	for id := range r.recheckUntil {
		p, _ := directory.Partner(id)
		p.ID = id
		partners = append(partners, p)
	}
	return errors.Join(r.flushLogins(ctx), r.enforcer.CloseConnections(ctx, partners))
}
