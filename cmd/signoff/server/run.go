package server

import (
	"context"
	"errors"
	"os"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/natsflags"
	"github.com/seed-e88a4ece/signoff/events/retry"
)

// Run runs the program until ctx ends or a part of it fails, and then closes it. It calls
// announce once, when the program is ready; see awaitReady.
func (p *Server) Run(ctx context.Context, announce func(datadir.Serving)) error {
	ready := component{"readiness", func(ctx context.Context) error {
		p.awaitReady(ctx, announce)
		<-ctx.Done()
		return nil
	}}
	// They are stopped from the last to the first: first no new requests are accepted, then
	// the publisher stops, then the read model, and the outbox after those that use it.
	err := runAll(ctx, p.log, []component{
		httpComponent("operations", p.Ops, p.OpsListener),
		{"outbox", p.Outbox.Run},
		{"read model", func(ctx context.Context) error { return p.Model.Run(ctx, p.Reader) }},
		{"publisher", p.Relay.Run},
		{"opening", p.Admission.Run},
		{"partners", p.Partners.Run},
		{"quotas", func(ctx context.Context) error { return p.Enforcer.Run(ctx, p.Partners.EndRequests) }},
		{"token key", p.TokenKeys.Run},
		httpComponent("read API", p.API, p.APIListener),
		p.deskComponent(),
		ready,
	})
	p.keepServeFile.Store(false)
	return errors.Join(err, p.Dir.RemoveServeFile(), p.Close())
}

// awaitReady writes serve.json, waits until all checks hold, and calls announce. A
// program that does not become ready continues to try; the log and /readyz show the
// reason.
func (p *Server) awaitReady(ctx context.Context, announce func(datadir.Serving)) {
	p.keepServeFile.Store(true)
	p.writeServeFile()
	if retry.Poll(ctx, func() (bool, error) { return p.ready(ctx), nil }) == nil {
		announce(p.serving())
	}
}

// serving returns the content of serve.json.
func (p *Server) serving() datadir.Serving {
	var outside *natsflags.Flags
	if p.Settings.Outside() {
		outside = &p.Settings.Flags
	}
	s := datadir.Serving{
		PID: os.Getpid(), Listen: p.APIListener.Addr().String(), PublicURL: p.PublicURL(), BasePath: p.Settings.BasePath,
		Ops: p.OpsListener.Addr().String(), OpsURL: scheme(p.opsTLS()) + p.OpsListener.Addr().String(),
		NATS: p.NATS.ClientURL(), NATSPublic: p.Settings.NATSPublicURL, NATSCreds: p.creds,
		Outside: outside, MaxConsumers: p.Settings.MaxConsumers,
		Certificates: p.transport.fingerprints(),
	}
	s.DeskURL, s.DeskPublicURL = p.deskURL()
	if p.Desk != nil {
		s.Desk = p.DeskListener.Addr().String()
	}
	return s
}

// writeServeFile writes or replaces serve.json. A failure is only logged, because partners
// do not need the file.
func (p *Server) writeServeFile() {
	p.serveFile.Lock()
	defer p.serveFile.Unlock()
	if err := p.Dir.WriteServeFile(p.serving()); err != nil {
		p.log.Error("cannot write serve.json; other commands will not find this server", "error", err)
	}
}
