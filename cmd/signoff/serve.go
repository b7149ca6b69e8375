package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strings"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/server"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
	deskapi "github.com/seed-e88a4ece/signoff/outbox/desk/api"
	"github.com/seed-e88a4ece/signoff/outbox/token"
	"github.com/seed-e88a4ece/signoff/subscriber/api"
)

// serveCommand runs the whole program until it is stopped.
type serveCommand struct {
	server.Settings
	LogLevel  console.Level `help:"Lowest level that is logged: debug, info, warn or error." default:"info"`
	LogFormat string        `help:"Format of the log on standard error: text or json. Default ${default}." enum:"text,json" default:"text" placeholder:"FORMAT"`
}

func (cmd *serveCommand) Run(ctx context.Context, c *common, t console.Terminal) error {
	if cmd.MaxConsumers < 1 {
		return console.UsageError("--max-consumers must be at least 1")
	}
	switch {
	case cmd.MaxConnections < 0:
		return console.UsageError("--max-connections must be at least 1, or 0 for the default")
	case cmd.MaxConnectionsPerAddress < 0:
		return console.UsageError("--max-connections-per-address must be at least 1, or 0 for no limit")
	case cmd.PageCache < -1:
		return console.UsageError("--page-cache must be a number of bytes, 0 for the default, or -1 to store none")
	case cmd.KeepPositions < 0:
		return console.UsageError("--keep-positions must be a duration such as 1h, or 0 for the default")
	case cmd.Outside() && cmd.NATSListen != server.DefaultNATSListen:
		return console.UsageError("--nats-listen is for the embedded NATS server; remove it, because --nats-url names an outside one")
	}
	if err := api.CheckSettings(cmd.PublicURL, cmd.BasePath, cmd.MaxCount); err != nil {
		return console.UsageError("--" + err.Error())
	}
	if err := checkIssuer(cmd.TokenIssuer); err != nil {
		return err
	}
	p, err := server.Open(ctx, c.dir(), cmd.Settings, console.NewLog(t.Err, cmd.LogFormat, cmd.LogLevel))
	if err != nil {
		return err
	}
	p.Metrics.MustRegister(t.Metrics()...)
	return p.Run(ctx, func(s datadir.Serving) { greet(t.Out, c.dir(), cmd.BasePath, s) })
}

// checkIssuer returns a UsageError unless the value of --token-issuer is empty or a URL that
// installations can be told apart by.
func checkIssuer(issuer string) error {
	u, err := url.Parse(issuer)
	if issuer == "" || err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.User == nil && !strings.ContainsAny(issuer, "?#") {
		return nil
	}
	return console.UsageError(fmt.Sprintf("--token-issuer %q must be an absolute URL without a query or fragment, such as https://gateway.example.org/token; "+
		"serve and each callout need the same one", issuer))
}

// greet prints where the server listens and what to do next.
func greet(w io.Writer, data datadir.Dir, basePath string, s datadir.Serving) {
	fmt.Fprintf(w, `Serving %s
  read API    %s%s/DiagnosticReport?researchstudy=…
  token       %s%s
  operations  %s/  /readyz  /healthz  /metrics
  NATS        %s  (%s)
`, data, s.PublicURL, basePath, s.PublicURL, token.Path, s.OpsURL, s.NATS, natsHint(data, s))
	if s.DeskURL != "" {
		fmt.Fprintf(w, "  desk        %s/  (PIs)  %s%s  (source systems)\n", s.DeskPublicURL, s.DeskURL, deskapi.BasePath)
	}
	fmt.Fprint(w, `Next, in another terminal:
  signoff pi add USER --name "Printed Name" --study S     who signs
  signoff pi password USER                                the PI's own password
  signoff partner add ID --study S                        who sees
  signoff import FILE                                     what is to be signed
  signoff sign --study S --all --as USER --meaning "…"    the sign-off
`)
	if s.DeskURL != "" {
		fmt.Fprintln(w, "PIs choose their password and sign at the desk too, in a browser.")
	}
	fmt.Fprintf(w, "Add --data %s to each. Stop with Ctrl-C.\n", data)
}

// natsHint returns what greet prints behind the address of NATS: whose server it is, or
// where the credentials for it are.
func natsHint(data datadir.Dir, s datadir.Serving) string {
	if s.Outside != nil {
		return "an outside server"
	}
	return "the operator's credentials are " + data.OperatorCreds()
}

// calloutCommand answers partners' logins to an outside NATS server or cluster, beside
// signoff serve, so that partners can log in while serve is not running. It fills a read
// model from the stream, in a data directory of its own, which may be empty at each start.
// It needs the roles callout, reader and doors. Any number may run; one of them answers
// each login.
type calloutCommand struct {
	server.CalloutSettings
	LogLevel  console.Level `help:"Lowest level that is logged: debug, info, warn or error." default:"info"`
	LogFormat string        `help:"Format of the log on standard error: text or json. Default ${default}." enum:"text,json" default:"text" placeholder:"FORMAT"`
}

func (cmd *calloutCommand) Run(ctx context.Context, c *common, t console.Terminal) error {
	if err := checkIssuer(cmd.TokenIssuer); err != nil {
		return err
	}
	log := console.NewLog(t.Err, cmd.LogFormat, cmd.LogLevel)
	a, err := server.OpenCallout(ctx, c.dir(), cmd.CalloutSettings, slog.New(rest.LogHandler(log.Handler())))
	if err != nil {
		return err
	}
	a.Metrics.MustRegister(t.Metrics()...)
	return a.Run(ctx, func(s datadir.Serving) {
		fmt.Fprintf(t.Out, "Answers partners' logins to %s, once %s/readyz is 200\n", s.NATS, s.OpsURL)
	})
}
