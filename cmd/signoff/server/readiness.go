package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// notices returns the checks to which an operator has to attend, although the program is
// ready.
func (p *Server) notices() []check {
	return []check{
		p.refillNotice(), {"outdatedStudies", p.outdatedStudies}, {"partnerConsumers", p.partnerConsumers}, {"natsServers", p.natsServers},
		{"auditTrail", p.auditTrail}, {"clock", p.clock},
	}
}

// natsServers returns an error that names the NATS servers that do not answer: those that
// answered before, or the configured ones if none has answered yet. If all answer and they
// are outside servers, it returns an error if one of them is too old.
func (p *Server) natsServers(ctx context.Context) error {
	s := p.Partners.Status()
	names := s.Unanswered
	if len(s.Silent) > 0 {
		names = s.Silent
	}
	if len(names) == 0 && p.outside != nil && !p.Reader.Conn().IsConnected() {
		names = p.outside.Hosts()
	}
	if len(names) > 0 {
		return fmt.Errorf("no answer from NATS server %s; what was withdrawn meanwhile ends there as soon as it answers", strings.Join(names, ", "))
	}
	if p.outside != nil {
		return p.outside.TooOld(ctx)
	}
	return nil
}

// auditTrail returns what was wrong with the audit trail when the server started.
func (p *Server) auditTrail(context.Context) error { return p.Outbox.TrailFinding() }

// clock returns why the server could not record the time when it tried last, such as that
// the clock is wrong, or nil. While the clock is wrong the commands refuse to sign.
func (p *Server) clock(context.Context) error { return p.Outbox.ClockFinding() }

// partnerConsumers returns an error if partners have reached, or nearly reached, the
// largest number of consumers on NATS.
func (p *Server) partnerConsumers(context.Context) error {
	if text := p.Partners.Status().CapacityWarning(); text != "" {
		return errors.New(text)
	}
	return nil
}

// outdatedStudies returns an error that names the studies for which only a newer version
// of the program can answer.
func (p *Server) outdatedStudies(ctx context.Context) error {
	types, err := p.Model.Outdated(ctx)
	if err != nil || len(types) == 0 {
		return err
	}
	const most = 10 // that are named; the message has the number of all
	var named []string
	for _, study := range slices.Sorted(maps.Keys(types))[:min(most, len(types))] {
		named = append(named, study+" ("+types[study]+")")
	}
	return fmt.Errorf("%d studies answer 503, because they have events of a type that this version does not know; run a newer version of signoff: %s",
		len(types), strings.Join(named, ", "))
}

// checks returns the conditions of readiness. Write returns an error unless the outbox can be
// written.
func (p *Server) checks(write func(context.Context) error) []check {
	checks := []check{
		{"outbox", func(ctx context.Context) error {
			if err := write(ctx); err != nil {
				return err
			}
			// A write is small, and often to a part of the log that exists already. So it may
			// succeed on a disk that has no space for a sign-off.
			return p.findSpace()
		}},
		{"stream", func(context.Context) error {
			if s := p.Relay.Status(); !s.Ready() {
				return fmt.Errorf("publisher %s: %s", s.State, s.Reason)
			}
			return nil
		}},
		p.modelCheck(),
		{"opening", func(context.Context) error { return p.Admission.Closed() }},
		partnersCheck(func() (bool, string) { s := p.Partners.Status(); return s.Ready, s.Reason }),
		{"tokenKey", func(context.Context) error { return p.TokenKeys.Check(time.Now()) }},
	}
	if p.Desk != nil {
		checks = append(checks, check{"desk", func(context.Context) error {
			if !p.deskServing.Load() {
				return errors.New("source systems and PIs are not answered yet")
			}
			return nil
		}})
	}
	return checks
}

// modelCheck returns the check that the read model has applied what the stream held, still
// follows it, and can tell who has access.
func (p *Server) modelCheck() check {
	return check{"readModel", func(context.Context) error {
		switch s := p.Model.Status(); {
		case s.State == readmodel.Red && p.findSpace() == nil: // else it goes on when the disk has space
			return fmt.Errorf("read model %s, %d events behind: %s; if this stream is the right one, signoff rebuild makes the read model anew", s.State, s.Lag, s.Reason)
		case !s.CaughtUp:
			return fmt.Errorf("read model %s, %d events behind: %s", s.State, s.Lag, s.Reason)
		}
		return p.Model.Directory().Current()
	}}
}

// refillNotice returns the notice that the read model is, or must be, made anew. The old
// one serves meanwhile, so the program is ready.
func (p *Server) refillNotice() check {
	return check{"readModelRefill", func(context.Context) error {
		r := p.Model.Status().Refill
		switch {
		case !r.Needed:
			return nil
		case r.Reason != "":
			return fmt.Errorf("the read model is to be made anew: %s", r.Reason)
		default:
			return fmt.Errorf("the read model is being made anew: event %d of %d", r.Done, r.Total)
		}
	}}
}

// partnersCheck returns the check that partners can log in to NATS and subscribe. Its name
// in /readyz is "doors".
func partnersCheck(status func() (ready bool, reason string)) check {
	return check{"doors", func(context.Context) error {
		if ready, reason := status(); !ready {
			return fmt.Errorf("partners cannot subscribe yet: %s", reason)
		}
		return nil
	}}
}

// ready reports whether all checks hold.
func (p *Server) ready(ctx context.Context) bool {
	for _, c := range p.checks(p.Outbox.Ping) {
		if c.ok(ctx) != nil {
			return false
		}
	}
	return true
}
