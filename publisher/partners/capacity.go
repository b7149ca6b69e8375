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

// DefaultMaxConsumers is how many consumers partners may have together by default. With
// 5,000 the embedded server needs about 300 MB of memory, and a minute to stop, 10 ms for
// each. More is left to those who know that their machine has room for it.
const DefaultMaxConsumers = 5000

// OwnConsumers is how many consumers of the stream are reserved for those that people
// make, to look for a fault. The service itself needs none.
const OwnConsumers = 100

// insufficientResources is the server's error code for a consumer beyond max_ha_assets.
const insufficientResources = 10023

// Refusal is a consumer that a partner lacks because there are too many.
type Refusal struct {
	Partner string
	Study   string // empty for the access consumer
	Cause   string // why, and what to do
}

// String names partner and study.
func (r Refusal) String() string {
	if r.Study == "" {
		return "partner " + r.Partner
	}
	return "partner " + r.Partner + " in study " + r.Study
}

// capacity holds which consumers may not be created in this round, and why.
type capacity struct {
	mu        sync.Mutex
	exhausted error            // why the servers create no more; nil if they do
	refusals  map[string]error // by name of the consumer that is refused: why
}

// try creates a consumer with create, unless it is refused. If the servers refuse to create
// it for lack of capacity, it is refused from then on. For a refused consumer try returns
// neither a state nor an error. It is safe for concurrent use.
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

// refused reports whether the consumer is refused. Once the servers have refused one, it
// refuses every other in the same round, so that the servers are not asked again.
func (c *capacity) refused(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.exhausted != nil {
		c.refusals[name] = c.exhausted
	}
	return c.refusals[name] != nil
}

// limit returns how many consumers partners may have, and the setting to raise if that is not
// enough: the lower of the configured number and what the stream's own limit leaves. Of the
// stream's limit OwnConsumers are reserved for others, but no more than a tenth, so
// that a low limit leaves something to partners.
func (r *Reconciler) limit() (limit int, raise string) {
	limit, raise = r.cfg.MaxConsumers, "--max-consumers of signoff serve"
	if most := r.stream.limit; most > 0 && most-min(OwnConsumers, most/10) < limit {
		return most - min(OwnConsumers, most/10), "max_consumers of the NATS account"
	}
	return limit, raise
}

// planCapacity decides which missing consumers of partners are refused in this round: those
// that exceed the limit. Consumers that exist stay, even if there are too many. Consumers
// that were lost are created before new ones; they are told by what was acknowledged.
func (r *Reconciler) planCapacity(granted map[string]tenancy.Partner) {
	r.capacity.exhausted, r.capacity.refusals = nil, make(map[string]error)
	var missing []tenancy.Consumer
	for name, w := range wantedConsumers(granted) {
		if r.consumers[name] == nil {
			missing = append(missing, w)
		}
	}
	limit, raise := r.limit()
	free := max(0, limit-len(r.consumers))
	if len(missing) <= free {
		return
	}
	served := make(map[string]bool) // partners that have acknowledged something
	for name, sequence := range r.acknowledged {
		partner, _, _ := strings.Cut(name, "=")
		served[partner] = served[partner] || sequence > 0
	}
	rank := func(w tenancy.Consumer) int {
		switch {
		case r.acknowledged[w.Name] > 0 || w.Key == "" && served[w.Name]: // existed before; an access consumer has the name of its partner
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
	for _, w := range missing[free:] {
		r.capacity.refusals[w.Name] = cause
	}
}

// reportCapacity stores in the status how many consumers partners have and which were
// refused. It logs refusals that the round before did not have, and when nearly all
// consumers that partners may have come to be taken.
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

// nearlyExhausted reports whether at least 80 % of the limit are taken.
func nearlyExhausted(taken, limit int) bool { return limit > 0 && taken*5 >= limit*4 }

// CapacityWarning returns what an operator must know about the number of consumers:
// which were refused, ten of them by name, or that nearly all are taken. Otherwise it
// returns the empty string.
func (s Status) CapacityWarning() string {
	const maxNamed = 10
	if len(s.Refused) == 0 {
		if nearlyExhausted(s.Consumers, s.MaxConsumers) {
			return fmt.Sprintf("%d of the %d consumers that partners may have are taken; raise %s before grants are refused",
				s.Consumers, s.MaxConsumers, s.Raise)
		}
		return ""
	}
	named := make([]string, 0, maxNamed+1)
	for _, r := range s.Refused[:min(maxNamed, len(s.Refused))] {
		named = append(named, r.String())
	}
	if more := len(s.Refused) - maxNamed; more > 0 {
		named = append(named, fmt.Sprintf("and %d more, which the log names", more))
	}
	return fmt.Sprintf("cannot subscribe: %s; %s", strings.Join(named, ", "), s.Refused[0].Cause)
}
