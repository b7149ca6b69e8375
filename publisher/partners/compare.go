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

// comparePause is how many times as long as a comparison of all accounts takes none is
// made after it.
const comparePause = 20

// compare has all servers store the accounts as they should be: at the start, when a
// server has come or may have missed a change, and from time to time, because a server's
// file may be torn or forged. Those that changed last come first, so that a server that
// was away learns of a withdrawal as early as it can.
//
// It ends early, with errChanged, when the directory changes: no account may be set while
// it goes on. Meanwhile connections are checked often, because a server that is compared
// may let in by what was withdrawn.
func (r *Reconciler) compare(ctx context.Context, granted map[string]tenancy.Partner) error {
	r.planCapacity(granted)
	servers, err := r.lookAtServers(ctx)
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
				s.keys = g.Intersect(a.keys) // the rest is added once its consumers are created
			}
			states[p.ID] = s
			accounts = append(accounts, tenancy.AccountOf(p.ID, s.keys, r.callout.Limits()))
		case events.ValidPartnerID(p.ID):
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

// compareAll compares until all is done or the directory changes.
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
			_ = r.enforcer.CloseConnections(ctx, partners) // the end of the round does it again
		}
	}
}

// onlyUnanswered reports whether an error is that servers have not answered, and nothing
// else.
func onlyUnanswered(err error, to **operator.UnansweredError) bool {
	u, ok := err.(*operator.UnansweredError) //nolint:errorlint // joined with another error it is not the only one
	*to = u
	return ok
}

// lookAtServers finds out which servers answer.
func (r *Reconciler) lookAtServers(ctx context.Context) (operator.Servers, error) {
	servers, err := r.servers.Servers(ctx)
	if err != nil {
		return servers, fmt.Errorf("look which NATS servers answer: %w", err)
	}
	if r.status.setUnanswered(servers.Silent) && len(servers.Silent) > 0 {
		r.cfg.Log.Warn("NATS servers do not answer; they may let through what is withdrawn until they do", "servers", strings.Join(servers.Silent, ", "))
	}
	return servers, nil
}

// watchServers checks the connections of all partners while a server does not answer or
// may store other accounts than it should: partners may still be connected to it. It
// returns errBehind if accounts have to be compared.
func (r *Reconciler) watchServers(ctx context.Context) error {
	servers, err := r.lookAtServers(ctx)
	if err != nil || len(servers.Silent)+len(servers.Behind) == 0 {
		return err
	}
	err = r.enforcer.CloseConnections(ctx, r.directory.Directory().Partners())
	if len(servers.Behind) > 0 {
		err = errors.Join(errBehind, err)
	}
	return err
}
