package partners

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// Consumers can be many, and asking for the state of all of them in each round would
// cost the servers more than the events do. So each round lists all names, which shows what
// is new and what is missing. It asks for the states of only a part of the consumers: all
// new ones, some of partners that sent or received something since the last round, and some
// others. Those that were not asked for the longest time come first. A consumer that does
// not answer such a request is silent.
const (
	leastPart      = 256              // least number of states of active partners, and of others, in a round
	allWithin      = 45 * time.Second // the time in which all states are asked for, if the rounds themselves took none
	askTimeout     = time.Second      // for the state of one consumer
	askConcurrency = 32
	silentPart     = 64              // silent consumers that are asked in a round
	awayAfter      = 3 * time.Second // without a sign of life a server of the cluster counts as gone
	offlineCode    = 10119           // the error that all servers that hold the consumer are offline
	resizedPart    = 256             // consumers whose replicas are changed in a round
	lostPart       = 3 * concurrency // consumers that are replaced in a round: each may take until the timeout, and a withdrawal must not wait long
)

// consumerState is what is known of a consumer that the servers list.
type consumerState struct {
	reported    bool      // it has answered: the fields from config on are known
	asked       time.Time // when its state was last asked for
	silentSince time.Time // since when it has not answered; zero: it answered, or was not asked
	offline     bool      // a server has reported that all that hold it are gone

	config                  jetstream.ConsumerConfig
	delivered, acknowledged uint64 // stream sequences up to which all was
	leader                  string // in a cluster the server that answers for it
}

// streamState is what a round needs to know of the stream.
type streamState struct {
	last     uint64          // its last stream sequence
	end      uint64          // the last one once it is filled again; otherwise last
	replicas int             // servers that hold it
	limit    int             // how many consumers it may have; not positive: no limit is set
	away     map[string]bool // servers that should hold it and are gone
}

// listConsumers brings r.consumers in line with the names that the servers list, and asks for
// the state of those that are new. A consumer is foreign, not a partner's, if its name is not
// wanted and its metadata do not say that it is a partner's. Foreign ones are kept in
// r.foreign, so that they are asked only once, unless their name becomes wanted.
func (r *Reconciler) listConsumers(ctx context.Context, granted map[string]tenancy.Partner) error {
	listed, err := r.listNames(ctx)
	if err != nil {
		return err
	}
	wanted := wantedConsumers(granted)
	maps.DeleteFunc(r.consumers, func(name string, _ *consumerState) bool { return !listed[name] })
	maps.DeleteFunc(r.foreign, func(name string, _ bool) bool { return !listed[name] })
	var unreported []string
	for name := range listed {
		if r.consumers[name] == nil && (!r.foreign[name] || wanted[name].Name != "") {
			r.consumers[name] = &consumerState{}
		}
		if c := r.consumers[name]; c != nil && !c.reported && c.silentSince.IsZero() { // silent ones are asked by examine
			unreported = append(unreported, name)
		}
	}
	return r.ask(ctx, unreported, wanted)
}

// listNames returns the names of all consumers of the stream. It also stores the state of the
// stream in r.stream.
func (r *Reconciler) listNames(ctx context.Context) (map[string]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, serverTimeout)
	defer cancel()
	stream, err := r.js.Stream(ctx, events.Stream)
	if err != nil {
		return nil, fmt.Errorf("look up the stream: %w", err)
	}
	info := stream.CachedInfo()
	r.stream = streamState{
		last: info.State.LastSeq, end: events.StreamEnd(info.Config.Metadata, info.State.LastSeq),
		replicas: info.Config.Replicas, limit: info.Config.MaxConsumers, away: away(info.Cluster)}
	listed := make(map[string]bool)
	lister := stream.ConsumerNames(ctx)
	for name := range lister.Name() {
		listed[name] = true
	}
	err = lister.Err()
	if err != nil && errors.Is(r.nc.LastError(), nats.ErrPermissionViolation) { // err alone is only a timeout
		err = fmt.Errorf("%w; the NATS configuration is of another version; write it again (signoff nats-config) and restart the servers", r.nc.LastError())
	}
	if err != nil {
		return nil, fmt.Errorf("list consumers: %w", err)
	}
	return listed, nil
}

// away returns the names of the servers that should hold the stream and are gone. A server
// that is not current and was active 0 ns ago counts as gone: so the stream's leader reports
// a server from which it has never received anything, such as the leader before it.
func away(c *jetstream.ClusterInfo) map[string]bool {
	gone := make(map[string]bool)
	if c == nil {
		return gone
	}
	for _, r := range c.Replicas {
		if r.Offline || !r.Current && (r.Active == 0 || r.Active > awayAfter) {
			gone[r.Name] = true
		}
	}
	return gone
}

