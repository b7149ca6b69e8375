package partners

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
	"github.com/seed-e88a4ece/signoff/publisher/operator"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// accountState is what is known of a partner's account on the servers.
type accountState struct {
	keys      []string        // of the studies that it lets through
	uncertain bool            // the last change of it failed
	secrets   []access.Secret // as of the last check of its connections
}

// reconcile makes consumers, accounts and connections match the directory: first what
// must end, of all partners, then what may begin. It ends early, with errChanged, when
// the directory changes meanwhile.
func (r *Reconciler) reconcile(ctx context.Context) error {
	select {
	case <-r.directory.Changed(): // is read now
	default:
	}
	directory := r.directory.Directory()
	granted := tenancy.EnabledPartners(directory)
	r.restrict(granted)
	withdrawn := r.withdraw(ctx, granted)
	if err := r.listConsumers(ctx, granted); err != nil {
		return errors.Join(withdrawn, err)
	}
	var err error
	for _, step := range []func(context.Context, map[string]tenancy.Partner) error{
		r.withdraw, // once more, with all consumers that are there
		r.compare, r.grant, r.examine, r.replaceLost, r.resize,
	} {
		if err = errors.Join(err, step(ctx, granted)); len(r.directory.Changed()) > 0 {
			err = errors.Join(err, errChanged) // something may have to end
			break
		}
	}
	err = errors.Join(err, r.storeReceipts(ctx, granted))
	if errors.Is(err, errChanged) {
		return err
	}
	return errors.Join(err, r.closeConnections(ctx, directory))
}

// restrict has logins refuse from now on what is no longer granted, and forgets what was
// acknowledged of it. Logins that are being answered are waited for.
func (r *Reconciler) restrict(granted map[string]tenancy.Partner) {
	wanted := wantedConsumers(granted)
	maps.DeleteFunc(r.acknowledged, func(name string, _ uint64) bool { return wanted[name].Name == "" })
	r.callout.Restrict(granted)
}

// withdraw ends what is no longer granted: consumers first, so that nothing is delivered
// again, then what accounts let through, then connections. A step that fails does not
// prevent the next.
func (r *Reconciler) withdraw(ctx context.Context, granted map[string]tenancy.Partner) error {
	started := r.cfg.Clock()
	surplus := r.surplus(granted)
	reduced := r.reduced(granted, surplus)
	if len(surplus)+len(reduced) == 0 {
		return nil
	}
	errs := []error{r.deleteConsumers(ctx, surplus), r.flushLogins(ctx)}
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(concurrency)
	for id, keys := range reduced {
		a := r.accounts[id]
		r.noteChange(id)
		group.Go(func() error {
			err := r.reduce(ctx, id, granted[id], a, keys)
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
			return nil
		})
	}
	_ = group.Wait() // they return none
	errs = append(errs, r.closeReduced(ctx, granted, reduced))
	for id := range reduced {
		r.recheckUntil[id] = r.cfg.Clock().Add(loginTimeout)
		if a := r.accounts[id]; !granted[id].Enabled && !a.uncertain {
			delete(r.accounts, id)
		}
		r.metrics.withdrawal.Observe(r.cfg.Clock().Sub(started).Seconds())
	}
	return errors.Join(errs...)
}

// reduced returns the partners from whom something is taken, with the keys of the studies
// that are left to them. Taken is a study, because it is no longer granted or its consumer
// is surplus, or a secret.
func (r *Reconciler) reduced(granted map[string]tenancy.Partner, surplus []string) map[string][]string {
	left := make(map[string][]string)
	isSurplus := make(map[string]bool, len(surplus))
	for _, name := range surplus {
		isSurplus[name] = true
	}
	for id, a := range r.accounts {
		p, enabled := granted[id]
		keys := slices.DeleteFunc(p.Intersect(a.keys), func(k string) bool { return isSurplus[events.PartnerConsumer(id, k)] })
		if !enabled || a.uncertain || len(keys) < len(a.keys) || !sameSecrets(a.secrets, p.Secrets) {
			left[id] = keys
		}
	}
	return left
}

// reduce leaves a partner no more than the studies with these keys. A partner that is not
// enabled is left nothing. The account of one is closed, not deleted: deleted while a
// server is away, it would come back from that server to all.
func (r *Reconciler) reduce(ctx context.Context, id string, p tenancy.Partner, a *accountState, keys []string) error {
	var err error
	switch {
	case !p.Enabled:
		err = r.setAccount(ctx, id, tenancy.ClosedAccount(id))
	case a.uncertain || len(keys) < len(a.keys):
		if err = r.setAccount(ctx, id, tenancy.AccountOf(id, keys, r.callout.Limits())); err == nil {
			a.keys = keys
		}
	}
	a.uncertain = err != nil
	return err
}

// closeReduced closes the connections of partners that were reduced which have more than
// is left.
func (r *Reconciler) closeReduced(ctx context.Context, granted map[string]tenancy.Partner, reduced map[string][]string) error {
	partners := make([]access.Partner, 0, len(reduced))
	for id := range reduced {
		p := granted[id].Partner
		p.ID = id
		partners = append(partners, p)
	}
	err := r.enforcer.CloseConnections(ctx, partners)
	if err == nil {
		for id := range reduced {
			r.accounts[id].secrets = granted[id].Secrets
		}
	}
	return err
}

// noteChange has the partner's account compared before those that changed earlier.
func (r *Reconciler) noteChange(id string) {
	r.lastChange++
	r.changes[id] = r.lastChange
}

