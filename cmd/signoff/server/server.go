// Package server is what signoff serve and signoff callout run. It opens the parts of the
// program in the order in which they depend on each other, runs them until the program is
// to stop, and stops them in reverse.
//
// A part, or component, is for example the outbox, the publisher, or an HTTP server.
// Serve is the whole program; callout only answers partners' logins to an outside NATS
// server, that is, one that is not embedded in the program. The read model is closed to
// partners until package admission opens it.
//
// Whatever prevents the start is reported before anything runs. If one part fails,
// all stop, and the error names the part. The package decides nothing about events
// or access: it connects the packages that do.
package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/natsflags"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/server/admission"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/server/tokenkey"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/fhir/rest/connections"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/desk/clientaddress"
	"github.com/seed-e88a4ece/signoff/outbox/desk/session"
	"github.com/seed-e88a4ece/signoff/outbox/token"
	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/publisher/callout"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/publisher/operator"
	"github.com/seed-e88a4ece/signoff/publisher/partners"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// DefaultMaxCount is the default of --max-count.
const DefaultMaxCount = 1000

// DefaultNATSListen is the default of --nats-listen.
const DefaultNATSListen = "127.0.0.1:4222"

// deskOff is the value of --desk-listen with which there is no desk.
const deskOff = "off"

// Settings are the flags of a server, besides its data directory. The desk is the pages for
// PIs and the interface for source systems.
type Settings struct {
	Listen        string `help:"Address of the read API and the token endpoint; port 0 takes a free one. Default ${default}." default:"127.0.0.1:8080" placeholder:"ADDR"`
	OpsListen     string `help:"Address of the operator's page, /healthz, /readyz and /metrics; with TLS like the read API unless it is on loopback. Default ${default}." default:"127.0.0.1:8082" placeholder:"ADDR"`
	DeskListen    string `help:"Address of the desk, that is the pages for PIs and the interface for source systems, which partners must not reach; off for none; with TLS like the read API. Default ${default}." default:"127.0.0.1:8081" placeholder:"ADDR"`
	NATSListen    string `name:"nats-listen" help:"Address of the embedded NATS server; default ${default}." default:"${natsListen}" placeholder:"ADDR"`
	TLSCert       string `name:"tls-cert" help:"Certificate of the read API and the token endpoint (PEM); read again when it changes." placeholder:"FILE"`
	TLSKey        string `name:"tls-key" help:"Its private key (PEM)." placeholder:"FILE"`
	NATSTLSCert   string `name:"nats-tls-cert" help:"Certificate of the embedded NATS server (PEM); read again when it changes." placeholder:"FILE"`
	NATSTLSKey    string `name:"nats-tls-key" help:"Its private key (PEM)." placeholder:"FILE"`
	Insecure      bool   `help:"Allow plain text on addresses that other machines can reach; for use behind something that does TLS."`
	PublicURL     string `name:"public-url" help:"Start of every link in answers; default http:// or https:// and the read API's address." placeholder:"URL"`
	NATSPublicURL string `name:"nats-public-url" help:"URL by which partners reach NATS, for their quick start; default where it listens, or the first of --nats-url." placeholder:"URL"`
	TokenIssuer   string `help:"iss of access tokens, by which installations refuse those of each other; default the public URL of the token endpoint." placeholder:"URL"`
	BasePath      string `help:"Path of the read API; default ${default}." default:"${basePath}" placeholder:"PATH"`
	MaxCount      int    `help:"Largest page; default ${default}." default:"${maxCount}" placeholder:"N"`
	PageCache     int64  `help:"Most bytes of memory for pages that were requested before; -1 stores none. Default ${default}." default:"67108864" placeholder:"BYTES"`

	OpsHost []string `sep:"none" help:"Host name by which the operator's address is called, beside loopback names and the address itself; repeat for more." placeholder:"HOST"`
	OpsPage string   `help:"Whether the operator's address has the operator's page: on or off; default ${default}." enum:"on,off" default:"on" placeholder:"on|off"`

	MaxConnections           int `help:"Most connections to the read API at a time; default half of the files that the process may open, less 128, and at most 8192." placeholder:"N"`
	MaxConnectionsPerAddress int `help:"Most connections to the read API from one address; behind a proxy all clients have one. Default no limit." placeholder:"N"`

	KeepPositions time.Duration `help:"How long links to further pages show a study as it was on the first page, counted from its next event; default ${default}." default:"1h" placeholder:"D"`
	Origin        string        `help:"Start of every event's source; fixed when the outbox is created; default /signoff." placeholder:"URI"`
	TypePrefix    string        `help:"Start of every event's type, with its dot at the end; default \"org.mskcc.crit.\", fixed when the outbox is created." placeholder:"PREFIX"`

	MaxConsumers int `help:"Largest number of consumers that partners have on NATS: one for each partner and one for each study granted to it. Default ${default}." default:"${maxConsumers}" placeholder:"N"`

	DeskURL          string   `name:"desk-url" help:"Address by which PIs call the desk, such as https://desk.example.org; needed behind a proxy. Default where it listens." placeholder:"URL"`
	DeskTrustedProxy []string `help:"Address or prefix of a proxy before the desk, whose X-Forwarded-For is believed; repeat for more." placeholder:"CIDR"`

	DeskAPISigning bool `name:"desk-api-signing" help:"Let PIs sign off and withdraw over the interface for source systems and PIs."`

	natsflags.Flags
	NATSReplicas         int `name:"nats-replicas" help:"Servers of the outside cluster that store the stream: 1, 3 or 5. Default 1." placeholder:"N"`
	NATSConsumerReplicas int `name:"nats-consumer-replicas" help:"Servers of the outside cluster that store each consumer of a partner, at most as many as store the stream. Default as many." placeholder:"N"`
}

