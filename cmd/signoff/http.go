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
	tokens := token.New(clients{p.outbox.Accounts(), p.model.Directory}, p.signer, token.Config{Issuer: p.publicURL() + token.Path})
	reports := api.New(p.model, api.Config{PublicURL: p.publicURL(), BasePath: p.settings.BasePath, MaxCount: p.settings.MaxCount})

	partners := exactly(map[string]http.Handler{
		token.Path:     tokens,
		token.JWKSPath: token.JWKS(func() []access.Key { return p.model.Directory().Keys() }, time.Now),
	}, reports)
	p.api = rest.NewServer(rest.Wrap(partners, p.log), p.log, rest.ServerConfig{TLS: p.transport.api.configOrPlain()})

	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, part := range []interface{ Metrics() []prometheus.Collector }{p.outbox, p.relay, p.model, p.doors, tokens, reports} {
		metrics.MustRegister(part.Metrics()...)
	}
	p.ops = rest.NewServer(opsHandler(p.checks(), p.notes(), metrics), p.log, rest.ServerConfig{TLS: p.opsTLS()})
}

// clients knows the partners, as long as this version knows who may be let in.
type clients struct {
	token.Clients
	directory func() access.Directory
}

func (c clients) AuthenticateClient(ctx context.Context, id, secret, address string) (access.Partner, error) {
	if err := c.directory().Current(); err != nil {
		return access.Partner{}, err
	}
	return c.Clients.AuthenticateClient(ctx, id, secret, address)
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
		p.doorsCheck(),
		{"tokenKey", func(context.Context) error {
			if _, ok := p.model.Directory().Key(p.signer.id()); !ok {
				return errors.New("the key that signs tokens is not applied yet; tokens would be refused")
			}
			return nil
		}},
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

func (p *program) doorsCheck() check {
	return check{"doors", func(context.Context) error {
		if s := p.doors.Status(); !s.Ready {
			return fmt.Errorf("partners cannot subscribe yet: %s", s.Reason)
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
