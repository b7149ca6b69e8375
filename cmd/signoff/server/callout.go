package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/natsflags"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/server/admission"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/fhir/rest/connections"
	"github.com/seed-e88a4ece/signoff/publisher/callout"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/publisher/operator"
)

// DefaultStaleAfter is the default of --stale-after.
const DefaultStaleAfter = 30 * time.Second

// CalloutSettings are the flags of a callout, besides its data directory.
type CalloutSettings struct {
	natsflags.Flags
	LoginKey  string `help:"Keys that answer logins, as nats-config writes them; default keys/answers.json in the data directory." placeholder:"FILE"`
	OpsListen string `help:"Address of /healthz, /readyz and /metrics; default ${default}." default:"127.0.0.1:8082" placeholder:"ADDR"`
	Insecure  bool   `help:"Allow plain text to other machines, and on addresses that they can reach."`

	TokenIssuer string `help:"iss that access tokens must have, as serve has it; default any that serve's keys have signed." placeholder:"URL"`

	StaleAfter time.Duration `help:"How long after the stream was last heard logins are still answered; access may have ended since. Default ${default}." default:"30s" placeholder:"D"`
}

// Callout answers partners' logins to an outside NATS server and does nothing else. It is a
// Server of which only some parts are opened.
type Callout struct {
	Server
	cmd        CalloutSettings
	standalone *callout.Standalone
}

// OpenCallout opens the parts of a callout in the order in which they depend on each other.
func OpenCallout(ctx context.Context, dir datadir.Dir, cmd CalloutSettings, log *slog.Logger) (*Callout, error) {
	if !cmd.Outside() {
		return nil, console.UsageError("--nats-url is required: signoff serve answers the logins to the embedded server")
	}
	if !cmd.Insecure && !natsflags.LoopbackOnly(ctx, cmd.OpsListen) {
		return nil, console.UsageError("--ops-listen " + cmd.OpsListen + " can be reached from other machines and would speak plain text: use an address of 127.0.0.1, or --insecure")
	}
	if cmd.StaleAfter = cmp.Or(cmd.StaleAfter, DefaultStaleAfter); cmd.StaleAfter < time.Second {
		return nil, console.UsageError("--stale-after must be a second or more")
	}
	a := &Callout{cmd: cmd, Server: Server{Dir: dir, log: log, compareEvery: min(cmd.StaleAfter/3, 10*time.Second)}}
	a.Settings = Settings{Flags: cmd.Flags, Insecure: cmd.Insecure, OpsListen: cmd.OpsListen}
	if err := a.openAll(ctx, []component{
		{"data directory", a.lockDirectory("callout")},
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

// listenOps listens on the operator's address.
func (a *Callout) listenOps(ctx context.Context) error {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", a.cmd.OpsListen)
	if err != nil {
		return fmt.Errorf("--ops-listen: %w; choose another address, or stop the program that uses it", err)
	}
	a.OpsListener = connections.Limit(listener, connections.Config{Max: maxOpsConnections})
	a.onClose(func() error { _ = listener.Close(); return nil })
	return nil
}

// openLogins creates the part that answers logins. The keys must exist: the NATS servers
// would not accept answers that are signed with new ones.
func (a *Callout) openLogins(context.Context) error {
	path := cmp.Or(a.cmd.LoginKey, a.Dir.Answers())
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the keys that answer logins: %w; set --login-key to the answers.json that signoff nats-config wrote", err)
	}
	answers, err := operator.ParseAnswers(text)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	logins, err := a.Connect(natsd.Callout)
	if err != nil {
		return err
	}
	service, err := a.Connect(natsd.Partners)
	if err != nil {
		return err
	}
	recent := admission.NewRecent(a.Model, a.cmd.StaleAfter, time.Now)
	a.standalone, err = callout.NewStandalone(logins, service, recent, answers, callout.Config{Issuer: a.cmd.TokenIssuer, Log: a.log.With("component", "callout")})
	return err
}

// serveOps creates the operator's HTTP server.
func (a *Callout) serveOps() {
	a.Metrics = registry(a.Model, a.standalone)
	checks := []check{a.modelCheck(), partnersCheck(func() (bool, string) { s := a.standalone.Status(); return s.Ready, s.Reason })}
	a.Ops = rest.NewServer(opsHandler(checks, []check{a.refillNotice()}, a.Metrics), a.log, rest.ServerConfig{})
}

// Run answers logins until ctx ends, the NATS servers refuse its credentials or a part fails,
// and then closes everything. It calls
// announce at once: /readyz shows when logins are answered.
func (a *Callout) Run(ctx context.Context, announce func(datadir.Serving)) error {
	s := datadir.Serving{PID: os.Getpid(), Ops: a.OpsListener.Addr().String(), OpsURL: "http://" + a.OpsListener.Addr().String(), NATS: a.NATS.ClientURL()}
	if err := a.Dir.WriteServeFile(s); err != nil {
		return errors.Join(err, a.Close())
	}
	announce(s)
	err := runAll(ctx, a.log, []component{
		httpComponent("operations", a.Ops, a.OpsListener),
		{"read model", func(ctx context.Context) error { return a.Model.Run(ctx, a.Reader) }},
		{"logins", a.standalone.Run},
		{"NATS", a.outside.AwaitRefusal},
	})
	return errors.Join(err, a.Dir.RemoveServeFile(), a.Close())
}
