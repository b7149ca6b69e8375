package doors

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
)

// pass makes consumers, accounts and connections as the directory has them:
// first what must end, of all partners, then what may begin. It ends early,
// with errChanged, when the directory changes before all has begun.
func (d *Doors) pass(ctx context.Context) error {
	noticed := d.cfg.Clock()
	all := guests(d.log.Directory())
	d.restrict(all)
	withdrawn, err := d.withdraw(ctx, all)
	if withdrawn {
		d.metrics.withdrawal.Observe(d.cfg.Clock().Sub(noticed).Seconds())
	}
	infos, listErr := d.list(ctx, all)
	if listErr != nil {
		return errors.Join(err, listErr)
	}
	// Once more, with what was not known to be there.
	_, againErr := d.withdraw(ctx, all)
	err = errors.Join(againErr, d.grant(ctx, all), d.note(ctx, all, infos))
	return errors.Join(err, d.sweepAll(ctx, all))
}

// restrict has logins refuse from now on what is granted no more. Logins that
// are being answered are waited for.
func (d *Doors) restrict(all map[string]guest) {
	d.gate.Lock()
	defer d.gate.Unlock()
	for id, tokens := range d.admitted {
		if g, ok := all[id]; ok {
			d.admitted[id] = g.both(tokens)
		} else {
			delete(d.admitted, id)
		}
	}
}

// withdraw ends what is granted no more and reports whether there was any:
// consumers first, so that nothing is delivered again, then what the account
// lets through, then the connections. What fails does not keep the rest.
func (d *Doors) withdraw(ctx context.Context, all map[string]guest) (any bool, err error) {
	gone := d.surplus(all)
	any = len(gone) > 0
	err = d.removeAll(ctx, gone)
	for _, id := range slices.Sorted(maps.Keys(d.set)) {
		g, enabled := all[id]
		fewer := events.ClosedAccount(id)
		if enabled {
			fewer = events.PartnerAccountOf(id, g.both(d.let(id, gone)), d.cfg.Limits)
		}
		lost := !reflect.DeepEqual(fewer, d.set[id])
		if !lost && sameSecrets(g.Secrets, d.secrets[id]) {
			continue
		}
		any = true
		if lost {
			err = errors.Join(err, d.setAccount(ctx, id, fewer))
		}
		d.watched[id] = d.cfg.Clock().Add(loginTimeout)
		err = errors.Join(err, d.sweep(ctx, id, g))
	}
	return any, err
}

// surplus names the consumers that must not be: of nobody, of a study that is
// granted no more, or of another form, such as one without a filter.
func (d *Doors) surplus(all map[string]guest) []string {
	right := make(map[string]bool)
	for _, g := range all {
		for _, w := range g.wants() {
			c, ok := d.stock[w.name]
			right[w.name] = ok && w.fits(c)
		}
	}
	var gone []string
	for name := range d.stock {
		if !right[name] {
			gone = append(gone, name)
		}
	}
	slices.Sort(gone)
	return gone
}

// removeAll deletes consumers, several at a time.
func (d *Doors) removeAll(ctx context.Context, names []string) error {
	errs := make([]error, len(names))
	var group errgroup.Group
	group.SetLimit(16)
	for i, name := range names {
		group.Go(func() error {
			errs[i] = d.remove(ctx, name, withdrawWait)
			return nil
		})
	}
	_ = group.Wait() // they return none
	for i, name := range names {
		if errs[i] == nil {
			delete(d.stock, name)
		}
		delete(d.noted, name)
	}
	return errors.Join(errs...)
}

// let gives the studies that the partner's account lets through, but for those
// whose consumers have to go.
func (d *Doors) let(id string, gone []string) []string {
	var tokens []string
	for token, consumer := range d.through(id) {
		if !slices.Contains(gone, consumer) {
			tokens = append(tokens, token)
		}
	}
	return tokens
}

// setAccount tells Accounts. Where that fails the account counts as one of
// which nothing is known, so that it is told again.
func (d *Doors) setAccount(ctx context.Context, id string, a events.Account) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := d.accounts.SetAccount(ctx, a); err != nil {
		d.set[id] = events.Account{}
		return fmt.Errorf("set account of %s: %w", id, err)
	}
	d.set[id] = a
	return nil
}

// grant gives every guest what it may read and does not have yet.
func (d *Doors) grant(ctx context.Context, all map[string]guest) error {
	var errs []error
	for _, id := range slices.Sorted(maps.Keys(all)) {
		if err := d.admit(ctx, all[id]); err != nil {
			errs = append(errs, err)
		}
		select {
		case <-d.log.Changed():
			return errChanged // something may have to end
		default:
		}
	}
	return errors.Join(errs...)
}
