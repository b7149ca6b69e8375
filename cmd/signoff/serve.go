package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/seed-e88a4ece/signoff/outbox/token"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
)

// serveCommand runs the whole program until it is told to stop.
type serveCommand struct {
	settings
	LogLevel  slog.Level `help:"Least level logged: debug, info, warn or error." default:"info"`
	LogFormat string     `help:"Form of the log on standard error." enum:"text,json" default:"text"`
}

func (cmd *serveCommand) Run(ctx context.Context, c *common, t terminal) error {
	if cmd.MaxConsumers < 1 {
		return usageError("--max-consumers must be at least 1")
	}
	p, err := openProgram(ctx, c.dir(), cmd.settings, newLog(t.err, cmd.LogFormat, cmd.LogLevel))
	if err != nil {
		return err
	}
	p.metrics.MustRegister(t.Metrics()...)
	return p.run(ctx, func(s serving) { greet(t.out, c.dir(), cmd.BasePath, s) })
}

// newLog makes the log of a program that runs until it is stopped. Lines that
// were dropped are a line of the log too, whatever its level.
func newLog(w io.Writer, format string, level slog.Level) *slog.Logger {
	handler := func(w io.Writer, level slog.Level) slog.Handler {
		options := &slog.HandlerOptions{Level: level}
		if format == "json" {
			return slog.NewJSONHandler(w, options)
		}
		return slog.NewTextHandler(w, options)
	}
	if w, ok := w.(*dropWriter); ok {
		w.setNotice(func(lost uint64) []byte {
			var line bytes.Buffer
			slog.New(handler(&line, slog.LevelWarn)).Warn("lines of this log were dropped: it was not read, or could not be written", "lines", lost)
			return line.Bytes()
		})
	}
	return slog.New(handler(w, level))
}

// greet says where the server listens and what to do next.
func greet(w io.Writer, data dataDir, basePath string, s serving) {
	fmt.Fprintf(w, `Serving %s
  read API    %s%s/DiagnosticReport?researchstudy=…
  token       %s%s
  operations  %s/readyz  /healthz  /metrics
  NATS        %s  (%s)
`, data, s.PublicURL, basePath, s.PublicURL, token.Path, s.OpsURL, s.NATS, natsHint(data, s))
	fmt.Fprintf(w, `Next, in another terminal:
  signoff pi add USER --name "Printed Name" --study S     who signs
  signoff partner add ID --study S                        who sees
  signoff import FILE                                     what is to be signed
  signoff sign --study S --all --as USER --meaning "…"    the sign-off
Add --data %s to each. Stop with Ctrl-C.
`, data)
}

// natsHint says what the operator needs besides the address.
func natsHint(data dataDir, s serving) string {
	if s.Outside != nil {
		return "runs elsewhere; after partner add, grant and revoke: signoff nats-config, then have it reload"
	}
	return "the operator's credentials are in " + data.serveFile()
}

// run runs the program until ctx ends, or a part of it fails, and closes it.
// Announce is called once it is ready.
func (p *program) run(ctx context.Context, announce func(serving)) error {
	ready := component{"readiness", func(ctx context.Context) error {
		p.awaitReady(ctx, announce)
		<-ctx.Done()
		return nil
	}}
	// Stopped from the last to the first: no new requests, then what was signed
	// is published, what was published is applied, and the files are closed.
	err := runAll(ctx, p.log, []component{
		httpComponent("operations", p.ops, p.opsListener),
		{"outbox", p.outbox.Run},
		{"read model", func(ctx context.Context) error { return p.model.Run(ctx, p.reader) }},
		{"publisher", p.relay.Run},
		{"opening", p.opening.run},
		{"partners", p.partners.Run},
		{"quotas", func(ctx context.Context) error { return p.enforcer.Run(ctx, p.partners.EndRequests) }},
		{"token key", p.signer.run},
		httpComponent("read API", p.api, p.apiListener),
		ready,
	})
	p.announced.Store(false)
	return errors.Join(err, p.dir.retract(), p.close())
}

// awaitReady waits until all checks hold, and says so in serve.json and to
// announce. A program that does not get ready goes on trying: what is wrong is
// in the log and in /readyz.
func (p *program) awaitReady(ctx context.Context, announce func(serving)) {
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
func (p *program) serving() serving {
	operator := p.nats.Credentials(natsd.Operator)
	var outside *natsFlags
	if p.settings.outside() {
		outside = &p.settings.natsFlags
	}
	return serving{
		PID: os.Getpid(), Listen: p.apiListener.Addr().String(), PublicURL: p.publicURL(), BasePath: p.settings.BasePath,
		Ops: p.opsListener.Addr().String(), OpsURL: scheme(p.opsTLS()) + p.opsListener.Addr().String(),
		NATS: p.nats.ClientURL(), NATSPublic: p.settings.NATSPublicURL, NATSUser: operator.User, NATSPassword: operator.Password,
		Outside: outside, MaxConsumers: p.settings.MaxConsumers,
		Certificates: p.transport.fingerprints(),
	}
}

// announceAgain brings serve.json up to date.
func (p *program) announceAgain() {
	p.announcing.Lock()
	defer p.announcing.Unlock()
	if err := p.dir.announce(p.serving()); err != nil {
		p.log.Error("other commands will not find this server", "error", err)
	}
}

const readyEvery = 20 * time.Millisecond

func (p *program) ready(ctx context.Context) bool {
	for _, c := range p.checks() {
		if c.ok(ctx) != nil {
			return false
		}
	}
	return true
}
