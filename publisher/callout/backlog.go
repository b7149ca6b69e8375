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

// backlog is an estimate of what waits in the servers' memory for partners that do not read
// it. To list what really waits costs the servers something for each connection. But it
// cannot have grown since the last list by more than all that was sent. So the list is read
// only when this upper bound is high.
type backlog struct {
	sent  map[string]uint64 // bytes by server, at the last measurement
	bound uint64            // upper bound: no partner has more bytes waiting
}

// grow raises the bound by what the servers have sent since the last call.
func (b *backlog) grow(traffic []tenancy.Traffic) {
	now := make(map[string]uint64, len(traffic))
	for _, t := range traffic {
		now[t.Server] = t.Bytes
		b.bound += t.Bytes - min(b.sent[t.Server], t.Bytes)
	}
	b.sent = now
}

// closeSlowest closes connections of partners for whom more bytes wait than MaxPending, those
// with most first, until no more than that wait. No event is lost: a client that connects
// again receives again what it has not acknowledged.
func (e *Enforcer) closeSlowest(ctx context.Context, traffic []tenancy.Traffic) error {
	ctx, cancel := context.WithTimeout(ctx, serverTimeout)
	defer cancel()
	e.backlog.grow(traffic)
	most := uint64(e.callout.cfg.MaxPending)
	if e.backlog.bound < most/2 { // half, because what was sent does not include the bytes of the protocol
		return nil
	}
	connections, err := e.servers.Backlogs(ctx)
	waiting := make(map[string]uint64) // by account
	for _, c := range connections {
		waiting[c.Account] += c.Pending
	}
	slices.SortFunc(connections, func(a, b tenancy.Backlog) int { return cmp.Compare(b.Pending, a.Pending) })
	var errs []error
	if err != nil {
		errs = append(errs, fmt.Errorf("list what partners do not read: %w", err))
	}
	failed := make(map[string]bool) // servers that did not close one: the others come first
	for _, c := range connections {
		partner, ok := strings.CutPrefix(c.Account, tenancy.AccountPrefix)
		if !ok || waiting[c.Account] <= most || failed[c.Server] { // not a partner's, or few enough bytes now
			continue
		}
		if err := e.servers.Disconnect(ctx, c.Connection); err != nil {
			failed[c.Server] = true
			errs = append(errs, fmt.Errorf("close a connection of %s: %w", partner, err))
			continue
		}
		waiting[c.Account] -= c.Pending
		e.metrics.closed.WithLabelValues(tooSlow).Inc()
		e.log.Warn("connection closed: the partner does not read what is sent to it",
			"partner", partner, "connection", c.ID, "bytes", c.Pending, "cause", tooSlow)
	}
	if len(errs) > 0 {
		return errors.Join(errs...) // the bound stays: the next measurement lists again
	}
	e.backlog.bound = 0
	for account, n := range waiting {
		if strings.HasPrefix(account, tenancy.AccountPrefix) {
			e.backlog.bound = max(e.backlog.bound, n)
		}
	}
	return nil
}
