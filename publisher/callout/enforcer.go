package callout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/events/retry"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// Servers are the NATS servers that partners connect to.
type Servers interface {
	// Connections returns the open connections of all partners, by the names of their
	// accounts. With an error it returns those that could be listed.
	Connections(ctx context.Context) (map[string][]tenancy.Connection, error)
	// Traffic returns what each server and its clients have sent to each other so far.
	Traffic(ctx context.Context) ([]tenancy.Traffic, error)
	// Backlogs returns the connections of partners for which most bytes wait in the memory
	// of the servers. With an error it returns those that could be listed.
	Backlogs(ctx context.Context) ([]tenancy.Backlog, error)
	// Disconnect closes a connection. One that is closed already is no error.
	Disconnect(ctx context.Context, c tenancy.Connection) error
}

// Enforcer suspends partners that exceed their quota, and closes connections that a login
// would not open now.
type Enforcer struct {
	nc      *nats.Conn
	servers Servers
	callout *Callout
	log     *slog.Logger
	metrics enforcerMetrics

	heartbeats heartbeatRequests
	backlog    backlog // used by Run only
}

// NewEnforcer returns an Enforcer of the quotas of partners whose logins c answers. The
// connection nc is in the service's account: on it the Enforcer receives, to count them,
// partners' requests for events, and publishes which partners are suspended.
func NewEnforcer(nc *nats.Conn, servers Servers, c *Callout) *Enforcer {
	return &Enforcer{
		nc: nc, servers: servers, callout: c, log: c.cfg.Log, metrics: newEnforcerMetrics(),
		heartbeats: heartbeatRequests{until: make(map[string]time.Time)},
	}
}

// Run measures what partners send, suspends those that exceed their quota and closes
// connections that leave too much unread. It does so every Config.Measure until ctx ends, and
// returns nil then. It calls endRequests to end the requests that wait at a consumer of a
// suspended partner; no event may be lost by that.
func (e *Enforcer) Run(ctx context.Context, endRequests func(ctx context.Context, consumer string) error) error {
	tick := time.NewTicker(e.callout.cfg.Measure)
	defer tick.Stop()
	logged := ""
	stop, subscribed := e.subscribeToRequests()
	defer stop()
	for ctx.Err() == nil {
		err := errors.Join(subscribed, e.measure(ctx, endRequests))
		if err != nil && errorText(err) != logged && ctx.Err() == nil {
			e.log.Warn("partners that exceed their quota cannot be suspended; trying again and again", "cause", retry.Readable(err))
		}
		logged = errorText(err)
		if err == nil {
			e.metrics.bounded.Set(1)
		} else {
			e.metrics.bounded.Set(0)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	return nil
}

// measure charges partners with the traffic since the last measurement. It publishes which
// partners are suspended, closes their connections, and ends their requests for heartbeats.
// It also closes connections of partners that leave too much unread. A step that fails does
// not prevent the next, and each has serverTimeout for itself: a server that answers slowly
// must not leave the steps after the first without time.
func (e *Enforcer) measure(ctx context.Context, endRequests func(context.Context, string) error) error {
	var errs []error
	traffic, err := e.traffic(ctx)
	if err != nil { // suspensions may still follow from logins and requests
		errs = append(errs, fmt.Errorf("measure what partners send: %w", err))
	}
	suspended, started := e.callout.quotas.chargeTraffic(traffic, e.callout.cfg.Clock())
	for partner, wait := range started {
		e.metrics.suspensions.Inc()
		e.log.Warn("a partner is suspended for exceeding its quota of messages: its connections are closed and its logins refused",
			"partner", partner, "seconds", wait.Seconds())
	}
	errs = append(errs, e.closeSlowest(ctx, traffic))
	if len(suspended) > 0 {
		errs = append(errs, e.publishSuspensions(suspended),
			e.CloseConnections(ctx, partnersOf(e.callout.directory.Directory(), maps.Keys(suspended))),
			e.endHeartbeats(ctx, maps.Keys(suspended), endRequests))
	}
	return errors.Join(errs...)
}

// traffic measures what servers and partners have sent to each other so far.
func (e *Enforcer) traffic(ctx context.Context) ([]tenancy.Traffic, error) {
	ctx, cancel := context.WithTimeout(ctx, serverTimeout)
	defer cancel()
	return e.servers.Traffic(ctx)
}

// endHeartbeats ends the partners' requests whose heartbeats are charged. Those that it cannot
// end the next measurement tries again.
func (e *Enforcer) endHeartbeats(ctx context.Context, partners iter.Seq[string], endRequests func(context.Context, string) error) error {
	ctx, cancel := context.WithTimeout(ctx, serverTimeout)
	defer cancel()
	var errs []error
	for id := range partners {
		for _, consumer := range e.heartbeats.of(id, e.callout.cfg.Clock()) {
			err := endRequests(ctx, consumer)
			if err == nil {
				e.heartbeats.forget(consumer)
			}
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// partnersOf returns the partners with the ids. For an id that the directory does not know it
// returns a partner without secrets and studies.
func partnersOf(directory access.Directory, ids iter.Seq[string]) []access.Partner {
	var all []access.Partner
	for id := range ids {
		p, _ := directory.Partner(id)
		p.ID = id
		all = append(all, p)
	}
	return all
}

// publishSuspensions tells other callouts to refuse the logins of the suspended partners, and
// until when.
func (e *Enforcer) publishSuspensions(until map[string]time.Time) error {
	body, err := json.Marshal(until)
	if err != nil {
		return fmt.Errorf("publish suspensions: %w", err)
	}
	if err := e.nc.Publish(tenancy.SuspensionSubject, body); err != nil {
		return fmt.Errorf("publish suspensions: %w", err)
	}
	return nil
}
