package doors

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
)

// Consumers can be many, and asking for the state of all of them each time would
// cost the broker more than the events do. So all names are listed in each round,
// which shows at once what is new and what is missing, and states are asked for
// in parts: those of new consumers and of partners that sent or received something
// since, then those that were not asked for the longest time.
const (
	leastPart     = 256              // states in each part of a round
	allWithin     = 45 * time.Second // states of all, with some time for the rounds themselves
	askWait       = time.Second      // for the state of one consumer
	askAtOnce     = 32
	silentAtOnce  = 64              // consumers that did not answer before and are asked in a round
	awayAfter     = 3 * time.Second // without a sign of life a server of the cluster counts as gone
	offlineCode   = 10119           // the broker: all servers that hold the consumer are offline
	resizedAtOnce = 256             // consumers whose replicas are changed in a round
	lostAtOnce    = 3 * atOnce      // consumers that are replaced in a round: nobody may answer, while something may have to end
)

// entry is what is known of a consumer that the broker lists.
type entry struct {
	seen    bool      // the fields up to leader are known
	asked   time.Time // when its state was last asked for
	silent  time.Time // since when it does not answer; zero: it does
	offline bool      // the broker says that all its servers are gone

	config                  jetstream.ConsumerConfig
	delivered, acknowledged uint64
	leader                  string // in a cluster the server that answers for it
}

// streamState is what a round needs to know of the stream.
type streamState struct {
	last     uint64
	end      uint64 // where it ends once it is filled again; last otherwise
	replicas int
	limit    int             // of its consumers; not positive: none is set
	away     map[string]bool // servers that hold it and are gone
}

// list finds out which consumers there are and asks for the state of those that
// were not there before. What is neither marked nor has a wanted name is not ours.
func (d *Doors) list(ctx context.Context, all map[string]guest) error {
	listed, err := d.listNames(ctx)
	if err != nil {
		return err
	}
	wanted := names(all)
	maps.DeleteFunc(d.stock, func(name string, _ *entry) bool { return !listed[name] })
	maps.DeleteFunc(d.foreign, func(name string, _ bool) bool { return !listed[name] })
	var unseen []string
	for name := range listed {
		if d.stock[name] == nil && (!d.foreign[name] || wanted[name].name != "") {
			d.stock[name] = &entry{}
		}
		if e := d.stock[name]; e != nil && !e.seen && e.silent.IsZero() {
			unseen = append(unseen, name)
		}
	}
	return d.ask(ctx, unseen, wanted)
}

// listNames also takes a look at the stream.
func (d *Doors) listNames(ctx context.Context) (map[string]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	stream, err := d.js.Stream(ctx, events.Stream)
	if err != nil {
		return nil, fmt.Errorf("look at stream: %w", err)
	}
	info := stream.CachedInfo()
	d.stream = streamState{
		last: info.State.LastSeq, end: events.StreamEnd(info.Config.Metadata, info.State.LastSeq),
		replicas: info.Config.Replicas, limit: info.Config.MaxConsumers, away: away(info.Cluster)}
	listed := make(map[string]bool)
	lister := stream.ConsumerNames(ctx)
	for name := range lister.Name() {
		listed[name] = true
	}
	err = lister.Err()
	if err != nil && errors.Is(d.nc.LastError(), nats.ErrPermissionViolation) {
		err = fmt.Errorf("%w; the NATS configuration is of another version: write it again (signoff nats-config) and reload", d.nc.LastError())
	}
	if err != nil {
		return nil, fmt.Errorf("list consumers: %w", err)
	}
	return listed, nil
}

// away names the servers that hold the stream and are gone. Of one that it has never
// heard of, the stream's leader says that it was active just now: so of one that was
// gone when the leader was elected, because it led before.
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