// ask asks for the states of consumers and stores the answers. It moves those that turn out
// to be foreign from r.consumers to r.foreign. A consumer that does not answer is no error.
// It ends early, with errChanged, when the directory changes.
func (r *Reconciler) ask(ctx context.Context, consumers []string, wanted map[string]tenancy.Consumer) error {
	if len(consumers) == 0 {
		return nil
	}
	asking, cancel := r.untilChanged(ctx)
	defer cancel()
	infos, errs := make([]*jetstream.ConsumerInfo, len(consumers)), make([]error, len(consumers))
	asked := r.cfg.Clock()
	var group errgroup.Group
	group.SetLimit(askConcurrency)
	for i, name := range consumers {
		group.Go(func() error {
			infos[i], errs[i] = r.info(asking, name)
			return nil
		})
	}
	_ = group.Wait() // they return none
	for i, name := range consumers {
		if infos[i] == nil && asking.Err() != nil {
			continue // the request was not sent, or ended early: it says nothing of the consumer
		}
		r.update(name, infos[i], errs[i], asked)
		if c := r.consumers[name]; c != nil && c.reported && wanted[name].Name == "" && c.config.Metadata[metadataKey] != metadataValue { // foreign
			delete(r.consumers, name)
			r.foreign[name] = true
		}
	}
	if ctx.Err() == nil && asking.Err() != nil {
		return errChanged
	}
	return nil
}

// untilChanged returns a context that ends when the directory changes. It does not receive
// from Changed, because reconcile must still see the change.
func (r *Reconciler) untilChanged(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for len(r.directory.Changed()) == 0 {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
		cancel()
	}()
	return ctx, cancel
}

// info returns the state of a consumer. Those of partners are pull consumers, but one that is
// new, or has a wanted name, may be a push consumer.
func (r *Reconciler) info(ctx context.Context, name string) (*jetstream.ConsumerInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	pull, err := r.js.Consumer(ctx, events.Stream, name)
	if errors.Is(err, jetstream.ErrNotPullConsumer) {
		push, err := r.js.PushConsumer(ctx, events.Stream, name)
		if err != nil {
			return nil, err
		}
		return push.CachedInfo(), nil
	}
	if err != nil {
		return nil, err
	}
	return pull.CachedInfo(), nil
}

// update stores what the server answered, or failed to answer, about a listed consumer.
func (r *Reconciler) update(name string, info *jetstream.ConsumerInfo, err error, asked time.Time) {
	c := r.consumers[name]
	c.asked = asked
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return // it was deleted meanwhile, or is being created: the next list of names shows which
	}
	if err != nil {
		var refused *jetstream.APIError
		c.offline = errors.As(err, &refused) && refused.ErrorCode == offlineCode
		if c.silentSince.IsZero() {
			c.silentSince = asked
		}
		return
	}
	*c = consumerState{reported: true, asked: asked, config: info.Config, delivered: info.Delivered.Stream, acknowledged: info.AckFloor.Stream}
	if info.Cluster != nil {
		c.leader = info.Cluster.Leader
	}
}

// examine asks for the states of a part of the consumers; see due. It returns an error if
// partners' consumers have been silent for serverTimeout or longer.
func (r *Reconciler) examine(ctx context.Context, granted map[string]tenancy.Partner) error {
	now := r.cfg.Clock()
	for _, c := range r.consumers {
		if r.single(c) && r.stream.away[c.leader] && c.silentSince.IsZero() {
			c.silentSince = now // silent without being asked: only the server that is gone could answer
		}
	}
	wanted := wantedConsumers(granted)
	if err := r.ask(ctx, r.due(r.callout.Usage()), wanted); err != nil {
		return err
	}
	var silent []string
	for name, c := range r.consumers {
		if isPartners(name, c, wanted) && !c.silentSince.IsZero() && now.Sub(c.silentSince) >= serverTimeout {
			silent = append(silent, name)
		}
	}
	if len(silent) == 0 {
		return nil
	}
	return events.Errorf(events.Unavailable, "%d consumers do not answer, %s among them; those whose server is gone are created again after %s",
		len(silent), slices.Min(silent), r.cfg.Absent)
}

// due returns the consumers whose states are asked for in this round: some silent ones, some
// of active partners, and some others, which are idle. In each group those that were not
// asked for the longest time come first.
func (r *Reconciler) due(usage map[string]uint64) []string {
	active := r.active(usage)
	var silent, moving, idle []string
	for name, c := range r.consumers {
		partner, _, _ := strings.Cut(name, "=")
		switch {
		case !c.silentSince.IsZero():
			silent = append(silent, name)
		case active[partner]:
			moving = append(moving, name)
		default:
			idle = append(idle, name)
		}
	}
	// As many in each round that all are asked within allWithin.
	part := max(leastPart, int(time.Duration(len(r.consumers))*r.cfg.Interval/allWithin))
	oldest := func(all []string, n int) []string {
		slices.SortFunc(all, func(a, b string) int { return r.consumers[a].asked.Compare(r.consumers[b].asked) })
		return all[:min(len(all), n)]
	}
	return slices.Concat(oldest(silent, silentPart), oldest(moving, part), oldest(idle, part))
}

