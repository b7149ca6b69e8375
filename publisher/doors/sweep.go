package doors

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/events/retry"
)

// sweep closes those connections of a partner that a login would not open now
// as they are: by a secret that is not in force any more, or with other
// studies, or of a partner that is out, or all of them while only a newer version
// knows who may come in. Their clients come back with what they have now.
func (d *Doors) sweep(ctx context.Context, id string, p access.Partner) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	d.gate.RLock()
	tokens, admitted := d.admitted[id]
	d.gate.RUnlock()
	connections, err := d.connections(ctx, events.PartnerAccountPrefix+id)
	if err != nil {
		return fmt.Errorf("list connections of %s: %w", id, err)
	}
	outdated := d.log.Directory().Current() != nil
	out := d.allowance.out(id, d.cfg.Clock())
	var errs []error
	for _, c := range connections {
		cause := d.amiss(c, p, grantsOf(tokens))
		switch {
		case outdated:
			cause = notKnown
		case out:
			cause = tooMuch
		case !admitted:
			cause = notAdmitted
		case cause == "":
			continue
		}
		if err := d.accounts.Disconnect(ctx, c); err != nil {
			errs = append(errs, fmt.Errorf("close a connection of %s: %w", id, err))
			continue
		}
		d.metrics.closed.WithLabelValues(cause).Inc()
		d.cfg.Log.Info("connection closed", "partner", id, "connection", c.ID, "cause", cause)
	}
	return errors.Join(errs...)
}

// naming is how long at the most the broker takes from entering a connection in
// its account to giving it the name that the answer to its login has.
const naming = 100 * time.Millisecond

// connections lists those of an account. One that does not have its name yet is
// given the time to get it; another that has come meanwhile is left for later.
func (d *Doors) connections(ctx context.Context, account string) ([]events.Connection, error) {
	unnamed := func(c events.Connection) bool {
		_, ok := parsePass(c.User)
		return !ok
	}
	before, err := d.accounts.Connections(ctx, account)
	if err != nil || !slices.ContainsFunc(before, unnamed) {
		return before, err
	}
	if err := retry.Sleep(ctx, naming); err != nil {
		return nil, err
	}
	now, err := d.accounts.Connections(ctx, account)
	return slices.DeleteFunc(now, func(c events.Connection) bool { return unnamed(c) && !slices.Contains(before, c) }), err
}

// flush makes the broker of this connection take all answers to logins that
// were given so far, so that a look at connections finds what they opened. What
// other brokers of a cluster take later is found by looking again until logins
// there have timed out.
func (d *Doors) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, withdrawWait)
	defer cancel()
	if err := d.nc.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("wait for answers to logins: %w", err)
	}
	return nil
}

// amiss says why a login of the partner would not open the connection as it is, or
// nothing.
func (d *Doors) amiss(c events.Connection, p access.Partner, grants string) string {
	was, ok := parsePass(c.User)
	if !ok || was.partner != p.ID {
		return foreign
	}
	if _, ok := p.InForce(was.secret, d.cfg.Clock()); !ok {
		return oldSecret
	}
	if was.grants != grants {
		return otherStudies
	}
	return ""
}

// sweepAll looks at the connections of all partners, removed ones too. It gives
// way when the directory changes.
func (d *Doors) sweepAll(ctx context.Context, directory access.Directory) error {
	partners := directory.Partners()
	errs := make([]error, len(partners))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, p := range partners {
		if len(d.log.Changed()) > 0 {
			break
		}
		group.Go(func() error {
			errs[i] = d.sweep(ctx, p.ID, p)
			return nil
		})
	}
	_ = group.Wait() // they return none
	return errors.Join(errs...)
}

// sweepWatched looks at the connections of partners of whom something was
// withdrawn a moment ago.
func (d *Doors) sweepWatched(ctx context.Context) error {
	directory, now := d.log.Directory(), d.cfg.Clock()
	maps.DeleteFunc(d.watched, func(_ string, until time.Time) bool { return now.After(until) })
	if len(d.watched) == 0 {
		return nil
	}
	errs := []error{d.flush(ctx)}
	for id := range d.watched {
		p, _ := directory.Partner(id)
		errs = append(errs, d.sweep(ctx, id, p))
	}
	return errors.Join(errs...)
}
