package main

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

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/publisher/callout"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/publisher/partners"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

const defaultMaxCount = 1000

// settings are what a server can be told besides its data directory.
type settings struct {
	Listen        string `help:"Address of the read API and the token endpoint; port 0 takes a free one." default:"127.0.0.1:8080" placeholder:"ADDR"`
	OpsListen     string `help:"Address of /healthz, /readyz and /metrics; with TLS like the read API unless it is on loopback." default:"127.0.0.1:8082" placeholder:"ADDR"`
	NATSListen    string `name:"nats-listen" help:"Address of the embedded NATS server." default:"127.0.0.1:4222" placeholder:"ADDR"`
	TLSCert       string `name:"tls-cert" help:"Certificate of the read API and the token endpoint (PEM); read again when it changes." placeholder:"FILE"`
	TLSKey        string `name:"tls-key" help:"Its private key (PEM)." placeholder:"FILE"`
	NATSTLSCert   string `name:"nats-tls-cert" help:"Certificate of the embedded NATS server (PEM); read again when it changes." placeholder:"FILE"`
	NATSTLSKey    string `name:"nats-tls-key" help:"Its private key (PEM)." placeholder:"FILE"`
	Insecure      bool   `help:"Speak plain text on addresses that other machines reach; for where something else does TLS."`
	PublicURL     string `name:"public-url" help:"Start of every link in answers; default http:// or https:// and the read API's address." placeholder:"URL"`
	NATSPublicURL string `name:"nats-public-url" help:"Where partners reach NATS, for their quick start; default where it listens, or the first of --nats-url." placeholder:"URL"`
	BasePath      string `help:"Path of the read API." default:"${basePath}" placeholder:"PATH"`
	MaxCount      int    `help:"Largest page served." default:"${maxCount}" placeholder:"N"`
	Origin        string `help:"Start of every event's source; fixed when the outbox is created. Default /signoff." placeholder:"URI"`
	TypePrefix    string `help:"Start of every event's type; fixed when the outbox is created. Default org.mskcc.crit." placeholder:"PREFIX"`

	MaxConsumers int `help:"Most consumers of partners on NATS: one for each partner and one for each study granted to it." default:"${maxConsumers}" placeholder:"N"`

	natsFlags
	NATSReplicas         int `name:"nats-replicas" help:"Servers of the outside cluster that hold the stream: 1, 3 or 5. Default 1." placeholder:"N"`
	NATSConsumerReplicas int `name:"nats-consumer-replicas" help:"Servers of the outside cluster that hold each consumer of a partner, at most as many as hold the stream. Default as many." placeholder:"N"`
}

// program is everything one data directory needs, wired but not yet running.
type program struct {
	dir      dataDir
	log      *slog.Logger
	settings settings
	closers  []func() error // in order of opening; closed in reverse

	transport transport
	dialer    dialer // of connections to NATS
	nats      broker
	outbox    *outbox.Outbox
	start     start
	relay     *publisher.Relay
	model     *readmodel.Model
	reader    jetstream.JetStream
	opening   *opening
	signer    *keyring
	callout   *callout.Callout
	enforcer  *callout.Enforcer
	partners  *partners.Reconciler

	announcing sync.Mutex  // held while serve.json is written
	announced  atomic.Bool // serve.json is there, to be kept up to date

	apiListener, opsListener net.Listener
	api, ops                 *http.Server
	metrics                  *prometheus.Registry
}

// openProgram takes the data directory, opens all parts in the order in which
// they depend on each other, and takes the addresses, so that whatever is
// wrong is said before anything runs.
func openProgram(ctx context.Context, dir dataDir, s settings, log *slog.Logger) (*program, error) {
	s.MaxConsumers = cmp.Or(s.MaxConsumers, partners.DefaultMaxConsumers)
	p := &program{dir: dir, settings: s, log: slog.New(rest.LogHandler(log.Handler()))}
	if err := p.openAll(ctx, []component{
		{"TLS", p.openTransport},
		{"data directory", p.lockDirectory},
		{"listeners", p.listen},
		{"outbox", p.openOutbox},
		{"NATS", p.openNATS},
		{"publisher", p.openRelay},
		{"read model", p.openModel},
		{"partners", p.openPartners},
		{"token key", p.openKeys},
	}); err != nil {
		return nil, err
	}
	p.serveHTTP()
	return p, nil
}

// openAll opens the parts one after the other. Where one fails, or ctx ends
// meanwhile, it closes what is open. The end of ctx is errStopped and no
// failure, whatever it has made fail.
func (p *program) openAll(ctx context.Context, parts []component) error {
	opened := p.dialer.interruptible(ctx)
	defer opened()
	for _, part := range parts {
		p.log.Debug("opening", "component", part.name)
		err := part.run(ctx)
		if ctx.Err() != nil {
			return cmp.Or(p.close(), errStopped)
		}
		if err != nil {
			return errors.Join(err, p.close())
		}
	}
	return nil
}

// onClose has something closed with the program.
func (p *program) onClose(closer func() error) { p.closers = append(p.closers, closer) }

// close closes what was opened, last first.
func (p *program) close() error {
	var errs []error
	for i := len(p.closers) - 1; i >= 0; i-- {
		errs = append(errs, p.closers[i]())
	}
	p.closers = nil
	return errors.Join(errs...)
}

func (p *program) lockDirectory(context.Context) error {
	if err := p.dir.make(); err != nil {
		return err
	}
	unlock, err := p.dir.lock("serve")
	if err != nil {
		return err
	}
	p.onClose(func() error { unlock(); return nil })
	return nil
}