// ask asks for the states of consumers. It ends early, with errChanged, when the
// directory changes.
func (d *Doors) ask(ctx context.Context, consumers []string, wanted map[string]want) error {
	if len(consumers) == 0 {
		return nil
	}
	asking, cancel := d.untilChanged(ctx)
	defer cancel()
	infos, errs := make([]*jetstream.ConsumerInfo, len(consumers)), make([]error, len(consumers))
	asked := d.cfg.Clock()
	var group errgroup.Group
	group.SetLimit(askAtOnce)
	for i, name := range consumers {
		group.Go(func() error {
			infos[i], errs[i] = d.info(asking, name)
			return nil
		})
	}
	_ = group.Wait() // they return none
	for i, name := range consumers {
		if infos[i] == nil && asking.Err() != nil {
			continue // not asked, or not to the end
		}
		d.enter(name, infos[i], errs[i], asked)
		if e := d.stock[name]; e != nil && e.seen && wanted[name].name == "" && e.config.Metadata[mark] != markValue {
			delete(d.stock, name)
			d.foreign[name] = true
		}
	}
	if ctx.Err() == nil && asking.Err() != nil {
		return errChanged
	}
	return nil
}

// untilChanged returns a context that ends when the directory changes.
func (d *Doors) untilChanged(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for len(d.log.Changed()) == 0 {
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

// info returns the state of a consumer, also of one that is not as ours are.
func (d *Doors) info(ctx context.Context, name string) (*jetstream.ConsumerInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	pull, err := d.js.Consumer(ctx, events.Stream, name)
	if errors.Is(err, jetstream.ErrNotPullConsumer) {
		push, err := d.js.PushConsumer(ctx, events.Stream, name)
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

// enter notes what the broker answered about a consumer.
func (d *Doors) enter(name string, info *jetstream.ConsumerInfo, err error, asked time.Time) {
	e := d.stock[name]
	e.asked = asked
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return // it was deleted meanwhile, or is being made: the next list shows which
	}
	if err != nil {
		var refused *jetstream.APIError
		e.offline = errors.As(err, &refused) && refused.ErrorCode == offlineCode
		if e.silent.IsZero() {
			e.silent = asked
		}
		return
	}
	*e = entry{seen: true, asked: asked, config: info.Config, delivered: info.Delivered.Stream, acknowledged: info.AckFloor.Stream}
	if info.Cluster != nil {
		e.leader = info.Cluster.Leader
	}
}

// examine asks for the states of a part of the consumers. An error names one that
// has not answered for some time.
func (d *Doors) examine(ctx context.Context, all map[string]guest) error {
	now := d.cfg.Clock()
	for _, e := range d.stock {
		if d.single(e) && d.stream.away[e.leader] && e.silent.IsZero() {
			e.silent = now // nobody would answer
		}
	}
	wanted := names(all)
	if err := d.ask(ctx, d.due(), wanted); err != nil {
		return err
	}
	var silent []string
	for name, e := range d.stock {
		if ours(name, e, wanted) && !e.silent.IsZero() && now.Sub(e.silent) >= patience {
			silent = append(silent, name)
		}
	}
	if len(silent) == 0 {
		return nil
	}
	return events.Errorf(events.Unavailable, "%d consumers do not answer, %s among them; those whose server is gone are made anew after %s",
		len(silent), slices.Min(silent), d.cfg.Absent)
}

// due are the consumers whose states are asked for in this round.
func (d *Doors) due() []string {
	active := d.active()
	var silent, moving, others []string
	for name, e := range d.stock {
		partner, _, _ := strings.Cut(name, "=")
		switch {
		case !e.silent.IsZero():
			silent = append(silent, name)
		case active[partner]:
			moving = append(moving, name)
		default:
			others = append(others, name)
		}
	}
	part := max(leastPart, int(time.Duration(len(d.stock))*d.cfg.Interval/allWithin))
	oldest := func(all []string, n int) []string {
		slices.SortFunc(all, func(a, b string) int { return d.stock[a].asked.Compare(d.stock[b].asked) })
		return all[:min(len(all), n)]
	}
	return slices.Concat(oldest(silent, silentAtOnce), oldest(moving, part), oldest(others, part))
}

// active are the partners that have sent or received something since the last time.
func (d *Doors) active() map[string]bool {
	spent, active := d.allowance.spent(), make(map[string]bool)
	for partner, n := range spent {
		active[partner] = n != d.spent[partner]
	}
	d.spent = spent
	return active
}

// ours reports whether a consumer is known to be a partner's. What else is on the
// list and has not answered yet may be a read model's.
func ours(name string, e *entry, wanted map[string]want) bool {
	return e.seen || wanted[name].name != ""
}

// single reports whether one server alone holds the consumer.
func (d *Doors) single(e *entry) bool {
	if !e.seen {
		return d.replicas() == 1
	}
	return cmp.Or(e.config.Replicas, d.stream.replicas) == 1
}

// replicas is how many servers are to hold each consumer.
func (d *Doors) replicas() int {
	return min(cmp.Or(d.cfg.Replicas, d.stream.replicas), d.stream.replicas)
}

// replaceLost deletes consumers whose only server is gone, so that they are made
// anew behind what was acknowledged: the broker lists them as present and does not
// make them elsewhere by itself. A server that restarts is given the time for it.
func (d *Doors) replaceLost(ctx context.Context, all map[string]guest) error {
	now, wanted := d.cfg.Clock(), names(all)
	var lost []string
	for name, e := range d.stock {
		gone := e.offline || d.single(e) && (d.stream.away[e.leader] || e.leader == "" && len(d.stream.away) > 0)
		if gone && ours(name, e, wanted) && !e.silent.IsZero() && now.Sub(e.silent) >= d.cfg.Absent {
			lost = append(lost, name)
		}
	}
	slices.Sort(lost)
	lost = lost[:min(len(lost), lostAtOnce)]
	if len(lost) == 0 {
		return nil
	}
	d.cfg.Log.Warn("consumers whose server is gone are made anew behind what was acknowledged", "consumers", len(lost), "first", lost[0])
	err := d.removeAll(ctx, lost)
	for _, name := range lost { // nobody may be left to confirm it
		delete(d.stock, name)
		delete(d.noted, name)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil
	}
	return err
}

// resize sets the replicas of consumers that have another number, some in each round. The
// broker changes them in place. Where it refuses, for lack of room on its servers,
// they stay as they are: one that was deleted could not be made either.
func (d *Doors) resize(ctx context.Context, _ map[string]guest) error {
	var others []string
	for name, e := range d.stock {
		if e.seen && e.silent.IsZero() && cmp.Or(e.config.Replicas, d.stream.replicas) != d.replicas() {
			others = append(others, name)
		}
	}
	slices.Sort(others)
	others = others[:min(len(others), resizedAtOnce)]
	infos, errs := make([]*jetstream.ConsumerInfo, len(others)), make([]error, len(others))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, name := range others {
		if len(d.log.Changed()) > 0 {
			break
		}
		c := d.stock[name].config
		c.Replicas = d.replicas()
		group.Go(func() error {
			infos[i], errs[i] = d.update(ctx, c)
			return nil
		})
	}
	_ = group.Wait() // they return none
	kept := ""
	for i, name := range others {
		var answer *jetstream.APIError
		switch {
		case infos[i] != nil:
			d.stock[name].config = infos[i].Config
		case errors.As(errs[i], &answer):
			kept, errs[i] = text(errs[i]), nil
		}
	}
	if kept != "" && kept != d.kept {
		d.cfg.Log.Warn("consumers keep the number of replicas that they have", "cause", kept)
	}
	d.kept = kept
	return errors.Join(errs...)
}

func (d *Doors) update(ctx context.Context, c jetstream.ConsumerConfig) (*jetstream.ConsumerInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	updated, err := d.js.UpdateConsumer(ctx, events.Stream, c)
	if err != nil {
		return nil, fmt.Errorf("change the replicas of consumer %s: %w", c.Durable, err)
	}
	return updated.CachedInfo(), nil
}