// active reports by partner whether it has sent or received something since the last call:
// whether its usage, the number of messages that it was charged, has changed. It stores the
// usage for the next call.
func (r *Reconciler) active(usage map[string]uint64) map[string]bool {
	active := make(map[string]bool)
	for partner, n := range usage {
		active[partner] = n != r.usage[partner]
	}
	r.usage = usage
	return active
}

// isPartners reports whether a consumer in r.consumers is known to be a partner's: it has
// answered and was not found foreign, or its name is wanted. Any other one may be that of a
// read model, which must not be deleted.
func isPartners(name string, c *consumerState, wanted map[string]tenancy.Consumer) bool {
	return c.reported || wanted[name].Name != ""
}

// single reports whether one server alone holds the consumer. If the consumer has not
// answered yet, single assumes the configured number of replicas.
func (r *Reconciler) single(c *consumerState) bool {
	if !c.reported {
		return r.replicas() == 1
	}
	return cmp.Or(c.config.Replicas, r.stream.replicas) == 1
}

// replicas returns how many servers are to hold each consumer: at most as many as hold the
// stream, since the server allows no more.
func (r *Reconciler) replicas() int {
	return min(cmp.Or(r.cfg.Replicas, r.stream.replicas), r.stream.replicas)
}

// replaceLost deletes and forgets consumers that are silent because all servers that hold
// them are gone. The next round creates them again after the last acknowledged event. The
// servers would go on listing them and do not move them by themselves. A consumer must have
// been silent for Config.Absent, so that a restarting server has the time to come back.
func (r *Reconciler) replaceLost(ctx context.Context, granted map[string]tenancy.Partner) error {
	now, wanted := r.cfg.Clock(), wantedConsumers(granted)
	var lost []string
	for name, c := range r.consumers {
		gone := c.offline || r.single(c) && (r.stream.away[c.leader] || c.leader == "" && len(r.stream.away) > 0)
		if gone && isPartners(name, c, wanted) && !c.silentSince.IsZero() && now.Sub(c.silentSince) >= r.cfg.Absent {
			lost = append(lost, name)
		}
	}
	slices.Sort(lost)
	lost = lost[:min(len(lost), lostPart)]
	if len(lost) == 0 {
		return nil
	}
	r.cfg.Log.Warn("consumers whose server is gone are created again behind what was acknowledged", "consumers", len(lost), "first", lost[0])
	errs := r.deleteEach(ctx, lost)
	for _, name := range lost { // also those whose deletion no server confirmed: none may be left that can
		delete(r.consumers, name)
		delete(r.storedReceipt, name)
	}
	return errors.Join(withoutTimeouts(errs)...)
}

// withoutTimeouts returns the errors of deletions without those that only were not confirmed in
// time: the next list of names shows which consumers were deleted.
func withoutTimeouts(errs []error) []error {
	return slices.DeleteFunc(errs, func(err error) bool { return errors.Is(err, context.DeadlineExceeded) })
}

// resize sets the number of replicas of consumers where it differs, of some in each round.
// The servers change a consumer in place. If they refuse, for lack of capacity, it stays as it
// is, which is logged and no error: one that was deleted could not be created again either.
func (r *Reconciler) resize(ctx context.Context, _ map[string]tenancy.Partner) error {
	var differing []string
	for name, c := range r.consumers {
		if c.reported && c.silentSince.IsZero() && cmp.Or(c.config.Replicas, r.stream.replicas) != r.replicas() {
			differing = append(differing, name)
		}
	}
	slices.Sort(differing)
	differing = differing[:min(len(differing), resizedPart)]
	infos, errs := make([]*jetstream.ConsumerInfo, len(differing)), make([]error, len(differing))
	var group errgroup.Group
	group.SetLimit(concurrency)
	for i, name := range differing {
		if len(r.directory.Changed()) > 0 {
			break
		}
		c := r.consumers[name].config
		c.Replicas = r.replicas()
		group.Go(func() error {
			infos[i], errs[i] = r.updateConsumer(ctx, c)
			return nil
		})
	}
	_ = group.Wait() // they return none
	refusal := ""
	for i, name := range differing {
		var answer *jetstream.APIError
		switch {
		case infos[i] != nil:
			r.consumers[name].config = infos[i].Config
		case errors.As(errs[i], &answer): // the server refused
			refusal, errs[i] = errorText(errs[i]), nil
		}
	}
	if refusal != "" && refusal != r.resizeRefusal {
		r.cfg.Log.Warn("consumers keep the number of replicas that they have", "cause", refusal)
	}
	r.resizeRefusal = refusal
	return errors.Join(errs...)
}

// updateConsumer changes the configuration of a consumer in place.
func (r *Reconciler) updateConsumer(ctx context.Context, c jetstream.ConsumerConfig) (*jetstream.ConsumerInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, serverTimeout)
	defer cancel()
	updated, err := r.js.UpdateConsumer(ctx, events.Stream, c)
	if err != nil {
		return nil, fmt.Errorf("change the replicas of consumer %s: %w", c.Durable, err)
	}
	return updated.CachedInfo(), nil
}
