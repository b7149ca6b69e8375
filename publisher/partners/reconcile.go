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
	uncertain bool            // the servers may store another account: it was never set, or its last change failed
	secrets   []access.Secret // the partner's, when its connections were last checked against them
}

// reconcile makes consumers, accounts and connections match the directory. It first ends
// what is withdrawn, for all partners, and then sets up what is granted. It ends early, with
// errChanged, when the directory changes meanwhile.
func (r *Reconciler) reconcile(ctx context.Context) error {
	select {
	case <-r.directory.Changed(): // the directory is read next, with this change
	default:
	}
	directory := r.directory.Directory()
	granted := tenancy.EnabledPartners(directory)
	r.restrict(granted)
	withdrawn := r.withdraw(ctx, granted) // at once, with the consumers of the last round
	if err := r.listConsumers(ctx, granted); err != nil {
		return errors.Join(withdrawn, err)
	}
	err := r.withdraw(ctx, granted) // again, with the consumers just listed
	if revoked := directory.RevokedKeys(); r.started && !slices.Equal(revoked, r.revoked) {
		closed := errors.Join(r.flushLogins(ctx), r.closeConnections(ctx, directory))
		if closed == nil {
			r.revoked = revoked
		}
		err = errors.Join(err, closed)
	}
	if r.started && errors.Join(withdrawn, err) == nil {
		err = r.confirmWithdrawn(ctx, directory, granted)
	}
	for _, step := range []func(context.Context, map[string]tenancy.Partner) error{r.compare, r.grant, r.examine, r.replaceLost, r.resize} {
		if len(r.directory.Changed()) > 0 {
			break
		}
		err = errors.Join(err, step(ctx, granted))
	}
	if len(r.directory.Changed()) > 0 {
		err = errors.Join(err, errChanged) // a withdrawal must not wait for the other steps
	}
	err = errors.Join(err, r.storeReceipts(ctx, granted))
	if errors.Is(err, errChanged) {
		return err
	}
	if err = errors.Join(err, r.closeConnections(ctx, directory)); err == nil {
		r.status.setWithdrawn(directory)
	}
	return err
}

// confirmWithdrawn stores that the withdrawals of the directory are carried out. It is
// called when withdraw has had nothing left to do, so that a withdrawal does not wait for the
// other steps of a round, which may take long. It checks the connections of partners whose
// access changed lately once more. A consumer that should be gone and is still listed, as
// when its server does not answer, is an error.
func (r *Reconciler) confirmWithdrawn(ctx context.Context, directory access.Directory, granted map[string]tenancy.Partner) error {
	wanted := wantedConsumers(granted)
	for name := range r.consumers {
		if wanted[name].Name == "" {
			return events.Errorf(events.Unavailable, "consumer %s is to be deleted and does not answer", name)
		}
	}
	err := r.recheckConnections(ctx)
	if err == nil {
		r.status.setWithdrawn(directory)
	}
	return err
}

// restrict has logins refuse from now on what is no longer granted. It waits for logins that
// are being answered. It also forgets what was acknowledged of a withdrawn study: if it is
// granted again, it starts from its first event.
func (r *Reconciler) restrict(granted map[string]tenancy.Partner) {
	wanted := wantedConsumers(granted)
	maps.DeleteFunc(r.acknowledged, func(name string, _ uint64) bool { return wanted[name].Name == "" })
	r.callout.Restrict(granted)
}

// withdraw ends what is no longer granted. It deletes consumers first, so that they deliver
// nothing more, then changes the accounts, then closes connections. A step that fails does
// not prevent the next.
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
		r.recordChange(id)
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
			delete(r.accounts, id) // its account is closed
		}
		r.metrics.withdrawal.Observe(r.cfg.Clock().Sub(started).Seconds())
	}
	return errors.Join(errs...)
}

// reduced returns the partners whose account or connections may allow too much, with the keys
// of the studies that are left to them. These are partners that are not enabled, that lose a
// study or whose secrets changed, and those whose account is uncertain. A study is lost when
// it is no longer granted or its consumer is surplus.
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

