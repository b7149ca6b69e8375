package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/server/overview"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/events/retry"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/outbox/token"
	"github.com/seed-e88a4ece/signoff/subscriber/api"
)

// serveHTTP creates the HTTP servers: one for partners, one for the operator and, unless it
// is off, one for source systems and PIs.
func (p *Server) serveHTTP() error {
	tokens := token.New(clients{p}, p.TokenKeys, token.Config{Issuer: p.issuer(), Ready: p.Admission.Closed})
	reports := api.New(p.Admission, api.Config{
		PublicURL: p.PublicURL(), BasePath: p.Settings.BasePath, TokenURL: p.PublicURL() + token.Path, Issuer: p.issuer(),
		MaxCount: p.Settings.MaxCount, CacheBytes: p.Settings.PageCache, KeepPositions: p.Settings.KeepPositions, Ready: p.Admission.Closed,
		Signed: p.Admission.Signed,
	})
	keys := token.JWKS(func() []access.Key { return p.Admission.Directory().Keys() }, time.Now)

	partners := routeExactly(map[string]http.Handler{token.Path: tokens, token.JWKSPath: p.Admission.Guard(keys)}, reports)
	p.API = rest.NewServer(rest.Wrap(partners, p.log), p.log, rest.ServerConfig{TLS: p.transport.api.configOrPlain()})

	p.Metrics = registry(p.Outbox, p.Relay, p.Model, p.Callout, p.Enforcer, p.Partners, tokens, reports, p.APIListener)
	if p.DeskListener != nil {
		if err := p.serveDesk(); err != nil {
			return err
		}
	}
	ops := opsHandler(p.checks(p.Outbox.Ping), p.notices(), p.Metrics)
	ops.HandleFunc("GET "+datadir.AccessPath, p.writeAccess)
	p.Ops = rest.NewServer(overview.CheckHost(p.Settings.OpsHost, ops), p.log, rest.ServerConfig{TLS: p.opsTLS()})
	if p.Settings.OpsPage != pageOff {
		page := overview.New(overview.Sources{
			Outbox: p.Outbox, Queue: p.Outbox.Reviews(), Receipts: p.Outbox.Receipts(), Publisher: p.Relay, ReadModel: p.Model,
			Connections: p.Enforcer, Findings: p.findings,
		}, overview.Config{Log: p.log.With("component", "overview")})
		page.Register(ops)
		p.Ops.RegisterOnShutdown(page.Stop)
	}
	return nil
}

// pageOff is the value of --ops-page without the operator's page.
const pageOff = "off"

// findings returns the conditions in /readyz that do not hold, for the operator's page. Its
// check of the outbox commits nothing, because each commit makes every page that follows the
// server ask again.
func (p *Server) findings(ctx context.Context) (found []overview.Finding) {
	ctx, cancel := context.WithTimeout(ctx, ReadyTimeout)
	defer cancel()
	blocking := p.checks(p.Outbox.CanWrite)
	all := slices.Concat(blocking, p.notices())
	for i, err := range runChecks(ctx, all) {
		if err != nil {
			found = append(found, overview.Finding{Name: all[i].name, Text: err.Error(), Blocks: i < len(blocking)})
		}
	}
	return found
}

// writeAccess answers which changes of access are carried out. The commands that make such
// changes wait for that.
func (p *Server) writeAccess(w http.ResponseWriter, r *http.Request) {
	applied, err := p.Model.ChainHead(r.Context(), events.AccessStudy)
	if err != nil {
		answer(w, http.StatusInternalServerError, map[string]string{"error": err.Error()})
		return
	}
	recorded, version := p.Admission.Recorded() // before the status, which may be of a later directory
	s := p.Partners.Status()
	a := datadir.Access{
		Recorded: datadir.AccessEvent(recorded), Applied: datadir.AccessEvent(applied),
		Withdrawn: s.WithdrawnLimit == version, Unanswered: s.Unanswered,
	}
	if !a.Withdrawn {
		a.Reason = s.Reason
	}
	answer(w, http.StatusOK, a)
}

// registry returns the metrics of the parts and of the process.
func registry(parts ...interface{ Metrics() []prometheus.Collector }) *prometheus.Registry {
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, part := range parts {
		metrics.MustRegister(part.Metrics()...)
	}
	return metrics
}

// clients authenticates partners for the token endpoint, against the outbox. An access
// token is issued only if the read API and NATS accept it at once. They would refuse one
// for a partner, secret or key that is committed but not applied yet, and a client takes a
// refusal as final.
type clients struct{ *Server }

// tokenTimeout is how long a request for an access token waits until the partner, its
// secret and the key are applied.
const tokenTimeout = time.Second

// AuthenticateClient returns the partner with these credentials, once an access token for
// it is accepted. If that is not so within tokenTimeout, the error is Unavailable.
func (c clients) AuthenticateClient(ctx context.Context, id, secret, address string) (access.Partner, error) {
	if err := c.Admission.Directory().Current(); err != nil { // this version cannot tell who has access
		return access.Partner{}, err
	}
	partner, err := c.Outbox.Accounts().AuthenticateClient(ctx, id, secret, address)
	if err != nil {
		return partner, err
	}
	waiting, cancel := context.WithTimeout(ctx, tokenTimeout)
	defer cancel()
	if retry.Poll(waiting, func() (bool, error) { return c.accepted(id, secret), nil }) != nil {
		return access.Partner{}, &events.Error{
			Code: events.Unavailable, RetryAfter: 2 * time.Second,
			Message: "the partner, its secret or the key for access tokens is recorded, but not applied yet; try again in a moment",
		}
	}
	return partner, nil
}

// accepted reports whether the read API and NATS accept an access token that is issued for
// this secret now.
func (c clients) accepted(id, secret string) bool {
	d := c.Admission.Directory()
	partner, _ := d.Partner(id)
	key, ok := d.Key(c.TokenKeys.ID())
	return ok && key.Until.IsZero() && partner.Opens(secret, time.Now())
}

// routeExactly returns a handler that routes a request by its unchanged path; only a slash
// at the end is ignored. Fallback handles the paths that have no handler. An http.ServeMux
// would redirect paths with "//" or "..", with an answer that is no OperationOutcome.
func routeExactly(handlers map[string]http.Handler, fallback http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, ok := handlers[strings.TrimSuffix(r.URL.Path, "/")]
		if !ok {
			h = fallback
		}
		h.ServeHTTP(w, r)
	})
}

// shutdownTimeout is how long requests may take to finish while the server stops.
const shutdownTimeout = 10 * time.Second

// httpComponent serves on a listener until its context ends. Then it finishes the
// requests that are under way.
func httpComponent(name string, server *http.Server, listener net.Listener) component {
	return component{name, func(ctx context.Context) error {
		failed := make(chan error, 1)
		go func() { failed <- rest.Serve(server, listener) }()
		select {
		case err := <-failed:
			return err
		case <-ctx.Done():
		}
		waiting, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if err := server.Shutdown(waiting); err != nil {
			return errors.Join(err, server.Close())
		}
		return nil
	}}
}
