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
	serverTimeout   = 5 * time.Second                 // of a request that withdraws nothing
	withdrawTimeout = 300 * time.Millisecond          // of a request that withdraws something
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
// end. What could not be set up yet stays refused meanwhile.
//
// Logins are answered once the directory reflects all that the stream held at the start and
// a first round has tried all partners, with or without errors. A round that failed before
// admitted nobody: logins would be refused that stay unanswered otherwise.
//
// The directory is outdated once it has met an event that only a newer version of the program
// understands. Then logins are not answered, all connections of partners are closed, and
// nothing else is changed: a consumer that the newer version created would look surplus.
func (r *Reconciler) Run(ctx context.Context) error {
	r.started = false
	loop := retry.Loop{Longest: longestRetry, Wait: r.wait}
	err := loop.Run(ctx, func(ctx context.Context, succeeded func()) error {
		for ctx.Err() == nil {
			err := r.round(ctx)
			switch {
			case errors.Is(err, events.Outdated):
				r.callout.Stop()
			case r.started && ctx.Err() == nil: // even after a failure: logins of partners not admitted yet are refused
				err = errors.Join(err, r.callout.Start())
			}
			r.report(ctx, err)
			switch {
			case errors.Is(err, errChanged): // the next round begins at once
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

// wait waits until d has passed, the directory changes, EndRequests asks for a round, or
// ctx ends. Meanwhile it checks the connections of partners whose access changed lately,
// and which servers answer. It returns at once when such a check fails or finds a server
// that may store other accounts than it should.
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
				// Begin a round at once. After errBehind it compares accounts; another
				// error it meets and reports itself, if it lasts.
				return
			}
		}
	}
}

// report stores the result of a round in the status and counts a failure. It logs a failure
// unless the round before failed in the same way. A round that a change of the directory
// ended has no result.
func (r *Reconciler) report(ctx context.Context, err error) {
	if ctx.Err() != nil || errors.Is(err, errChanged) {
		return
	}
	if err != nil {
		r.metrics.retries.Inc()
	}
	if err = retry.Readable(err); r.status.set(err) && err != nil {
		r.cfg.Log.Warn("partners' accounts and consumers do not match the directory yet; trying again", "cause", err)
	}
}

// round makes everything match the directory. It sets r.started after the first reconcile
// that tried all partners. While the directory is outdated, it only closes
// connections, and returns the Outdated Error.
func (r *Reconciler) round(ctx context.Context) error {
	if directory := r.directory.Directory(); directory.Current() != nil {
		return errors.Join(directory.Current(), r.flushLogins(ctx), r.closeConnections(ctx, directory))
	}
	if !r.started {
		if err := r.prepare(ctx); err != nil {
			return err
		}
	}
	err := r.reconcile(ctx)
	r.started = r.started || r.triedAll && !errors.Is(err, errChanged)
	return err
}

// prepare waits until the directory reflects all that the stream holds, and reads the stored
// receipts. It is called before the first reconcile.
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

// EndRequests ends the requests for events that wait at a consumer. It is called for a
// partner whose connections were closed: the server goes on with their requests until these
// expire. Requests end early only with their consumer. So EndRequests deletes it, and asks
// for a round, which creates it again after the last event known to be acknowledged. It is
// safe for concurrent use.
func (r *Reconciler) EndRequests(ctx context.Context, consumer string) error {
	if err := r.deleteConsumer(ctx, consumer); err != nil {
		return err
	}
	select {
	case r.again <- struct{}{}:
	default: // a round was asked for already
	}
	return nil
}

// flushLogins waits until the server has received all answers to logins sent so far, so that
// a list of connections shows what they opened.
func (r *Reconciler) flushLogins(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.withdrawTimeout)
	defer cancel()
	return r.callout.Flush(ctx)
}

// closeConnections closes the connections of all partners, removed ones too, that a login
// would not open now.
func (r *Reconciler) closeConnections(ctx context.Context, directory access.Directory) error {
	return r.enforcer.CloseConnections(ctx, directory.Partners())
}

// recheckConnections closes the connections that a login would not open now, of partners
// whose access changed less than loginTimeout ago. Before that time has passed, a login that
// was answered before the change may still open a connection.
func (r *Reconciler) recheckConnections(ctx context.Context) error {
	directory, now := r.directory.Directory(), r.cfg.Clock()
	maps.DeleteFunc(r.recheckUntil, func(_ string, until time.Time) bool { return now.After(until) })
	if len(r.recheckUntil) == 0 {
		return nil
	}
	var partners []access.Partner
	for id := range r.recheckUntil {
		p, _ := directory.Partner(id)
		p.ID = id // a partner that the directory does not know has no secret in force
		partners = append(partners, p)
	}
	return errors.Join(r.flushLogins(ctx), r.enforcer.CloseConnections(ctx, partners))
}
