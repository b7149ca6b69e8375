package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/publisher/callout"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
)

// calloutCommand answers partners' logins to an outside NATS server or cluster
// beside the program that serves, so that partners get in while that one is
// away. It follows the stream in a data directory of its own, which may be
// empty at each start, and needs the roles reader and doors. Any number may
// run; each login is answered by one of them.
type calloutCommand struct {
	natsFlags
	LoginKey  string     `help:"Key that signs the answers, as nats-config writes it; default keys/login.nk in the data directory." placeholder:"FILE"`
	OpsListen string     `help:"Address of /healthz, /readyz and /metrics." default:"127.0.0.1:8082" placeholder:"ADDR"`
	Insecure  bool       `help:"Speak plain text to other machines, and on addresses that they reach."`
	LogLevel  slog.Level `help:"Least level logged: debug, info, warn or error." default:"info"`
	LogFormat string     `help:"Form of the log on standard error." enum:"text,json" default:"text"`
}

func (cmd *calloutCommand) Run(ctx context.Context, c *common, t terminal) error {
	log := newLog(t.err, cmd.LogFormat, cmd.LogLevel)
	a, err := openAnswerer(ctx, c.dir(), *cmd, slog.New(rest.LogHandler(log.Handler())))
	if err != nil {
		return err
	}
	a.metrics.MustRegister(t.Metrics()...)
	return a.run(ctx, func(s serving) {
		fmt.Fprintf(t.out, "Answers partners' logins to %s, once %s/readyz says so\n", s.NATS, s.OpsURL)
	})
}

// answerer is what answers logins and nothing else.
type answerer struct {
	program
	cmd        calloutCommand
	standalone *callout.Standalone
}

// openAnswerer opens the parts in the order in which they depend on each other.
func openAnswerer(ctx context.Context, dir dataDir, cmd calloutCommand, log *slog.Logger) (*answerer, error) {
	if !cmd.outside() {
		return nil, usageError("--nats-url is needed: the embedded server's logins are answered by signoff serve")
	}
	if !cmd.Insecure && !loopbackOnly(ctx, cmd.OpsListen) {
		return nil, usageError("--ops-listen " + cmd.OpsListen + " can be reached from other machines and would speak plain text: give an address of 127.0.0.1, or --insecure")
	}
	a := &answerer{cmd: cmd, program: program{dir: dir, log: log}}
	a.settings = settings{natsFlags: cmd.natsFlags, Insecure: cmd.Insecure, OpsListen: cmd.OpsListen}
	if err := a.openAll(ctx, []component{
		{"data directory", a.lockDirectory},
		{"listener", a.listenOps},
		{"NATS", a.openNATS},
		{"read model", a.openModel},
		{"logins", a.openLogins},
	}); err != nil {
		return nil, err
	}
	a.serveOps()
	return a, nil
}

func (a *answerer) listenOps(ctx context.Context) (err error) {
	var config net.ListenConfig
	if a.opsListener, err = config.Listen(ctx, "tcp", a.cmd.OpsListen); err != nil {
		return fmt.Errorf("--ops-listen: %w; choose another address or stop who uses it", err)
	}
	a.onClose(func() error { _ = a.opsListener.Close(); return nil })
	return nil
}

// openLogins makes what answers. The key must be there: one made now would be
// nobody's.
func (a *answerer) openLogins(context.Context) error {
	path := a.cmd.LoginKey
	if path == "" {
		path = a.dir.loginKey()
	}
	seed, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("the key that signs answers to logins: %w; name the %s that signoff nats-config wrote with --login-key", err, loginKeyFile)
	}
	nc, err := a.connect(natsd.Partners)
	if err != nil {
		return err
	}
	a.standalone, err = callout.NewStandalone(nc, nc, a.model, []byte(strings.TrimSpace(string(seed))), callout.Config{Log: a.log.With("component", "callout")})
	return err
}

func (a *answerer) serveOps() {
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, part := range []interface{ Metrics() []prometheus.Collector }{a.model, a.standalone} {
		metrics.MustRegister(part.Metrics()...)
	}
	a.metrics = metrics
	checks := []check{a.modelCheck(), partnersCheck(func() (bool, string) { s := a.standalone.Status(); return s.Ready, s.Reason })}
	a.ops = rest.NewServer(opsHandler(checks, []check{a.refillNote()}, metrics), a.log, rest.ServerConfig{})
}

// run answers until ctx ends, or a part fails, and closes everything.
func (a *answerer) run(ctx context.Context, announce func(serving)) error {
	s := serving{PID: os.Getpid(), Ops: a.opsListener.Addr().String(), OpsURL: "http://" + a.opsListener.Addr().String(), NATS: a.nats.ClientURL()}
	if err := a.dir.announce(s); err != nil {
		return errors.Join(err, a.close())
	}
	announce(s)
	err := runAll(ctx, a.log, []component{
		httpComponent("operations", a.ops, a.opsListener),
		{"read model", func(ctx context.Context) error { return a.model.Run(ctx, a.reader) }},
		{"logins", a.standalone.Run},
	})
	return errors.Join(err, a.dir.retract(), a.close())
}
