package doors

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
)

// DefaultMaxConsumers is how many consumers partners may have. With 5,000 the
// embedded server needs about 300 MB of memory and a minute to stop, which takes it
// 10 ms for each; what 10,000 need, few machines have to spare unasked.
const DefaultMaxConsumers = 5000

// OwnConsumers is how many consumers of the stream are kept for the service: each
// read model has one, which it makes anew whenever its connection is lost.
const OwnConsumers = 100

// insufficientResources is what the broker says of a consumer beyond max_ha_assets.
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

// room is what a round finds out about consumers for which there is no room.
type room struct {
	mu       sync.Mutex
	full     error            // why the broker makes no more
	refusals map[string]error // by consumer
}

// try makes a consumer unless there is no room for it. It returns nothing for one
// that is refused.
func (r *room) try(name string, create func() (*jetstream.ConsumerInfo, error)) (*jetstream.ConsumerInfo, error) {
	if r.refused(name) {
		return nil, nil
	}
	info, err := create()
	var answer *jetstream.APIError
	if !errors.As(err, &answer) || answer.ErrorCode != jetstream.JSErrCodeMaximumConsumersLimit && answer.ErrorCode != insufficientResources {
		return info, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.full = fmt.Errorf("the NATS server makes no more consumers; raise max_consumers of the account, or max_ha_assets of the servers: %w", answer)
	r.refusals[name] = r.full
	return nil, nil
}

// refused reports whether there is no room. Once the broker has refused one, it is
// not asked about others in the same round.
func (r *room) refused(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.full != nil {
		r.refusals[name] = r.full
	}
	return r.refusals[name] != nil
}

// limit returns how many consumers partners may have, and what to raise when that
// is not enough.
func (d *Doors) limit() (limit int, raise string) {
	limit, raise = d.cfg.MaxConsumers, "--max-consumers of signoff serve"
	if most := d.stream.limit; most > 0 && most-min(OwnConsumers, most/10) < limit {
		return most - min(OwnConsumers, most/10), "max_consumers of the NATS account"
	}
	return limit, raise
}

// findRoom begins a round: it refuses the consumers that are missing and for which
// there is no room. Those that are there stay, even if there are too many; those
// of which something was acknowledged, because they were there and are lost, go
// before new ones.
func (d *Doors) findRoom(all map[string]guest) {
	d.room.full, d.room.refusals = nil, make(map[string]error)
	var missing []want
	for name, w := range names(all) {
		if d.stock[name] == nil {
			missing = append(missing, w)
		}
	}
	limit, raise := d.limit()
	left := max(0, limit-len(d.stock))
	if len(missing) <= left {
		return
	}
	served := make(map[string]bool)
	for name, floor := range d.floors {
		partner, _, _ := strings.Cut(name, "=")
		served[partner] = served[partner] || floor > 0
	}
	rank := func(w want) int {
		switch {
		case d.floors[w.name] > 0 || w.token == "" && served[w.name]:
			return 0
		case w.token == "": // without it the partner does not hear of its access
			return 1
		default:
			return 2
		}
	}
	slices.SortFunc(missing, func(a, b want) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a.name, b.name))
	})
	cause := fmt.Errorf("all %d consumers that partners may have are taken; raise %s, or revoke grants", limit, raise)
	for _, w := range missing[left:] {
		d.room.refusals[w.name] = cause
	}
}

// tellRoom puts into the status how many consumers there are and who was refused
// one, and into the log what is new.
func (d *Doors) tellRoom(all map[string]guest) {
	limit, raise := d.limit()
	var refused []Refusal
	for _, g := range all {
		for _, w := range g.wants() {
			if cause := d.room.refusals[w.name]; cause != nil {
				refused = append(refused, Refusal{g.ID, g.study(w.token), cause.Error()})
			}
		}
	}
	slices.SortFunc(refused, func(a, b Refusal) int {
		return cmp.Or(strings.Compare(a.Partner, b.Partner), strings.Compare(a.Study, b.Study))
	})
	before := d.status.setRoom(len(d.stock), limit, raise, refused)
	for _, r := range refused {
		if !slices.Contains(before.Refused, r) {
			d.cfg.Log.Warn("a partner cannot subscribe", "partner", r.Partner, "study", r.Study, "cause", r.Cause)
		}
	}
	if nearly(len(d.stock), limit) && !nearly(before.Consumers, before.MaxConsumers) {
		d.cfg.Log.Warn("most of the consumers that partners may have are taken", "taken", len(d.stock), "limit", limit, "raise", raise)
	}
}

// nearly reports whether 80 % are reached.
func nearly(taken, limit int) bool { return limit > 0 && taken*5 >= limit*4 }

// Room describes what an operator must know about the number of consumers:
// who was refused one, or that most are taken. It is empty otherwise.
func (s Status) Room() string {
	const most = 10
	if len(s.Refused) == 0 {
		if nearly(s.Consumers, s.MaxConsumers) {
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

// study is the number of a study of the guest by its token.
func (g guest) study(token string) string {
	i := slices.IndexFunc(g.Studies, func(study string) bool { return token != "" && events.StudyKey(study) == token })
	if i < 0 {
		return ""
	}
	return g.Studies[i]
}
