package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/poll"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/outbox/token"
	"github.com/seed-e88a4ece/signoff/subscriber/api"
)

// serveHTTP makes the two HTTP faces: one for partners, one for the operator.
func (p *Server) serveHTTP() {
	tokens := token.New(clients{p}, p.TokenKeys, token.Config{Issuer: p.PublicURL() + token.Path, Ready: p.Admission.Closed})
	reports := api.New(p.Admission, api.Config{
		PublicURL: p.PublicURL(), BasePath: p.Settings.BasePath, MaxCount: p.Settings.MaxCount, Ready: p.Admission.Closed,
	})
	keys := token.JWKS(func() []access.Key { return p.Admission.Directory().Keys() }, time.Now)

	partners := exactly(map[string]http.Handler{token.Path: tokens, token.JWKSPath: p.Admission.Guard(keys)}, reports)
	p.API = rest.NewServer(rest.Wrap(partners, p.Log), p.Log, rest.ServerConfig{TLS: p.Transport.API.configOrPlain()})

	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, part := range []interface{ Metrics() []prometheus.Collector }{p.Outbox, p.Relay, p.Model, p.Doors, tokens, reports} {
		metrics.MustRegister(part.Metrics()...)
	}
	p.Metrics = metrics
	p.Ops = rest.NewServer(opsHandler(p.checks(), p.notes(), metrics), p.Log, rest.ServerConfig{TLS: p.opsTLS()})
}

// clients knows partners by their credentials as the outbox does, as long as this
// version knows who may be let in. It lets only those have a token whom readers
// let in with it: what is committed but not yet applied would be refused there,
// and a client takes that for the end. A moment is waited for, because mostly it
// is about to be applied.
type clients struct{ *Server }

const tokenPatience = time.Second

func (c clients) AuthenticateClient(ctx context.Context, id, secret, address string) (access.Partner, error) {
	if err := c.Admission.Directory().Current(); err != nil {
		return access.Partner{}, err
	}
	partner, err := c.Outbox.Accounts().AuthenticateClient(ctx, id, secret, address)
	if err != nil {
		return partner, err
	}
	patience, cancel := context.WithTimeout(ctx, tokenPatience)
	defer cancel()
	for !c.letIn(id, secret) {
		if poll.Pause(patience) != nil {
			return access.Partner{}, &events.Error{
				Code: events.Unavailable, RetryAfter: 2 * time.Second,
				Message: "the partner, its secret or the key of tokens is recorded, but not applied yet",
			}
		}
	}
	return partner, nil
}

// letIn reports whether readers let in who comes with a token for this secret.
func (c clients) letIn(id, secret string) bool {
	d := c.Admission.Directory()
	partner, _ := d.Partner(id)
	_, signed := d.Key(c.TokenKeys.ID())
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
