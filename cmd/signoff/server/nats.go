package server

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/publisher/callout"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/publisher/partners"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// broker is the NATS server of the program: the embedded one, or an outside server or
// cluster.
type broker interface {
	partners.Accounts
	callout.Servers
	Connect(role natsd.Role, opts ...nats.Option) (*nats.Conn, error)
	Credentials(role natsd.Role) natsd.Credentials // empty for an outside server
	ClientURL() string
	Shutdown()
}

// openNATS starts the embedded NATS server, or prepares connections to an outside one.
func (p *Server) openNATS(ctx context.Context) (err error) {
	s := &p.Settings
	if err := s.Check(ctx, s.Insecure); err != nil {
		return err
	}
	if !slices.Contains([]int{0, 1, 3, 5}, s.NATSReplicas) {
		return console.UsageError("--nats-replicas must be 1, 3 or 5")
	}
	if !s.Outside() {
		if s.NATSReplicas > 1 || s.NATSConsumerReplicas > 1 {
			return console.UsageError("--nats-replicas and --nats-consumer-replicas are for the cluster that --nats-url names")
		}
		return p.startNATS()
	}
	if most := max(1, s.NATSReplicas); s.NATSConsumerReplicas < 0 || s.NATSConsumerReplicas > most {
		return console.UsageError(fmt.Sprintf("--nats-consumer-replicas must be from 1 to --nats-replicas, which is %d", most))
	}
	if s.Flags, err = s.Absolute(); err != nil {
		return err
	}
	p.NATS = s.Reach(p.log.With("component", "nats"))
	p.onClose(func() error { p.NATS.Shutdown(); return nil })
	return nil
}

func (p *Server) startNATS() error {
	seed, err := p.Dir.LoginSeed()
	if err != nil {
		return err
	}
	issuer, err := callout.IssuerKey(seed)
	if err != nil {
		return err
	}
	p.NATS, err = natsd.Start(natsd.Config{
		Dir: string(p.Dir), Listen: p.Settings.NATSListen, TLS: p.transport.nats.configOrPlain(),
		LoginIssuer: issuer, Log: p.log.With("component", "nats"),
	})
	if err != nil {
		return fmt.Errorf("start NATS (--nats-listen): %w", err)
	}
	p.onClose(func() error { p.NATS.Shutdown(); return nil })
	return nil
}

// dialer dials outside NATS servers. While the program opens it can be interrupted, because
// a server that accepts a connection and sends nothing delays it for seconds each time.
// Afterwards the end of the context no longer closes connections: the parts that stop
// need them.
type dialer struct {
	opening context.Context // its end closes the connections that were dialled before opened
	opened  atomic.Bool
}

// interruptible makes the end of ctx close connections, until opened is called.
func (d *dialer) interruptible(ctx context.Context) (opened func()) {
	opening, interrupt := context.WithCancel(context.WithoutCancel(ctx))
	release := context.AfterFunc(ctx, interrupt)
	*d = dialer{opening: opening}
	return func() {
		release()
		d.opened.Store(true)
	}
}

// dialTimeout is as long as the wait for the server's first message.
const dialTimeout = tenancy.LoginWait + time.Second

// Dial implements nats.CustomDialer.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	tcp := net.Dialer{Timeout: dialTimeout}
	if d.opened.Load() {
		return tcp.DialContext(context.Background(), network, address)
	}
	c, err := tcp.DialContext(d.opening, network, address)
	if err == nil {
		context.AfterFunc(d.opening, func() { _ = c.Close() })
	}
	return c, err
}
