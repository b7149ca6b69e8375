package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/outbox/token"
	"github.com/seed-e88a4ece/signoff/subscriber/api"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// serveHTTP makes the two HTTP faces: one for partners, one for the operator.
func (p *program) serveHTTP() {
	tokens := token.New(clients{p}, p.signer, token.Config{Issuer: p.publicURL() + token.Path, Ready: p.opening.closed})
	reports := api.New(p.opening, api.Config{
		PublicURL: p.publicURL(), BasePath: p.settings.BasePath, MaxCount: p.settings.MaxCount, Ready: p.opening.closed,
	})
	keys := token.JWKS(func() []access.Key { return p.opening.Directory().Keys() }, time.Now)

	partners := exactly(map[string]http.Handler{token.Path: tokens, token.JWKSPath: p.opening.guard(keys)}, reports)
	p.api = rest.NewServer(rest.Wrap(partners, p.log), p.log, rest.ServerConfig{TLS: p.transport.api.configOrPlain()})

	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, part := range []interface{ Metrics() []prometheus.Collector }{p.outbox, p.relay, p.model, p.callout, p.enforcer, p.partners, tokens, reports} {
		metrics.MustRegister(part.Metrics()...)
	}
	p.metrics = metrics
	p.ops = rest.NewServer(opsHandler(p.checks(), p.notes(), metrics), p.log, rest.ServerConfig{TLS: p.opsTLS()})
}

// clients knows partners by their credentials as the outbox does, as long as this
// version knows who may be let in. It lets only those have a token whom readers
// let in with it: what is committed but not yet applied would be refused there,
// and a client takes that for the end. A moment is waited for, because mostly it
// is about to be applied.
type clients struct{ *program }

const tokenPatience = time.Second

func (c clients) AuthenticateClient(ctx context.Context, id, secret, address string) (access.Partner, error) {
	if err := c.opening.Directory().Current(); err != nil {
		return access.Partner{}, err
	}
	partner, err := c.outbox.Accounts().AuthenticateClient(ctx, id, secret, address)
	if err != nil {
		return partner, err
	}
	patience, cancel := context.WithTimeout(ctx, tokenPatience)
	defer cancel()
	for !c.letIn(id, secret) {
		if pause(patience) != nil {
			return access.Partner{}, notYet("the partner, its secret or the key of tokens is recorded, but not applied yet")
		}
	}
	return partner, nil
}

// letIn reports whether readers let in who comes with a token for this secret.
func (c clients) letIn(id, secret string) bool {
	d := c.opening.Directory()
	partner, _ := d.Partner(id)
	_, signed := d.Key(c.signer.id())
	return signed && partner.Opens(secret, time.Now())
}

// exactly routes by the path as it came, and what has no handler to others. An
// http.ServeMux would redirect from paths that it would rather have otherwise,
// with an answer that is no outcome.
func exactly(handlers map[string]http.Handler, others http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, ok := handlers[r.URL.Path]
		if !ok {
			h = others
		}
		h.ServeHTTP(w, r)
	})
}

// checks are what must hold for the program to be ready.
func (p *program) checks() []check {
	return []check{
		{"outbox", p.outbox.Ping},
		{"stream", func(context.Context) error {
			if s := p.relay.Status(); !s.Ready() {
				return fmt.Errorf("publisher %s: %s", s.State, s.Reason)
			}
			return nil
		}},
		p.modelCheck(),
		{"opening", func(context.Context) error { return p.opening.closed() }},
		partnersCheck(func() (bool, string) { s := p.partners.Status(); return s.Ready, s.Reason }),
		{"tokenKey", func(context.Context) error { return p.signer.works(time.Now()) }},
	}
}

func (p *program) modelCheck() check {
	return check{"readModel", func(context.Context) error {
		if s := p.model.Status(); !s.CaughtUp || s.State == readmodel.Red {
			return fmt.Errorf("read model %s, %d events behind: %s", s.State, s.Lag, s.Reason)
		}
		return p.model.Directory().Current()
	}}
}

// refillNote shows how far a read model is made anew. The old one serves
// meanwhile, so it is no reason for sending callers elsewhere.
func (p *program) refillNote() check {
	return check{"readModelRefill", func(context.Context) error {
		r := p.model.Status().Refill
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

// partnersCheck reports whether partners can log in and subscribe.
func partnersCheck(status func() (ready bool, reason string)) check {
	return check{"doors", func(context.Context) error {
		if ready, reason := status(); !ready {
			return fmt.Errorf("partners cannot subscribe yet: %s", reason)
		}
		return nil
	}}
}

// shutdownTimeout is how long running requests may take to end.
const shutdownTimeout = 10 * time.Second

// httpComponent serves on a listener until told to stop; then running requests
// are finished first.
func httpComponent(name string, server *http.Server, listener net.Listener) component {
	return component{name, func(ctx context.Context) error {
		failed := make(chan error, 1)
		go func() { failed <- rest.Serve(server, listener) }()
		select {
		case err := <-failed:
			return err
		case <-ctx.Done():
		}
		patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if err := server.Shutdown(patience); err != nil {
			return errors.Join(err, server.Close())
		}
		return nil
	}}
}
