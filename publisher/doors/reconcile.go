package doors

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
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
	select {
	case <-d.log.Changed(): // is seen now
	default:
	}
	directory := d.log.Directory()
	all := guests(directory)
	d.restrict(all)
	ended := d.withdraw(ctx, all)
	if err := d.list(ctx, all); err != nil {
		return errors.Join(ended, err)
	}
	var err error
	for _, step := range []func(context.Context, map[string]guest) error{
		d.withdraw, // once more, with all that is there
		d.grant, d.examine, d.replaceLost, d.resize,
	} {
		if err = errors.Join(err, step(ctx, all)); len(d.log.Changed()) > 0 {
			err = errors.Join(err, errChanged) // something may have to end
			break
		}
	}
	err = errors.Join(err, d.note(ctx, all))
	if errors.Is(err, errChanged) {
		return err
	}
	return errors.Join(err, d.sweepAll(ctx, directory))
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
	fewer := d.fewer(all, gone)
	if len(gone)+len(fewer) == 0 {
		return nil
	}
	errs := []error{d.removeAll(ctx, gone), d.flush(ctx)}
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(atOnce)
	for id, tokens := range fewer {
		h := d.accounted[id]
		group.Go(func() error {
			err := d.reduce(ctx, id, all[id], h, tokens)
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
			return nil
		})
	}
	_ = group.Wait() // they return none
	for id := range fewer {
		d.watched[id] = d.cfg.Clock().Add(loginTimeout)
		if h := d.accounted[id]; !all[id].Enabled && !h.unsure {
			delete(d.accounted, id)
		}
		d.metrics.withdrawal.Observe(d.cfg.Clock().Sub(started).Seconds())
	}
	return errors.Join(errs...)
}

// fewer returns what is left to those partners from whom something is taken: a
// study, because it is granted no more or its consumer has to go, or a secret.
func (d *Doors) fewer(all map[string]guest, gone []string) map[string][]string {
	left := make(map[string][]string)
	isGone := make(map[string]bool, len(gone))
	for _, name := range gone {
		isGone[name] = true
	}
	for id, h := range d.accounted {
		g, enabled := all[id]
		tokens := slices.DeleteFunc(g.both(h.tokens), func(t string) bool { return isGone[events.PartnerConsumer(id, t)] })
		if !enabled || h.unsure || len(tokens) < len(h.tokens) || !sameSecrets(h.secrets, g.Secrets) {
			left[id] = tokens
		}
	}
	return left
}

// reduce leaves a partner no more than the studies with these tokens, and
// closes the connections that had more. A guest that is none gets nothing.
func (d *Doors) reduce(ctx context.Context, id string, g guest, h *held, tokens []string) error {
	var err error
	switch {
	case !g.Enabled:
		err = d.setAccount(ctx, id, events.ClosedAccount(id))
	case h.unsure || len(tokens) < len(h.tokens):
		if err = d.setAccount(ctx, id, events.PartnerAccountOf(id, tokens, d.cfg.Limits)); err == nil {
			h.tokens = tokens
		}
	}
	h.unsure = err != nil
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
	for name, e := range d.stock {
		if e.seen && !wanted[name].fits(e.config) {
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
	group.SetLimit(atOnce)
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

// grant makes for every guest what it may read and does not have yet, as far as there
// is room.
func (d *Doors) grant(ctx context.Context, all map[string]guest) error {
	d.findRoom(all)
	var errs []error
	for _, id := range slices.Sorted(maps.Keys(all)) {
		errs = append(errs, d.admit(ctx, all[id]))
		if len(d.log.Changed()) > 0 {
			return errors.Join(errs...) // something may have to end
		}
	}
	d.tellRoom(all)
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
	if errors.Is(err, errChanged) || err != nil && !told && len(ready) == 0 {
		return err
	}
	// A study is let through also while its consumer is lost or cannot be made yet:
	// the partner waits for a consumer that is not there, but takes a study that is
	// refused to it for one that is not granted. One for whose consumer there is no
	// room is refused. What is let through already stays.
	permitted := slices.DeleteFunc(slices.Clone(g.tokens), func(t string) bool {
		return d.room.refusals[events.PartnerConsumer(g.ID, t)] != nil
	})
	tokens := g.both(append(permitted, h.tokens...))
	if h.unsure || len(tokens) > len(h.tokens) {
		if setErr := d.setAccount(ctx, g.ID, events.PartnerAccountOf(g.ID, tokens, d.cfg.Limits)); setErr != nil {
			return errors.Join(err, setErr)
		}
		h.tokens, h.unsure = tokens, false
		d.accounted[g.ID] = h
	}
	if d.openTo(g.ID, h.tokens) && told { // else the look at all connections is soon enough
		d.watched[g.ID] = d.cfg.Clock().Add(loginTimeout)
		err = errors.Join(err, d.flush(ctx), d.sweep(ctx, g.ID, g.Partner))
	}
	return err
}

// createAll makes the consumers that the guest lacks, several at a time, and
// returns the tokens of the studies whose consumers are there. It begins no more
// of them once the directory has changed.
func (d *Doors) createAll(ctx context.Context, g guest) (ready []string, err error) {
	wants := g.wants()
	infos, errs := make([]*jetstream.ConsumerInfo, len(wants)), make([]error, len(wants))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, w := range wants {
		if _, ok := d.stock[w.name]; ok {
			continue
		}
		if len(d.log.Changed()) > 0 {
			errs[i] = errChanged
			break
		}
		group.Go(func() error {
			infos[i], errs[i] = d.room.try(w.name, func() (*jetstream.ConsumerInfo, error) { return d.create(ctx, w) })
			return nil
		})
	}
	_ = group.Wait() // they return none
	asked := d.cfg.Clock()
	for i, w := range wants {
		if infos[i] != nil {
			d.stock[w.name] = &entry{}
			d.enter(w.name, infos[i], nil, asked)
		}
		e := d.stock[w.name]
		if e != nil && e.seen && w.token != "" {
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
