package server

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/natsflags"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
)

// Run runs the program until ctx ends, or a part of it fails, and closes it.
// Announce is called once it is ready.
func (p *Server) Run(ctx context.Context, announce func(datadir.Serving)) error {
	ready := component{"readiness", func(ctx context.Context) error {
		p.awaitReady(ctx, announce)
		<-ctx.Done()
		return nil
	}}
	// Stopped from the last to the first: no new requests, then what was signed
	// is published, what was published is applied, and the files are closed.
	err := runAll(ctx, p.Log, []component{
		httpComponent("operations", p.Ops, p.OpsListener),
		{"outbox", p.Outbox.Run},
		{"read model", func(ctx context.Context) error { return p.Model.Run(ctx, p.Reader) }},
		{"publisher", p.Relay.Run},
		{"opening", p.Admission.Run},
		{"doors", p.Doors.Run},
		{"token key", p.TokenKeys.Run},
		httpComponent("read API", p.API, p.APIListener),
		ready,
	})
	p.announced.Store(false)
	return errors.Join(err, p.Dir.RemoveServeFile(), p.Close())
}

// awaitReady waits until all checks hold, and says so in serve.json and to
// announce. A program that does not get ready goes on trying: what is wrong is
// in the log and in /readyz.
func (p *Server) awaitReady(ctx context.Context, announce func(datadir.Serving)) {
	p.announced.Store(true)
	p.announceAgain()
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	for !p.ready(ctx) {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
	announce(p.serving())
}

// serving is what the program says of itself.
func (p *Server) serving() datadir.Serving {
	operator := p.NATS.Credentials(natsd.Operator)
	var outside *natsflags.Flags
	if p.Settings.Outside() {
		outside = &p.Settings.Flags
	}
	return datadir.Serving{
		PID: os.Getpid(), Listen: p.APIListener.Addr().String(), PublicURL: p.PublicURL(), BasePath: p.Settings.BasePath,
		Ops: p.OpsListener.Addr().String(), OpsURL: scheme(p.opsTLS()) + p.OpsListener.Addr().String(),
		NATS: p.NATS.ClientURL(), NATSPublic: p.Settings.NATSPublicURL, NATSUser: operator.User, NATSPassword: operator.Password,
		Outside: outside, MaxConsumers: p.Settings.MaxConsumers,
		Certificates: p.Transport.fingerprints(),
	}
}

// announceAgain brings serve.json up to date.
func (p *Server) announceAgain() {
	p.announcing.Lock()
	defer p.announcing.Unlock()
	if err := p.Dir.WriteServeFile(p.serving()); err != nil {
		p.Log.Error("other commands will not find this server", "error", err)
	}
}

const readyEvery = 20 * time.Millisecond
