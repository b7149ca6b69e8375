package callout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/events/retry"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// CloseConnections closes the connections of the partners that a login would not open now in
// the same way: those whose client secret is no longer in force, those with other studies
// than are admitted now, and those of partners that are suspended or not admitted. It closes
// all if only a newer version of the program understands the directory, or logins are
// withheld. Their clients connect
// again with what is granted now.
func (e *Enforcer) CloseConnections(ctx context.Context, partners []access.Partner) error {
	ctx, cancel := context.WithTimeout(ctx, serverTimeout)
	defer cancel()
	all, err := e.connections(ctx, partners)
	errs := []error{err}            // what could be listed is closed all the same
	failed := make(map[string]bool) // servers that did not close one: they are left to the next call
	now := e.callout.cfg.Clock()
	directory := e.callout.directory.Directory()
	outdated, isWithheld, revoked := directory.Current() != nil, e.callout.directory.Withheld() != nil, directory.RevokedKeys()
	if isWithheld { // also those of partners that the directory does not have
		for account := range all {
			if id, ok := strings.CutPrefix(account, tenancy.AccountPrefix); ok && !slices.ContainsFunc(partners, func(p access.Partner) bool { return p.ID == id }) {
				partners = append(partners, access.Partner{ID: id})
			}
		}
	}
	for _, p := range partners {
		connections := all[tenancy.AccountPrefix+p.ID]
		if len(connections) == 0 {
			continue
		}
		e.callout.mu.RLock()
		keys, admitted := e.callout.admitted[p.ID]
		e.callout.mu.RUnlock()
		suspended, grants := e.callout.quotas.suspended(p.ID, now), tenancy.GrantsID(keys, revoked)
		for _, c := range connections {
			cause := closeReason(c, p, grants, now)
			switch {
			case failed[c.Server]:
				continue
			case outdated:
				cause = notKnown
			case isWithheld:
				cause = withheld
			case suspended:
				cause = tooMuch
			case !admitted:
				cause = notAdmitted
			case cause == "":
				continue
			}
			if err := e.servers.Disconnect(ctx, c); err != nil {
				failed[c.Server] = true
				errs = append(errs, fmt.Errorf("close a connection of %s: %w", p.ID, err))
				continue
			}
			e.metrics.closed.WithLabelValues(cause).Inc()
			e.log.Info("connection closed", "partner", p.ID, "connection", c.ID, "cause", cause)
		}
	}
	return errors.Join(errs...)
}

// closeReason returns why a login of the partner would not open the connection now in the
// same way: because of its name, its secret or its studies, of which grants is the GrantsID.
// It returns the empty string if a login would.
func closeReason(c tenancy.Connection, p access.Partner, grants string, now time.Time) string {
	name, ok := tenancy.ParseConnectionName(c.User)
	if !ok || name.Partner != p.ID {
		return foreign
	}
	if _, ok := p.InForce(name.Secret, now); !ok {
		return oldSecret
	}
	if name.Grants != grants {
		return otherStudies
	}
	return ""
}

// namingTime is how long at most a new connection is unnamed: listed in its account, but
// without the ConnectionName that the answer to its login sets.
const namingTime = 100 * time.Millisecond

// connections returns the connections of all partners, by the names of their accounts. If
// one of the given partners has an unnamed connection, it waits for namingTime and lists
// again. Then a connection that is still unnamed is one that no login opened. Unnamed
// connections that are new in the second list are left out; a later list has them. With an
// error it returns those that could be listed.
func (e *Enforcer) connections(ctx context.Context, partners []access.Partner) (map[string][]tenancy.Connection, error) {
	unnamed := func(c tenancy.Connection) bool {
		_, ok := tenancy.ParseConnectionName(c.User)
		return !ok
	}
	before, err := e.servers.Connections(ctx)
	if !slices.ContainsFunc(partners, func(p access.Partner) bool {
		return slices.ContainsFunc(before[tenancy.AccountPrefix+p.ID], unnamed)
	}) {
		return before, err
	}
	if err := retry.Sleep(ctx, namingTime); err != nil {
		return nil, err
	}
	now, err := e.servers.Connections(ctx)
	for account, connections := range now {
		now[account] = slices.DeleteFunc(connections, func(c tenancy.Connection) bool {
			return unnamed(c) && !slices.Contains(before[account], c)
		})
	}
	return now, err
}

// ConnectionCounts returns how many connections each partner has open, by its id. With an
// error it returns those that could be listed.
func (e *Enforcer) ConnectionCounts(ctx context.Context) (map[string]int, error) {
	ctx, cancel := context.WithTimeout(ctx, serverTimeout)
	defer cancel()
	all, err := e.servers.Connections(ctx)
	counts := make(map[string]int, len(all))
	for account, connections := range all {
		if id, ok := strings.CutPrefix(account, tenancy.AccountPrefix); ok {
			counts[id] = len(connections)
		}
	}
	return counts, err
}