// listen takes the addresses. Closing a listener that its server has closed
// already is no error.
func (p *program) listen(ctx context.Context) error {
	for _, l := range []struct {
		flag, address string
		to            *net.Listener
	}{{"--listen", p.settings.Listen, &p.apiListener}, {"--ops-listen", p.settings.OpsListen, &p.opsListener}} {
		var config net.ListenConfig
		listener, err := config.Listen(ctx, "tcp", l.address)
		if err != nil {
			return fmt.Errorf("%s: %w; choose another address or stop who uses it", l.flag, err)
		}
		*l.to = listener
		p.onClose(func() error { _ = listener.Close(); return nil })
	}
	return nil
}

func (p *program) openOutbox(ctx context.Context) (err error) {
	p.outbox, err = outbox.Open(ctx, p.dir.outbox(), outbox.Config{
		Namespace: events.Namespace{Origin: p.settings.Origin, TypePrefix: p.settings.TypePrefix},
		Log:       p.log.With("component", "outbox"),
	})
	if err != nil {
		return err
	}
	p.onClose(p.outbox.Close)
	p.start, err = readStart(ctx, p.outbox)
	return err
}

// openPartners opens what lets partners log in and subscribe.
func (p *program) openPartners(context.Context) error {
	nc, err := p.connect(natsd.Partners)
	if err != nil {
		return err
	}
	seed, err := p.dir.loginSeed()
	if err != nil {
		return err
	}
	cfg := callout.Config{Log: p.log.With("component", "callout")}
	if p.settings.outside() {
		cfg.Measure = 250 * time.Millisecond // all servers are asked each time
	}
	p.opening = newOpening(p)
	if p.callout, err = callout.New(nc, p.opening, seed, cfg); err != nil {
		return err
	}
	p.enforcer = callout.NewEnforcer(nc, p.nats, p.callout)
	p.partners, err = partners.New(nc, p.nats, p.opening, p.outbox.Receipts(), p.callout, p.enforcer, partners.Config{
		MaxConsumers: p.settings.MaxConsumers, Replicas: p.settings.NATSConsumerReplicas,
		Log: p.log.With("component", "partners"),
	})
	return err
}

// openKeys opens the key that signs tokens.
func (p *program) openKeys(ctx context.Context) (err error) {
	p.signer, err = openKeyring(ctx, p.dir, p.outbox, p.opening.Directory, p.log.With("component", "keys"))
	return err
}

// publicURL is where callers reach the read API.
func (p *program) publicURL() string {
	if p.settings.PublicURL != "" {
		return strings.TrimRight(p.settings.PublicURL, "/")
	}
	return scheme(p.transport.api.configOrPlain()) + p.apiListener.Addr().String()
}

// connect opens a connection for a role that lasts as long as the program.
func (p *program) connect(role natsd.Role) (*nats.Conn, error) {
	options := append(publisher.Options(), nats.SetCustomDialer(&p.dialer), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		p.log.Warn("NATS connection", "role", role, "error", err)
	}))
	nc, err := p.nats.Connect(role, options...)
	if err != nil {
		return nil, err
	}
	p.onClose(func() error { nc.Close(); return nil })
	return nc, nil
}

// openRelay makes the stream, so that whoever reads it from now on finds it,
// and the relay that fills it. A cluster that is away is waited for: then the
// relay makes the stream.
func (p *program) openRelay(ctx context.Context) error {
	nc, err := p.connect(natsd.Publisher)
	if err != nil {
		return err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	cfg := publisher.Config{
		Stream: publisher.StreamConfig{
			Replicas:     p.settings.NATSReplicas,
			MaxConsumers: p.settings.MaxConsumers + partners.OwnConsumers,
			RefillTo:     p.start.recorded.StreamSequence,
		},
		Log: p.log.With("component", "publisher"),
	}
	if _, err := publisher.EnsureStream(ctx, js, cfg.Stream); err != nil {
		if !p.settings.outside() || errors.Is(err, events.Conflict) {
			return err
		}
		p.log.Warn("the stream is not there yet", "error", err)
	}
	p.relay, err = publisher.New(nc, p.outbox.Source(), cfg)
	return err
}

// openModel opens the read model. One whose schema this program cannot read is
// set aside: the new one is filled from the stream before anything opens.
func (p *program) openModel(ctx context.Context) (err error) {
	cfg := readmodel.Config{Recorded: p.start.position(), Log: p.log.With("component", "readmodel")}
	p.model, err = readmodel.Open(ctx, p.dir.readModel(), cfg)
	if errors.Is(err, database.ErrChanged) {
		p.log.Warn("the read model is set aside and made anew from the stream", "cause", err)
		if err = readmodel.SetAside(p.dir.readModel(), cfg); err == nil {
			p.model, err = readmodel.Open(ctx, p.dir.readModel(), cfg)
		}
	}
	switch {
	case errors.Is(err, database.ErrNotADatabase):
		return fmt.Errorf("%w; or signoff rebuild makes the read model anew", err)
	case errors.Is(err, database.ErrNewer):
		return fmt.Errorf("the read model cannot be opened: %w", err)
	case err != nil:
		return fmt.Errorf("%w; if it cannot be mended, move it away: it is made anew from the stream", err)
	}
	p.onClose(p.model.Close)
	nc, err := p.connect(natsd.Reader)
	if err != nil {
		return err
	}
	p.reader, err = jetstream.New(nc)
	return err
}
