package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/publisher/operator"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// broker is the NATS server of the program: the embedded one, or an outside server or
// cluster.
type broker interface {
	Connect(role natsd.Role, opts ...nats.Option) (*nats.Conn, error)
	ClientURL() string
}

// openNATS checks the flags for NATS. Then it starts the embedded NATS server, or prepares
// connections to an outside one, which it does not contact yet.
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
	p.outside = s.Reach(p.log.With("component", "nats"))
	p.NATS = p.outside
	return nil
}

// startNATS starts the embedded server, and writes the operator's credentials for it.
func (p *Server) startNATS() error {
	s, err := natsd.Start(natsd.Config{
		Dir: string(p.Dir), Listen: p.Settings.NATSListen, TLS: p.transport.nats.configOrPlain(),
		MaxConnections: p.maxNATSConnections, Log: p.log.With("component", "nats"),
	})
	if err != nil {
		return fmt.Errorf("start NATS (--nats-listen): %w", err)
	}
	p.onClose(func() error { s.Shutdown(); return nil })
	p.NATS, p.Embedded = s, s
	creds, err := s.Credentials(natsd.Operator)
	if err == nil {
		p.creds, err = filepath.Abs(p.Dir.OperatorCreds())
	}
	if err == nil {
		err = datadir.WriteFile(p.creds, creds)
	}
	if err != nil {
		return fmt.Errorf("write the operator's NATS credentials: %w", err)
	}
	p.onClose(func() error { return os.Remove(p.creds) })
	return nil
}

// openAccounts returns the Accounts, which push partners' accounts to the NATS servers, and
// the keys that sign them. For outside servers, nats-config must have made the keys: those
// servers refuse accounts that others have signed.
func (p *Server) openAccounts() (*operator.Accounts, *operator.Keys, error) {
	if p.Embedded != nil {
		return p.Embedded.Accounts(), p.Embedded.Keys(), nil
	}
	if _, err := os.Stat(p.Dir.NATSKeys()); errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("%s is missing; write the keys and the configuration of the NATS servers with signoff nats-config, on the same data directory", p.Dir.NATSKeys())
	}
	keys, err := operator.OpenKeys(p.Dir.NATSKeys())
	if err != nil {
		return nil, nil, err
	}
	_, preload, err := keys.StoredPreload(time.Now())
	if err != nil {
		return nil, nil, err
	}
	return p.outside.Accounts(keys, preload), keys, nil
}

// dialer dials NATS servers. While the program opens, the end of its context closes the
// connections, because a server that accepts a connection and sends nothing would delay the
// stop for seconds each time. Once the program is open, the end of the context no longer
// closes them, because parts need them while they stop.
type dialer struct {
	opening context.Context // its end closes the connections that were dialled while the program opened
	opened  atomic.Bool     // the program is open
}

// interruptible has the end of ctx close the connections, until end is called.
func (d *dialer) interruptible(ctx context.Context) (end func()) {
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
