package partners

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// DefaultMaxConsumers is how many consumers partners may have. With 5,000 the
// embedded server needs about 300 MB of memory and a minute to stop, which takes it
// 10 ms for each; what 10,000 need, few machines have to spare unasked.
const DefaultMaxConsumers = 5000

// OwnConsumers is how many consumers of the stream are reserved for the service: each
// read model has one, which it creates again whenever its connection is lost.
const OwnConsumers = 100

// insufficientResources is the server's error code for a consumer beyond max_ha_assets.
const insufficientResources = 10023

// Refusal is a consumer that a partner lacks because there are too many.
type Refusal struct {
	Partner string
	Study   string // empty: the announcements of its access
	Cause   string // and what to do
}

// String names partner and study.
func (r Refusal) String() string {
	if r.Study == "" {
		return "partner " + r.Partner
	}
	return "partner " + r.Partner + " in study " + r.Study
}

// capacity is what a round finds out about consumers that are too many.
type capacity struct {
	mu        sync.Mutex
	exhausted error            // why the servers create no more
	refusals  map[string]error // by consumer
}

// try creates a consumer unless it is refused. It returns nil for one that is.
func (c *capacity) try(name string, create func() (*jetstream.ConsumerInfo, error)) (*jetstream.ConsumerInfo, error) {
	if c.refused(name) {
		return nil, nil
	}
	info, err := create()
	var answer *jetstream.APIError
	if !errors.As(err, &answer) || answer.ErrorCode != jetstream.JSErrCodeMaximumConsumersLimit && answer.ErrorCode != insufficientResources {
		return info, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.exhausted = fmt.Errorf("the NATS server creates no more consumers; raise max_consumers of the account, or max_ha_assets of the servers: %w", answer)
	c.refusals[name] = c.exhausted
	return nil, nil
}

// refused reports whether the consumer is refused. Once the servers have refused one,
// they are not asked for others in the same round.
func (c *capacity) refused(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.exhausted != nil {
		c.refusals[name] = c.exhausted
	}
	return c.refusals[name] != nil
}

// limit returns how many consumers partners may have, and what to raise when that
// is not enough.
func (r *Reconciler) limit() (limit int, raise string) {
	limit, raise = r.cfg.MaxConsumers, "--max-consumers of signoff serve"
	if most := r.stream.limit; most > 0 && most-min(OwnConsumers, most/10) < limit {
		return most - min(OwnConsumers, most/10), "max_consumers of the NATS account"
	}
	return limit, raise
}

// planCapacity begins a round: it refuses the missing consumers that exceed the limit.
// Those that exist stay, even if there are too many. Those of which something was
// acknowledged, because they existed and are lost, go before new ones.
func (r *Reconciler) planCapacity(granted map[string]tenancy.Partner) {
	r.capacity.exhausted, r.capacity.refusals = nil, make(map[string]error)
	var missing []tenancy.Consumer
	for name, w := range wantedConsumers(granted) {
		if r.consumers[name] == nil {
			missing = append(missing, w)
		}
	}
	limit, raise := r.limit()
	left := max(0, limit-len(r.consumers))
	if len(missing) <= left {
		return
	}
	served := make(map[string]bool) // partners that have acknowledged something
	for name, sequence := range r.acknowledged {
		partner, _, _ := strings.Cut(name, "=")
		served[partner] = served[partner] || sequence > 0
	}
	rank := func(w tenancy.Consumer) int {
		switch {
		case r.acknowledged[w.Name] > 0 || w.Key == "" && served[w.Name]:
			return 0
		case w.Key == "": // without it the partner does not learn of its access
			return 1
		default:
			return 2
		}
	}
	slices.SortFunc(missing, func(a, b tenancy.Consumer) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a.Name, b.Name))
	})
	cause := fmt.Errorf("all %d consumers that partners may have are taken; raise %s, or revoke grants", limit, raise)
	for _, w := range missing[left:] {
		r.capacity.refusals[w.Name] = cause
	}
}

// reportCapacity stores in the status how many consumers there are and which were
// refused, and logs what is new.
func (r *Reconciler) reportCapacity(granted map[string]tenancy.Partner) {
	limit, raise := r.limit()
	var refused []Refusal
	for _, p := range granted {
		for _, w := range p.Consumers() {
			if cause := r.capacity.refusals[w.Name]; cause != nil {
				refused = append(refused, Refusal{p.ID, p.Study(w.Key), cause.Error()})
			}
		}
	}
	slices.SortFunc(refused, func(a, b Refusal) int {
		return cmp.Or(strings.Compare(a.Partner, b.Partner), strings.Compare(a.Study, b.Study))
	})
	before := r.status.setConsumers(len(r.consumers), limit, raise, refused)
	for _, refusal := range refused {
		if !slices.Contains(before.Refused, refusal) {
			r.cfg.Log.Warn("a partner cannot subscribe", "partner", refusal.Partner, "study", refusal.Study, "cause", refusal.Cause)
		}
	}
	if nearlyExhausted(len(r.consumers), limit) && !nearlyExhausted(before.Consumers, before.MaxConsumers) {
		r.cfg.Log.Warn("most of the consumers that partners may have are taken", "taken", len(r.consumers), "limit", limit, "raise", raise)
	}
}

// nearlyExhausted reports whether 80 % are taken.
func nearlyExhausted(taken, limit int) bool { return limit > 0 && taken*5 >= limit*4 }

// CapacityWarning returns what an operator must know about the number of consumers:
// which were refused, or that most are taken. It is empty otherwise.
func (s Status) CapacityWarning() string {
	const most = 10
	if len(s.Refused) == 0 {
		if nearlyExhausted(s.Consumers, s.MaxConsumers) {
			return fmt.Sprintf("%d of the %d consumers that partners may have are taken; raise %s before grants are refused",
				s.Consumers, s.MaxConsumers, s.Raise)
		}
		return ""
	}
	named := make([]string, 0, most+1)
	for _, r := range s.Refused[:min(most, len(s.Refused))] {
		named = append(named, r.String())
	}
	if more := len(s.Refused) - most; more > 0 {
		named = append(named, fmt.Sprintf("and %d more, which the log names", more))
	}
	return fmt.Sprintf("cannot subscribe: %s; %s", strings.Join(named, ", "), s.Refused[0].Cause)
}