// reduce changes the partner's account so that it lets through only the studies with these
// keys. If only secrets changed, the account stays as it is. The account of a partner that is
// not enabled is closed. It is not deleted, because a server that was away meanwhile would
// spread it to all servers again.
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

// closeReduced closes the connections of the reduced partners that a login would not open
// now, and stores the secrets that the connections were checked against.
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

// recordChange records that the partner's account changes now: compare takes it before those
// that changed earlier.
func (r *Reconciler) recordChange(id string) {
	r.lastChange++
	r.changes[id] = r.lastChange
}

// sameSecrets reports whether a and b have the same digests and ends, in the same order.
func sameSecrets(a, b []access.Secret) bool {
	return slices.EqualFunc(a, b, func(a, b access.Secret) bool {
		return a.SHA256 == b.SHA256 && (a.Expires == nil) == (b.Expires == nil) && (a.Expires == nil || a.Expires.Equal(*b.Expires))
	})
}

// surplus returns the names of the partners' consumers that must not exist: those that no
// partner should have, and those with another configuration, such as one without a filter.
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

// deleteConsumers deletes consumers, and forgets the state of those that were deleted.
func (r *Reconciler) deleteConsumers(ctx context.Context, names []string) error {
	errs := r.deleteEach(ctx, names)
	for i, name := range names {
		if errs[i] == nil {
			delete(r.consumers, name)
			delete(r.storedReceipt, name)
		}
	}
	return errors.Join(errs...)
}

// deleteEach deletes consumers, several at a time, and returns the error for each.
func (r *Reconciler) deleteEach(ctx context.Context, names []string) []error {
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
	return errs
}

// setAccount has all servers store an account. Servers that do not answer are no error:
// compare has them store it as soon as they answer, and until then watchServers checks
// their connections.
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

// grant sets up for every partner what it is granted and does not have yet, as far as the
// capacity for consumers allows, and reports what it refused. It ends early, without an
// error of its own, when the directory changes.
func (r *Reconciler) grant(ctx context.Context, granted map[string]tenancy.Partner) error {
	var errs []error
	for _, id := range slices.Sorted(maps.Keys(granted)) {
		errs = append(errs, r.admit(ctx, granted[id]))
		if len(r.directory.Changed()) > 0 {
			return errors.Join(errs...) // a withdrawal must not wait; reconcile adds errChanged
		}
	}
	r.triedAll = true
	r.reportCapacity(granted)
	return errors.Join(errs...)
}

// admit adds what the partner is granted and does not have: consumers first, then
// what its account lets through, then what its logins open. So no login opens a study that
// the account refuses.
func (r *Reconciler) admit(ctx context.Context, p tenancy.Partner) error {
	a, existed := r.accounts[p.ID]
	if !existed {
		a = &accountState{secrets: p.Secrets, uncertain: true}
	}
	ready, err := r.createConsumers(ctx, p)
	if errors.Is(err, errChanged) || err != nil && !existed && len(ready) == 0 { // a new partner for whom no study could be prepared
		return err
	}
	keys := r.permitted(p)
	if a.uncertain || len(keys) > len(a.keys) {
		r.recordChange(p.ID)
		if setErr := r.setAccount(ctx, p.ID, tenancy.AccountOf(p.ID, keys, r.callout.Limits())); setErr != nil {
			return errors.Join(err, setErr)
		}
		a.keys, a.uncertain = keys, false
		r.accounts[p.ID] = a
	}
	if r.callout.Admit(p.ID, a.keys) && existed { // connections of a new account are checked at the end of the round
		r.recheckUntil[p.ID] = r.cfg.Clock().Add(loginTimeout)
		err = errors.Join(err, r.flushLogins(ctx), r.enforcer.CloseConnections(ctx, []access.Partner{p.Partner}))
	}
	return err
}

// permitted returns the keys of the granted studies that the partner's account should let
// through. It leaves out studies whose consumers exceed the capacity, unless the account lets
// them through already. It includes studies whose consumers are lost or cannot be created
// yet: clients wait for a consumer that does not exist, but take a refused study for one that
// is not granted.
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
// returns the keys of the studies whose consumers are known to exist. A consumer beyond the
// capacity is left out without an error. Once the directory has changed it creates no more
// of them and returns errChanged.
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
