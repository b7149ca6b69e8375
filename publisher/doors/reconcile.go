package doors

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
)

// held is what is known of a partner's account on the broker.
type held struct {
	tokens  []string        // of the studies that it lets through
	unsure  bool            // the last change of it failed
	secrets []access.Secret // as of the last look at its connections
}

// pass makes consumers, accounts and connections as the directory has them:
// first what must end, of all partners, then what may begin. It ends early,
// with errChanged, when the directory changes meanwhile.
func (d *Doors) pass(ctx context.Context) error {
	directory := d.log.Directory()
	all := guests(directory)
	d.restrict(all)
	ended := d.withdraw(ctx, all)
	infos, err := d.list(ctx, all)
	if err != nil {
		return errors.Join(ended, err)
	}
	return errors.Join(
		d.withdraw(ctx, all), // once more, with all that is there
		d.grant(ctx, all),
		d.note(ctx, all, infos),
		d.sweepAll(ctx, directory),
	)
}

// restrict has logins refuse from now on what is granted no more. Logins that
// are being answered are waited for.
func (d *Doors) restrict(all map[string]guest) {
	wanted := names(all)
	maps.DeleteFunc(d.floors, func(name string, _ uint64) bool { return wanted[name].name == "" })
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

// withdraw ends what is granted no more: consumers first, so that nothing is
// delivered again, then what accounts let through, then connections. A step
// that fails does not keep back the next.
func (d *Doors) withdraw(ctx context.Context, all map[string]guest) error {
	started := d.cfg.Clock()
	gone := d.surplus(all)
	errs := []error{d.removeAll(ctx, gone)}
	for _, id := range slices.Sorted(maps.Keys(d.accounted)) {
		g, enabled := all[id]
		h := d.accounted[id]
		fewer := slices.DeleteFunc(g.both(h.tokens), func(t string) bool { return slices.Contains(gone, events.PartnerConsumer(id, t)) })
		if enabled && !h.unsure && len(fewer) == len(h.tokens) && sameSecrets(h.secrets, g.Secrets) {
			continue
		}
		errs = append(errs, d.reduce(ctx, id, g, fewer))
		d.metrics.withdrawal.Observe(d.cfg.Clock().Sub(started).Seconds())
	}
	return errors.Join(errs...)
}

// reduce leaves a partner no more than the studies with these tokens, and
// closes the connections that had more. A guest that is none has no account.
func (d *Doors) reduce(ctx context.Context, id string, g guest, tokens []string) error {
	h := d.accounted[id]
	var err error
	switch {
	case !g.Enabled:
		if err = d.setAccount(ctx, id, events.ClosedAccount(id)); err == nil {
			delete(d.accounted, id)
		}
	case h.unsure || len(tokens) < len(h.tokens):
		if err = d.setAccount(ctx, id, events.PartnerAccountOf(id, tokens, d.cfg.Limits)); err == nil {
			h.tokens = tokens
		}
	}
	h.unsure = err != nil
	d.watched[id] = d.cfg.Clock().Add(loginTimeout)
	swept := d.sweep(ctx, id, g.Partner)
	if swept == nil {
		h.secrets = g.Secrets
	}
	return errors.Join(err, swept)
}

func sameSecrets(a, b []access.Secret) bool {
	return slices.EqualFunc(a, b, func(a, b access.Secret) bool {
		return a.SHA256 == b.SHA256 && (a.Expires == nil) == (b.Expires == nil) && (a.Expires == nil || a.Expires.Equal(*b.Expires))
	})
}

// surplus names the consumers that must not be: of nobody, of a study that is
// granted no more, or of another form, such as one without a filter.
func (d *Doors) surplus(all map[string]guest) []string {
	wanted := names(all)
	var gone []string
	for name, c := range d.stock {
		if !wanted[name].fits(c) {
			gone = append(gone, name)
		}
	}
	slices.Sort(gone)
	return gone
}

// removeAll deletes consumers, several at a time.
func (d *Doors) removeAll(ctx context.Context, gone []string) error {
	errs := make([]error, len(gone))
	var group errgroup.Group
	group.SetLimit(16)
	for i, name := range gone {
		group.Go(func() error {
			errs[i] = d.remove(ctx, name)
			return nil
		})
	}
	_ = group.Wait() // they return none
	for i, name := range gone {
		if errs[i] == nil {
			delete(d.stock, name)
			delete(d.noted, name)
		}
	}
	return errors.Join(errs...)
}

func (d *Doors) setAccount(ctx context.Context, id string, a events.Account) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := d.accounts.SetAccount(ctx, a); err != nil {
		return fmt.Errorf("set account of %s: %w", id, err)
	}
	return nil
}

// grant gives every guest what it may read and does not have yet.
func (d *Doors) grant(ctx context.Context, all map[string]guest) error {
	var errs []error
	for _, id := range slices.Sorted(maps.Keys(all)) {
		errs = append(errs, d.admit(ctx, all[id]))
		select {
		case <-d.log.Changed():
			return errChanged // something may have to end
		default:
		}
	}
	return errors.Join(errs...)
}

// admit makes what the guest needs and does not have: consumers first, then
// what its account lets through, then what logins open.
func (d *Doors) admit(ctx context.Context, g guest) error {
	h, told := d.accounted[g.ID]
	if !told {
		h = &held{secrets: g.Secrets, unsure: true}
	}
	ready, err := d.createAll(ctx, g)
	if err != nil && !told && len(ready) == 0 {
		return err
	}
	// What is let through already stays, also while its consumer is lost.
	tokens := g.both(append(ready, h.tokens...))
	if h.unsure || len(tokens) > len(h.tokens) {
		if setErr := d.setAccount(ctx, g.ID, events.PartnerAccountOf(g.ID, tokens, d.cfg.Limits)); setErr != nil {
			return errors.Join(err, setErr)
		}
		h.tokens, h.unsure = tokens, false
		d.accounted[g.ID] = h
	}
	if d.openTo(g.ID, h.tokens) {
		d.watched[g.ID] = d.cfg.Clock().Add(loginTimeout)
		err = errors.Join(err, d.sweep(ctx, g.ID, g.Partner))
	}
	return err
}

// createAll makes the consumers that the guest lacks, and gives the tokens of
// the studies whose consumers are there.
func (d *Doors) createAll(ctx context.Context, g guest) (ready []string, err error) {
	var errs []error
	for _, w := range g.wants() {
		if _, ok := d.stock[w.name]; !ok {
			if err := d.create(ctx, w); err != nil {
				errs = append(errs, err)
				continue
			}
		}
		if w.token != "" {
			ready = append(ready, w.token)
		}
	}
	return ready, errors.Join(errs...)
}

// openTo has logins of the partner open the studies, and reports whether they
// did not before.
func (d *Doors) openTo(id string, tokens []string) bool {
	d.gate.Lock()
	defer d.gate.Unlock()
	before, ok := d.admitted[id]
	d.admitted[id] = tokens
	return !ok || !slices.Equal(before, tokens)
}
