package callout

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// backlog bounds what may wait for a partner in the servers' memory. A list of what does
// wait costs the servers something for each connection, and it cannot have grown by more
// than all that was sent: so the list is read only when the bound is high.
type backlog struct {
	sent  map[string]uint64 // bytes by server, at the last measurement
	bound uint64            // at most so many bytes wait for any partner
}

// grow raises the bound by what was sent.
func (b *backlog) grow(traffic []tenancy.Traffic) {
	now := make(map[string]uint64, len(traffic))
	for _, t := range traffic {
		now[t.Server] = t.Bytes
		b.bound += t.Bytes - min(b.sent[t.Server], t.Bytes)
	}
	b.sent = now
}

// closeSlowest closes the slowest connections of partners for whom more waits than
// MaxPending. What they were sent is not lost: a client that comes back receives again what
// it has not acknowledged.
func (e *Enforcer) closeSlowest(ctx context.Context, traffic []tenancy.Traffic) error {
	e.backlog.grow(traffic)
	most := uint64(e.callout.cfg.MaxPending)
	if e.backlog.bound < most/2 { // protocol is not counted in what was sent
		return nil
	}
	slowest, err := e.servers.Backlogs(ctx)
	if err != nil {
		return fmt.Errorf("list what partners do not read: %w", err)
	}
	waiting := make(map[string]uint64) // by account
	for _, c := range slowest {
		waiting[c.Account] += c.Pending
	}
	slices.SortFunc(slowest, func(a, b tenancy.Backlog) int { return cmp.Compare(b.Pending, a.Pending) })
	var errs []error
	for _, c := range slowest {
		partner, ok := strings.CutPrefix(c.Account, tenancy.AccountPrefix)
		if !ok || waiting[c.Account] <= most {
			continue
		}
		if err := e.servers.Disconnect(ctx, c.Connection); err != nil {
			errs = append(errs, fmt.Errorf("close a connection of %s: %w", partner, err))
			continue
		}
		waiting[c.Account] -= c.Pending
		e.metrics.closed.WithLabelValues(tooSlow).Inc()
		e.log.Warn("connection closed: the partner does not read what is sent to it",
			"partner", partner, "connection", c.ID, "bytes", c.Pending, "cause", tooSlow)
	}
	e.backlog.bound = 0
	for account, n := range waiting {
		if strings.HasPrefix(account, tenancy.AccountPrefix) {
			e.backlog.bound = max(e.backlog.bound, n)
		}
	}
	return errors.Join(errs...)
}
