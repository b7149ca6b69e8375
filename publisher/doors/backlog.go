package doors

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
)

// backlog says when it is time to look at what waits for partners in the broker's
// memory: it costs the broker something for each connection, and what waits cannot have
// grown by more than all that was sent.
type backlog struct {
	sent   map[string]uint64 // bytes by server, at the last look at traffic
	atMost uint64            // that may wait for any partner
}

// grow takes note of what was sent.
func (b *backlog) grow(traffic []events.Traffic) {
	now := make(map[string]uint64, len(traffic))
	for _, t := range traffic {
		now[t.Server] = t.Bytes
		b.atMost += t.Bytes - min(b.sent[t.Server], t.Bytes)
	}
	b.sent = now
}

// relieve closes the slowest connections of partners for whom more waits than may. What
// they were sent is not lost: who comes back is sent again what it has not acknowledged.
func (d *Doors) relieve(ctx context.Context, traffic []events.Traffic) error {
	d.backlog.grow(traffic)
	if d.backlog.atMost < uint64(d.cfg.MaxPending)/2 { // protocol is not counted in what was sent
		return nil
	}
	slowest, err := d.accounts.Backlogs(ctx)
	if err != nil {
		return fmt.Errorf("look at what partners do not read: %w", err)
	}
	waiting := make(map[string]uint64) // by account
	for _, c := range slowest {
		waiting[c.Account] += c.Pending
	}
	slices.SortFunc(slowest, func(a, b events.Backlog) int { return cmp.Compare(b.Pending, a.Pending) })
	var errs []error
	for _, c := range slowest {
		partner, ok := strings.CutPrefix(c.Account, events.PartnerAccountPrefix)
		if !ok || waiting[c.Account] <= uint64(d.cfg.MaxPending) {
			continue
		}
		if err := d.accounts.Disconnect(ctx, c.Connection); err != nil {
			errs = append(errs, fmt.Errorf("close a connection of %s: %w", partner, err))
			continue
		}
		waiting[c.Account] -= c.Pending
		d.metrics.closed.WithLabelValues(tooSlow).Inc()
		d.cfg.Log.Warn("connection closed: too much waits for the partner that it does not read",
			"partner", partner, "connection", c.ID, "bytes", c.Pending, "cause", tooSlow)
	}
	d.backlog.atMost = 0
	for account, n := range waiting {
		if strings.HasPrefix(account, events.PartnerAccountPrefix) {
			d.backlog.atMost = max(d.backlog.atMost, n)
		}
	}
	return errors.Join(errs...)
}