// Server is the whole program on one data directory: its parts, opened in the order of
// their dependencies, not running before Run. The parts are exported for the tour and for
// tests; they must not be changed once Run is called.
type Server struct {
	Dir      datadir.Dir
	log      *slog.Logger
	Settings Settings
	closers  []func() error // in order of opening; closed in reverse

	compareEvery time.Duration // between two comparisons of the read model with the stream; 0: the default

	transport transport
	dialer    dialer // of connections to NATS
	NATS      broker
	Embedded  *natsd.Server  // NATS, if it is the embedded one
	outside   *natsd.Outside // NATS, if it is not
	creds     string         // path of the operator's credentials for the embedded server
	Outbox    *outbox.Outbox
	Start     admission.Start
	Relay     *publisher.Relay
	Model     *readmodel.Model
	Reader    jetstream.JetStream
	Admission *admission.Admission
	TokenKeys *tokenkey.Keyring
	Accounts  *operator.Accounts
	Callout   *callout.Callout
	Enforcer  *callout.Enforcer
	Partners  *partners.Reconciler

	serveFile     sync.Mutex  // held while serve.json is written
	keepServeFile atomic.Bool // serve.json is to be written again when a certificate changes

	APIListener, OpsListener *connections.Listener
	maxAPIConnections        int
	maxNATSConnections       int // of partners, to the embedded server
	maxDeskConnections       int
	API, Ops                 *http.Server
	DeskListener             *connections.Listener // nil if the desk is off, as Desk
	Desk                     *http.Server          // for source systems and PIs
	deskProxies              clientaddress.Proxies
	deskSessions             *session.Sessions
	deskServing              atomic.Bool
	Metrics                  *prometheus.Registry
}

// Open locks the data directory, listens on the addresses and opens all parts, in the
// order in which they depend on each other. So every mistake is reported before anything
// runs.
func Open(ctx context.Context, dir datadir.Dir, s Settings, log *slog.Logger) (*Server, error) {
	s.MaxConsumers = cmp.Or(s.MaxConsumers, partners.DefaultMaxConsumers)
	if s.DeskListen == deskOff {
		s.DeskListen = ""
	}
	p := &Server{Dir: dir, Settings: s, log: slog.New(rest.LogHandler(log.Handler()))}
	if err := p.openAll(ctx, []component{
		{"TLS", p.openTransport},
		{"data directory", p.lockDirectory(datadir.ServePurpose)},
		{"listeners", p.listen},
		{"outbox", p.openOutbox},
		{"NATS", p.openNATS},
		{"publisher", p.openRelay},
		{"read model", p.openModel},
		{"partners", p.openPartners},
		{"token key", p.openKeys},
		{"HTTP", func(context.Context) error { return p.serveHTTP() }},
	}); err != nil {
		return nil, err
	}
	return p, nil
}

