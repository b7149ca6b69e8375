package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/publisher/callout"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/publisher/partners"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// broker is the NATS server that the program works with: the embedded one or
// one that runs elsewhere.
type broker interface {
	partners.Accounts
	callout.Servers
	Connect(role natsd.Role, opts ...nats.Option) (*nats.Conn, error)
	Credentials(role natsd.Role) natsd.Credentials // none of a server that runs elsewhere
	ClientURL() string
	Shutdown()
}

// openNATS starts the embedded server, or finds the way to one that runs
// elsewhere.
func (p *program) openNATS(ctx context.Context) (err error) {
	s := &p.settings
	if err := s.check(ctx, s.Insecure); err != nil {
		return err
	}
	if !slices.Contains([]int{0, 1, 3, 5}, s.NATSReplicas) {
		return usageError("--nats-replicas must be 1, 3 or 5")
	}
	if !s.outside() {
		if s.NATSReplicas > 1 || s.NATSConsumerReplicas > 1 {
			return usageError("--nats-replicas and --nats-consumer-replicas are for the cluster that --nats-url names")
		}
		return p.startNATS()
	}
	if most := max(1, s.NATSReplicas); s.NATSConsumerReplicas < 0 || s.NATSConsumerReplicas > most {
		return usageError(fmt.Sprintf("--nats-consumer-replicas must be from 1 to --nats-replicas, which is %d", most))
	}
	if s.natsFlags, err = s.absolute(); err != nil {
		return err
	}
	p.nats = s.reach(p.log.With("component", "nats"))
	p.onClose(func() error { p.nats.Shutdown(); return nil })
	return nil
}

func (p *program) startNATS() error {
	seed, err := p.dir.loginSeed()
	if err != nil {
		return err
	}
	issuer, err := callout.IssuerKey(seed)
	if err != nil {
		return err
	}
	p.nats, err = natsd.Start(natsd.Config{
		Dir: string(p.dir), Listen: p.settings.NATSListen, TLS: p.transport.nats.configOrPlain(),
		LoginIssuer: issuer, Log: p.log.With("component", "nats"),
	})
	if err != nil {
		return fmt.Errorf("start NATS (--nats-listen): %w", err)
	}
	p.onClose(func() error { p.nats.Shutdown(); return nil })
	return nil
}

// dialer dials NATS servers that run elsewhere. While the program opens it can
// be interrupted: a server that accepts a connection and says nothing is waited
// for, for seconds each time. Later, connections outlast the order to stop.
type dialer struct {
	opening context.Context // its end closes what was dialled until opened
	opened  atomic.Bool
}

// interruptible has the end of ctx close connections until opened is called.
func (d *dialer) interruptible(ctx context.Context) (opened func()) {
	opening, interrupt := context.WithCancel(context.WithoutCancel(ctx))
	release := context.AfterFunc(ctx, interrupt)
	*d = dialer{opening: opening}
	return func() {
		release()
		d.opened.Store(true)
	}
}

// dialTimeout is as long as the wait for the server's first word.
const dialTimeout = tenancy.LoginWait + time.Second

// Dial is what nats.SetCustomDialer asks for.
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

// notes are what an operator has to do that keeps nothing else from being ready.
func (p *program) notes() []check {
	notes := []check{p.refillNote(), {"outdatedStudies", p.outdatedStudies}, {"partnerConsumers", p.partnerConsumers}}
	if outside, ok := p.nats.(*natsd.Outside); ok {
		notes = append(notes, check{"natsConfiguration", outside.Configured})
	}
	return notes
}

// partnerConsumers returns an error when most or all of the consumers that partners may
// have are taken.
func (p *program) partnerConsumers(context.Context) error {
	if text := p.partners.Status().CapacityWarning(); text != "" {
		return errors.New(text)
	}
	return nil
}

// outdatedStudies names those from which only a newer version can answer.
func (p *program) outdatedStudies(ctx context.Context) error {
	types, err := p.model.Outdated(ctx)
	if err != nil || len(types) == 0 {
		return err
	}
	const most = 10
	var named []string
	for _, study := range slices.Sorted(maps.Keys(types))[:min(most, len(types))] {
		named = append(named, study+" ("+types[study]+")")
	}
	return fmt.Errorf("%d studies answer 503, because they have events of a type that this version does not know; run a newer version of signoff: %s",
		len(types), strings.Join(named, ", "))
}
