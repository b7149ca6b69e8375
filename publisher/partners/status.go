package partners

import (
	"slices"
	"sync"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
)

// Status is that of a Reconciler.
type Status struct {
	Ready  bool   // all matches the directory, and logins are answered
	Reason string // why not

	Consumers    int       // of partners, at the last round
	MaxConsumers int       // how many there may be
	Raise        string    // the setting that allows more
	Refused      []Refusal // consumers beyond that number, which keep nothing else from being ready

	// Unanswered are the NATS servers that should answer and do not. They may let through
	// what was withdrawn meanwhile.
	Unanswered []string

	// Silent are all NATS servers that have answered before, if now none does. Then
	// Unanswered is what was known last.
	Silent []string

	// WithdrawnLimit is the LimitedBy of the directory whose withdrawals were carried out
	// last: no consumer, account or connection has more than that directory allows, on the
	// servers that answer.
	WithdrawnLimit events.ChainHead
}

type status struct {
	mu        sync.Mutex
	reason    error  // nil when ready
	consumers Status // only the fields from Consumers to Refused

	unanswered, silent []string // names of servers

	withdrawn events.ChainHead // LimitedBy of the directory whose withdrawals were carried out last
}

// setWithdrawn stores that the withdrawals of a directory were carried out.
func (s *status) setWithdrawn(d access.Directory) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.withdrawn = d.LimitedBy()
}

// setUnanswered stores which servers do not answer, and reports whether it changed.
func (s *status) setUnanswered(servers []string) (changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed = !slices.Equal(s.unanswered, servers)
	s.unanswered = slices.Clone(servers)
	return changed
}

// setSilent stores the names of all servers if none answers; nil if one does.
func (s *status) setSilent(servers []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent = servers
}

// set stores the reason for not being ready, nil when ready, and reports whether it
// changed.
func (s *status) set(reason error) (changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed = errorText(s.reason) != errorText(reason)
	s.reason = reason
	return changed
}

// setConsumers stores how many consumers there are and which were refused, and returns
// what was stored before.
func (s *status) setConsumers(consumers, limit int, raise string, refused []Refusal) (before Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before = s.consumers
	s.consumers = Status{Consumers: consumers, MaxConsumers: limit, Raise: raise, Refused: refused}
	return before
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Status returns the present status.
func (r *Reconciler) Status() Status {
	r.status.mu.Lock()
	defer r.status.mu.Unlock()
	s := r.status.consumers
	s.Unanswered, s.Silent = slices.Clone(r.status.unanswered), slices.Clone(r.status.silent)
	s.WithdrawnLimit = r.status.withdrawn
	s.Ready, s.Reason = r.status.reason == nil, errorText(r.status.reason)
	return s
}