// openAll opens the parts one after the other. If one fails, or ctx ends meanwhile, it
// closes those that are open. When ctx has ended it returns console.ErrStopped, whatever
// failed because of that.
func (p *Server) openAll(ctx context.Context, parts []component) error {
	endInterruptible := p.dialer.interruptible(ctx)
	defer endInterruptible()
	for _, part := range parts {
		p.log.Debug("opening", "component", part.name)
		err := part.run(ctx)
		if ctx.Err() != nil {
			return cmp.Or(p.Close(), console.ErrStopped)
		}
		if err != nil {
			return errors.Join(err, p.Close())
		}
	}
	return nil
}

// onClose registers a function that Close calls. Functions are called in reverse order.
func (p *Server) onClose(closer func() error) { p.closers = append(p.closers, closer) }

// Close closes the parts in reverse order.
func (p *Server) Close() error {
	var errs []error
	for i := len(p.closers) - 1; i >= 0; i-- {
		errs = append(errs, p.closers[i]())
	}
	p.closers = nil
	return errors.Join(errs...)
}

// lockDirectory returns a function that creates the data directory if there is none, and
// locks it for the command until Close.
func (p *Server) lockDirectory(command string) func(context.Context) error {
	return func(context.Context) error {
		if err := p.Dir.Create(); err != nil {
			return err
		}
		unlock, err := p.Dir.Lock(command)
		if err != nil {
			return err
		}
		p.onClose(func() error { unlock(); return nil })
		return nil
	}
}

// listen listens on the addresses of the HTTP servers, which serve later. The number
// of their connections is limited.
func (p *Server) listen(ctx context.Context) error {
	if err := p.limitConnections(); err != nil {
		return err
	}
	for _, l := range []struct {
		flag, address string
		limits        connections.Config
		to            **connections.Listener
	}{
		{"--listen", p.Settings.Listen, connections.Config{Max: p.maxAPIConnections, PerAddress: p.Settings.MaxConnectionsPerAddress}, &p.APIListener},
		{"--ops-listen", p.Settings.OpsListen, connections.Config{Max: maxOpsConnections}, &p.OpsListener},
		{"--desk-listen", p.Settings.DeskListen, connections.Config{Max: p.maxDeskConnections, Shared: p.deskProxies.Contain}, &p.DeskListener},
	} {
		if l.address == "" {
			continue
		}
		var config net.ListenConfig
		listener, err := config.Listen(ctx, "tcp", l.address)
		if err != nil {
			return fmt.Errorf("%s: %w; choose another address, or stop the program that uses it", l.flag, err)
		}
		*l.to = connections.Limit(listener, l.limits)
		p.onClose(func() error { _ = listener.Close(); return nil }) // its HTTP server may have closed it
	}
	return nil
}

// openOutbox opens the outbox, and reads what it contains before anything changes it.
func (p *Server) openOutbox(ctx context.Context) (err error) {
	p.Outbox, err = outbox.Open(ctx, p.Dir.Outbox(), outbox.Config{
		Namespace:  events.Namespace{Origin: p.Settings.Origin, TypePrefix: p.Settings.TypePrefix},
		Log:        p.log.With("component", "outbox"),
		CheckClock: true,
	})
	if err != nil {
		return err
	}
	p.onClose(p.Outbox.Close)
	p.Start, err = admission.ReadStart(ctx, p.Outbox)
	return err
}

// openPartners creates the parts that partners need on NATS: accounts and consumers, the
// callout that answers logins, and the enforcer of quotas. It also creates the Admission,
// on which these depend.
func (p *Server) openPartners(context.Context) error {
	nc, err := p.Connect(natsd.Partners)
	if err != nil {
		return err
	}
	logins, err := p.Connect(natsd.Callout)
	if err != nil {
		return err
	}
	accounts, keys, err := p.openAccounts()
	if err != nil {
		return err
	}
	p.Accounts = accounts
	p.onClose(func() error { accounts.Close(); return nil })
	cfg := callout.Config{
		Failed: func(f callout.Failure) { p.Outbox.Accounts().FailedLogin(f.Client, f.Known, f.Token, f.Host) },
		Issuer: p.issuer(),
		Log:    p.log.With("component", "callout"),
	}
	if p.Settings.Outside() {
		cfg.Measure = 250 * time.Millisecond // less often, because each time all servers are asked
	}
	p.Admission = admission.New(p.Model, p.Outbox, p.Start, p.Reader.Stream,
		func() publisher.Status { return p.Relay.Status() }, p.log.With("component", "opening"))
	p.Callout = callout.New(logins, p.Admission, keys.Answers(), cfg)
	p.Enforcer = callout.NewEnforcer(nc, accounts, p.Callout)
	p.Partners, err = partners.New(nc, accounts, p.Admission, p.Outbox.Receipts(), p.Callout, p.Enforcer, partners.Config{
		MaxConsumers: p.Settings.MaxConsumers, Replicas: p.Settings.NATSConsumerReplicas,
		Log: p.log.With("component", "partners"),
	})
	return err
}

