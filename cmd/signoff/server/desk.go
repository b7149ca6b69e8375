package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/natsflags"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/outbox/desk"
	deskapi "github.com/seed-e88a4ece/signoff/outbox/desk/api"
	"github.com/seed-e88a4ece/signoff/outbox/desk/clientaddress"
	"github.com/seed-e88a4ece/signoff/outbox/desk/metrics"
)

// checkDesk returns a UsageError if a flag of the desk is malformed, or if the sessions of
// its pages could not work.
func (p *Server) checkDesk(ctx context.Context) (err error) {
	s := &p.Settings
	if s.DeskListen == "" {
		return s.refuseDeskFlags()
	}
	if p.deskProxies, err = clientaddress.Parse(s.DeskTrustedProxy); err != nil {
		return console.UsageError("--desk-trusted-proxy: " + err.Error())
	}
	if s.DeskURL != "" {
		origin, reason := readOrigin(s.DeskURL)
		if reason != "" {
			return console.UsageError(fmt.Sprintf("--desk-url %s %s; use the address that PIs type, such as https://desk.example.org, without a path", s.DeskURL, reason))
		}
		s.DeskURL = origin
	}
	if s.DeskURL == "" && p.transport.api == nil && !natsflags.LoopbackOnly(ctx, s.DeskListen) {
		return console.UsageError(fmt.Sprintf("--desk-listen %s speaks plain text to other machines, and browsers keep the cookie of the sign-in over https only: "+
			"use --tls-cert and --tls-key, or name the https address of the proxy before it with --desk-url, or use --desk-listen off", s.DeskListen))
	}
	return nil
}

// refuseDeskFlags returns a UsageError if a flag of the desk is set, which is off.
func (s *Settings) refuseDeskFlags() error {
	for _, f := range []struct {
		flag string
		set  bool
	}{
		{"--desk-url", s.DeskURL != ""},
		{"--desk-trusted-proxy", len(s.DeskTrustedProxy) > 0},
		{"--desk-api-signing", s.DeskAPISigning},
	} {
		if f.set {
			return console.UsageError(f.flag + " has no effect with --desk-listen " + deskOff + "; remove it, or name an address of the desk with --desk-listen")
		}
	}
	return nil
}

// readOrigin returns the origin that a URL names, as browsers write it, or what is wrong with
// it. Plain text is right only for loopback names, on which browsers keep the cookie, too: a
// port that is published to this machine alone, as that of a container, is called like this.
func readOrigin(text string) (origin, reason string) {
	u, err := url.Parse(strings.ToLower(text))
	switch {
	case err != nil || u.Hostname() == "":
		return "", "is no URL of a host"
	case u.User != nil || strings.Trim(u.Path, "/") != "" || strings.ContainsAny(text, "?#"):
		return "", "has more than a scheme, a host and a port"
	case u.Scheme != "https" && u.Scheme != "http":
		return "", "does not begin with https://"
	}
	address, _ := netip.ParseAddr(u.Hostname())
	if u.Scheme == "http" && u.Hostname() != "localhost" && !address.IsLoopback() {
		return "", "is plain text, over which browsers do not keep the cookie of the sign-in"
	}
	if u.Port() == map[string]string{"https": "443", "http": "80"}[u.Scheme] {
		u.Host = strings.TrimSuffix(u.Host, ":"+u.Port())
	}
	return u.Scheme + "://" + u.Host, ""
}

// serveDesk creates the HTTP server for source systems and PIs.
func (p *Server) serveDesk() error {
	counted := metrics.New()
	calls := deskapi.New(p.Outbox, deskapi.Config{Signing: p.Settings.DeskAPISigning, TrustedProxies: p.deskProxies, Metrics: counted})
	pages, err := desk.New(p.Outbox, desk.Config{
		URL: p.Settings.DeskURL, TrustedProxies: p.deskProxies, Metrics: counted, Log: p.log.With("component", "desk"),
		MaxStreams: p.maxDeskConnections / 2, // so that connections are left for those who send requests
	})
	if err != nil {
		return err
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if path := r.URL.Path; path == deskapi.BasePath || strings.HasPrefix(path, deskapi.BasePath+"/") {
			calls.ServeHTTP(w, r)
			return
		}
		pages.ServeHTTP(w, r)
	})
	p.Desk = rest.NewServer(rest.Wrap(handler, p.log), p.log, rest.ServerConfig{TLS: p.transport.api.configOrPlain()})
	p.Desk.RegisterOnShutdown(pages.Stop)
	p.deskSessions = pages.Sessions()
	p.Metrics.MustRegister(append(counted.Metrics(), p.deskSessions.Metrics()...)...)
	return nil
}

// deskComponent serves source systems and PIs, and then ends the sessions of those who are
// signed in. It does nothing if the desk is off.
func (p *Server) deskComponent() component {
	if p.Desk == nil {
		return component{"desk", func(ctx context.Context) error { <-ctx.Done(); return nil }}
	}
	serve := httpComponent("desk", p.Desk, p.DeskListener)
	return component{serve.name, func(ctx context.Context) error {
		p.deskServing.Store(true)
		defer p.deskServing.Store(false)
		serving, stop := context.WithCancel(context.WithoutCancel(ctx))
		ended := make(chan error, 1)
		go func() { ended <- p.deskSessions.Run(serving) }()
		err := serve.run(ctx)
		stop()
		return errors.Join(err, <-ended)
	}}
}

// deskURL returns the start of the URLs of the desk on its listener, and that by which PIs
// call it. Both are "" if the desk is off.
func (p *Server) deskURL() (listener, public string) {
	if p.Desk == nil {
		return "", ""
	}
	listener = scheme(p.transport.api.configOrPlain()) + p.DeskListener.Addr().String()
	return listener, cmp.Or(p.Settings.DeskURL, listener)
}
