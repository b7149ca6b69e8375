package partners

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/publisher/operator"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// comparePause times the duration of a comparison of all accounts is the least time until
// the next one.
const comparePause = 20

// compare has all servers store the accounts as they should be. It does so at the start,
// when a server is behind, and every CompareInterval, because a server's file may be torn
// or forged. Otherwise it only checks which servers answer. Accounts that changed last come
// first, so that a server that was away learns of a withdrawal as early as it can.
//
// No account may be set during a comparison. So compare ends early, with errChanged, when
// the directory changes. It also plans the capacity for consumers of this round, by which
// it and grant decide what an account lets through.
func (r *Reconciler) compare(ctx context.Context, granted map[string]tenancy.Partner) error {
	r.planCapacity(granted)
	servers, err := r.checkServers(ctx)
	if err != nil {
		return err
	}
	started := r.cfg.Clock()
	if len(servers.Behind) == 0 && started.Before(r.nextCompare) {
		return nil
	}
	directory := r.directory.Directory()
	partners := directory.Partners()
	slices.SortStableFunc(partners, func(a, b access.Partner) int { return cmp.Compare(r.changes[b.ID], r.changes[a.ID]) })
	accounts := make([]tenancy.Account, 0, len(partners))
	states := make(map[string]*accountState)
	for _, p := range partners {
		switch g, ok := granted[p.ID]; {
		case ok:
			s := &accountState{secrets: p.Secrets, keys: r.permitted(g)}
			if a := r.accounts[p.ID]; a != nil {
				s.keys = g.Intersect(a.keys) // admit adds the rest, once it has created the consumers
			}
			states[p.ID] = s
			accounts = append(accounts, tenancy.AccountOf(p.ID, s.keys, r.callout.Limits()))
		case events.ValidPartnerID(p.ID): // no other id can have had an account
			accounts = append(accounts, tenancy.ClosedAccount(p.ID))
		}
	}
	if err := r.compareAll(ctx, accounts, partners); err != nil {
		return err
	}
	for id, s := range states {
		if a := r.accounts[id]; a == nil {
			r.accounts[id] = s
		} else {
			a.keys, a.uncertain = s.keys, false
		}
	}
	ended := r.cfg.Clock()
	r.nextCompare = ended.Add(max(r.cfg.CompareInterval, comparePause*ended.Sub(started)))
	return nil
}

// compareAll compares the accounts with what all servers store. It ends early, with
// errChanged, when the directory changes. Meanwhile it checks often which servers answer, and
// the connections of the partners, because a server that is behind may accept what was
// withdrawn. Servers
// that do not answer are no error: they are behind once they answer again, and a later
// round compares them.
func (r *Reconciler) compareAll(ctx context.Context, accounts []tenancy.Account, partners []access.Partner) error {
	comparing, cancel := r.untilChanged(ctx)
	defer cancel()
	compared := make(chan error, 1)
	go func() { compared <- r.servers.Compare(comparing, slices.Values(accounts)) }()
	tick := time.NewTicker(recheckEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-compared:
			var unanswered *operator.UnansweredError
			switch {
			case err == nil:
				r.status.setUnanswered(nil)
				return nil
			case ctx.Err() == nil && comparing.Err() != nil:
				return errChanged
			case onlyUnanswered(err, &unanswered):
				r.status.setUnanswered(unanswered.Servers)
				return nil
			default:
				return fmt.Errorf("compare the accounts of partners with what the NATS servers store: %w", err)
			}
		case <-tick.C:
			_, _ = r.checkServers(ctx)                     // a later step returns the error, if it lasts
			_ = r.enforcer.CloseConnections(ctx, partners) // the end of the round does it again
		}
	}
}

// onlyUnanswered reports whether err is an UnansweredError that is not joined with another
// error, and stores it in to.
func onlyUnanswered(err error, to **operator.UnansweredError) bool {
	u, ok := err.(*operator.UnansweredError) //nolint:errorlint // joined with another error it is not the only one
	*to = u
	return ok
}

// checkServers returns which servers answer. It stores those that do not in the status, and
// logs them when they change.
func (r *Reconciler) checkServers(ctx context.Context) (operator.Servers, error) {
	servers, err := r.servers.Servers(ctx)
	if err != nil {
		if ctx.Err() == nil {
			r.status.setSilent(servers.Silent)
		}
		return servers, fmt.Errorf("look which NATS servers answer: %w", err)
	}
	r.status.setSilent(nil)
	if r.status.setUnanswered(servers.Silent) && len(servers.Silent) > 0 {
		r.cfg.Log.Warn("NATS servers do not answer; they may let through what is withdrawn until they do", "servers", strings.Join(servers.Silent, ", "))
	}
	return servers, nil
}

// watchServers checks the connections of all partners while a server does not answer or is
// behind: it may still accept what was withdrawn. It returns errBehind if accounts have to
// be compared.
func (r *Reconciler) watchServers(ctx context.Context) error {
	servers, err := r.checkServers(ctx)
	if err != nil || len(servers.Silent)+len(servers.Behind) == 0 {
		return err
	}
	err = r.enforcer.CloseConnections(ctx, r.directory.Directory().Partners())
	if len(servers.Behind) > 0 {
		err = errors.Join(errBehind, err)
	}
	return err
}