// openKeys opens the key that signs access tokens.
func (p *Server) openKeys(ctx context.Context) (err error) {
	p.TokenKeys, err = tokenkey.Open(ctx, p.Dir, p.Outbox, p.Admission.Directory, p.log.With("component", "keys"))
	return err
}

// PublicURL returns the start of the URLs by which partners reach the read API.
func (p *Server) PublicURL() string {
	if p.Settings.PublicURL != "" {
		return strings.TrimRight(p.Settings.PublicURL, "/")
	}
	return scheme(p.transport.api.configOrPlain()) + p.APIListener.Addr().String()
}

// issuer returns the iss of access tokens.
func (p *Server) issuer() string { return cmp.Or(p.Settings.TokenIssuer, p.PublicURL()+token.Path) }

// Connect opens a NATS connection for a role. It stays open until Close.
func (p *Server) Connect(role natsd.Role) (*nats.Conn, error) {
	options := append(publisher.Options(), nats.SetCustomDialer(&p.dialer), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		p.log.Warn("NATS connection", "role", role, "error", err)
	}))
	nc, err := p.NATS.Connect(role, options...)
	if err != nil {
		return nil, err
	}
	p.onClose(func() error { nc.Close(); return nil })
	return nc, nil
}

// openRelay creates the stream, so that the parts opened later find it, and the relay that
// fills it. If an outside cluster is away, the relay creates the stream later.
func (p *Server) openRelay(ctx context.Context) error {
	nc, err := p.Connect(natsd.Publisher)
	if err != nil {
		return err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	cfg := publisher.Config{
		Stream: publisher.StreamConfig{
			Replicas:     p.Settings.NATSReplicas,
			MaxConsumers: p.Settings.MaxConsumers + partners.OwnConsumers,
			RefillTo:     p.Start.Recorded.StreamSequence,
		},
		Log: p.log.With("component", "publisher"),
	}
	if _, err := publisher.EnsureStream(ctx, js, cfg.Stream); err != nil {
		if !p.Settings.Outside() || errors.Is(err, events.Conflict) {
			return err
		}
		p.log.Warn("the stream cannot be created yet; the publisher tries again", "error", err)
	}
	p.Relay, err = publisher.New(nc, p.Outbox.Source(), cfg)
	return err
}

// openModel opens the read model. If this program cannot read its schema, it is set aside,
// and a new one is filled from the stream before partners are answered.
func (p *Server) openModel(ctx context.Context) (err error) {
	cfg := readmodel.Config{Recorded: p.Start.Position(), Interval: p.compareEvery, Log: p.log.With("component", "readmodel")}
	p.Model, err = readmodel.Open(ctx, p.Dir.ReadModel(), cfg)
	if errors.Is(err, database.ErrChanged) {
		p.log.Warn("the read model is set aside and made anew from the stream", "cause", err)
		if err = readmodel.SetAside(p.Dir.ReadModel(), cfg); err == nil {
			p.Model, err = readmodel.Open(ctx, p.Dir.ReadModel(), cfg)
		}
	}
	switch {
	case errors.Is(err, database.ErrNotADatabase):
		return fmt.Errorf("%w; or make the read model anew with signoff rebuild", err)
	case errors.Is(err, database.ErrNewer):
		return fmt.Errorf("the read model cannot be opened: %w", err)
	case err != nil:
		return fmt.Errorf("%w; if it cannot be repaired, move it away: it is made anew from the stream", err)
	}
	p.onClose(p.Model.Close)
	nc, err := p.Connect(natsd.Reader)
	if err != nil {
		return err
	}
	p.Reader, err = jetstream.New(nc)
	return err
}
