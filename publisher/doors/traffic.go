package doors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/events"
)

// watchTraffic puts out partners that send too much, until ctx ends.
func (d *Doors) watchTraffic(ctx context.Context) {
	tick := time.NewTicker(d.cfg.Watch)
	defer tick.Stop()
	failed := ""
	stop, deaf := d.hearRequests()
	defer stop()
	for ctx.Err() == nil {
		err := errors.Join(deaf, d.watchOnce(ctx))
		if err != nil && text(err) != failed && ctx.Err() == nil {
			d.cfg.Log.Warn("partners that send too much cannot be put out; trying again and again", "cause", err)
		}
		failed = text(err)
		d.metrics.bounded.Set(0)
		if err == nil {
			d.metrics.bounded.Set(1)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// watchOnce charges partners with what went to and fro since the last time. It
// tells other doors who is out, and closes the connections of those, and the
// slowest of those for whom too much waits.
func (d *Doors) watchOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	traffic, err := d.accounts.Traffic(ctx)
	if err != nil {
		return fmt.Errorf("look at what partners send: %w", err)
	}
	out, news := d.allowance.charge(traffic, d.cfg.Clock())
	for partner, wait := range news {
		d.metrics.putOut.Inc()
		d.cfg.Log.Warn("a partner sends or asks for more than it may: its connections are closed, and it is not let in for some time",
			"partner", partner, "seconds", wait.Seconds())
	}
	errs := []error{d.relieve(ctx, traffic)}
	if len(out) > 0 {
		errs = append(errs, d.tellOut(out))
	}
	directory := d.log.Directory()
	for id := range out {
		p, _ := directory.Partner(id)
		errs = append(errs, d.sweep(ctx, id, p), d.calm(ctx, id))
	}
	return errors.Join(errs...)
}

// tellOut tells other doors who is out and until when.
func (d *Doors) tellOut(out map[string]time.Time) error {
	body, err := json.Marshal(out)
	if err != nil {
		return fmt.Errorf("tell who is out: %w", err)
	}
	if err := d.nc.Publish(events.PutOutSubject, body); err != nil {
		return fmt.Errorf("tell who is out: %w", err)
	}
	return nil
}

// hearOut takes over who is out. Only doors may say so.
func (d *Doors) hearOut(m *nats.Msg) {
	var out map[string]time.Time
	if err := json.Unmarshal(m.Data, &out); err != nil {
		d.cfg.Log.Warn("what other doors say cannot be read", "error", err)
		return
	}
	d.allowance.tell(out)
}