func sameSecrets(a, b []access.Secret) bool {
	return slices.EqualFunc(a, b, func(a, b access.Secret) bool {
		return a.SHA256 == b.SHA256 && (a.Expires == nil) == (b.Expires == nil) && (a.Expires == nil || a.Expires.Equal(*b.Expires))
	})
}

// surplus names the consumers that must not exist: of nobody, of a study that is no longer
// granted, or with another configuration, such as one without a filter.
func (r *Reconciler) surplus(granted map[string]tenancy.Partner) []string {
	wanted := wantedConsumers(granted)
	var names []string
	for name, c := range r.consumers {
		if c.reported && !fits(c.config, wanted[name]) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// deleteConsumers deletes consumers, several at a time.
func (r *Reconciler) deleteConsumers(ctx context.Context, names []string) error {
	errs := make([]error, len(names))
	var group errgroup.Group
	group.SetLimit(concurrency)
	for i, name := range names {
		group.Go(func() error {
			errs[i] = r.deleteConsumer(ctx, name)
			return nil
		})
	}
	_ = group.Wait() // they return none
	for i, name := range names {
		if errs[i] == nil {
			delete(r.consumers, name)
			delete(r.storedReceipt, name)
		}
	}
	return errors.Join(errs...)
}

// setAccount has all servers store an account. Those that do not answer get it from
// compare, as soon as they do; until then their connections are checked often.
func (r *Reconciler) setAccount(ctx context.Context, id string, a tenancy.Account) error {
	ctx, cancel := context.WithTimeout(ctx, serverTimeout)
	defer cancel()
	var unanswered *operator.UnansweredError
	if err := r.servers.SetAccount(ctx, a); errors.As(err, &unanswered) {
		r.status.setUnanswered(unanswered.Servers)
	} else if err != nil {
		return fmt.Errorf("set account of %s: %w", id, err)
	}
	return nil
}

// grant creates for every partner what it is granted and does not have yet, as far as the
// capacity for consumers allows.
func (r *Reconciler) grant(ctx context.Context, granted map[string]tenancy.Partner) error {
	var errs []error
	for _, id := range slices.Sorted(maps.Keys(granted)) {
		errs = append(errs, r.admit(ctx, granted[id]))
		if len(r.directory.Changed()) > 0 {
			return errors.Join(errs...) // something may have to end
		}
	}
	r.reportCapacity(granted)
	return errors.Join(errs...)
}

// admit adds what the partner is granted and does not have: consumers first, then
// what its account lets through, then what its logins open.
func (r *Reconciler) admit(ctx context.Context, p tenancy.Partner) error {
	a, existed := r.accounts[p.ID]
	if !existed {
		a = &accountState{secrets: p.Secrets, uncertain: true}
	}
	ready, err := r.createConsumers(ctx, p)
	if errors.Is(err, errChanged) || err != nil && !existed && len(ready) == 0 {
		return err
	}
	keys := r.permitted(p)
	if a.uncertain || len(keys) > len(a.keys) {
		r.noteChange(p.ID)
		if setErr := r.setAccount(ctx, p.ID, tenancy.AccountOf(p.ID, keys, r.callout.Limits())); setErr != nil {
			return errors.Join(err, setErr)
		}
		a.keys, a.uncertain = keys, false
		r.accounts[p.ID] = a
	}
	if r.callout.Admit(p.ID, a.keys) && existed { // else the check of all connections is soon enough
		r.recheckUntil[p.ID] = r.cfg.Clock().Add(loginTimeout)
		err = errors.Join(err, r.flushLogins(ctx), r.enforcer.CloseConnections(ctx, []access.Partner{p.Partner}))
	}
	return err
}

// permitted returns the keys of the studies that the partner's account lets through. A
// study is let through also while its consumer is lost or cannot be created yet: clients
// wait for a consumer that does not exist, but take a study that is refused for one that
// is not granted. A study is refused whose consumer exceeds the capacity. What is let
// through already stays.
func (r *Reconciler) permitted(p tenancy.Partner) []string {
	permitted := slices.DeleteFunc(slices.Clone(p.Keys), func(k string) bool {
		return r.capacity.refusals[events.PartnerConsumer(p.ID, k)] != nil
	})
	if a := r.accounts[p.ID]; a != nil {
		permitted = append(permitted, a.keys...)
	}
	return p.Intersect(permitted)
}

// createConsumers creates the consumers that the partner lacks, several at a time, and
// returns the keys of the studies whose consumers exist. It starts no more of them once
// the directory has changed.
func (r *Reconciler) createConsumers(ctx context.Context, p tenancy.Partner) (ready []string, err error) {
	wanted := p.Consumers()
	infos, errs := make([]*jetstream.ConsumerInfo, len(wanted)), make([]error, len(wanted))
	var group errgroup.Group
	group.SetLimit(concurrency)
	for i, w := range wanted {
		if _, ok := r.consumers[w.Name]; ok {
			continue
		}
		if len(r.directory.Changed()) > 0 {
			errs[i] = errChanged
			break
		}
		group.Go(func() error {
			infos[i], errs[i] = r.capacity.try(w.Name, func() (*jetstream.ConsumerInfo, error) { return r.createConsumer(ctx, w) })
			return nil
		})
	}
	_ = group.Wait() // they return none
	asked := r.cfg.Clock()
	for i, w := range wanted {
		if infos[i] != nil {
			r.consumers[w.Name] = &consumerState{}
			r.update(w.Name, infos[i], nil, asked)
		}
		c := r.consumers[w.Name]
		if c != nil && c.reported && w.Key != "" {
			ready = append(ready, w.Key)
		}
	}
	return ready, errors.Join(errs...)
}
