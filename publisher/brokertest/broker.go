// Package brokertest has NATS servers for tests: the embedded one, which can be stopped and
// started again, and outside servers, which run from their files as nats-server does.
package brokertest

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
)

// Broker is an embedded server that can be stopped and started again. Its connections then
// find the new one.
type Broker struct {
	Config natsd.Config // of the next start

	t      testing.TB
	mu     sync.Mutex
	server *natsd.Server
}

// New returns a broker that does not run yet. It stops when the test ends. The directory
// defaults to one of the test.
func New(t testing.TB, cfg natsd.Config) *Broker {
	t.Helper()
	cfg.Log = slog.New(slog.DiscardHandler)
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	b := &Broker{t: t, Config: cfg}
	t.Cleanup(b.Stop)
	return b
}

// Start starts the server.
func (b *Broker) Start() {
	b.t.Helper()
	s, err := natsd.Start(b.Config)
	if err != nil {
		b.t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.server = s
}

// Stop stops the server, if it runs.
func (b *Broker) Stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.server != nil {
		b.server.Shutdown()
	}
	b.server = nil
}

// Server returns the server that runs now, or nil.
func (b *Broker) Server() *natsd.Server {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.server
}

// InProcessConn connects to the server that runs now.
func (b *Broker) InProcessConn() (net.Conn, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.server == nil {
		return nil, errors.New("the broker is stopped")
	}
	return b.server.InProcessConn()
}

// Connect opens a connection within the process that survives a restart of the broker,
// whose passwords are new then.
func (b *Broker) Connect(role natsd.Role) *nats.Conn {
	b.t.Helper()
	nc, err := nats.Connect("", append(publisher.Options(), nats.InProcessServer(b), nats.ReconnectWait(5*time.Millisecond), nats.Timeout(patience),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), b.Login(role))...)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(nc.Close)
	return nc
}

// JetStream returns the API of the stream for a role, on a connection of its own.
func (b *Broker) JetStream(role natsd.Role) jetstream.JetStream {
	b.t.Helper()
	js, err := jetstream.New(b.Connect(role), jetstream.WithDefaultTimeout(patience))
	if err != nil {
		b.t.Fatal(err)
	}
	return js
}

// Login returns the option that logs in with the credentials that are current at the time.
func (b *Broker) Login(role natsd.Role) nats.Option {
	current := func() ([]byte, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.server == nil {
			return nil, errors.New("the broker is stopped")
		}
		return b.server.Credentials(role)
	}
	return nats.UserJWT(
		func() (string, error) {
			creds, err := current()
			if err != nil {
				return "", err
			}
			return jwt.ParseDecoratedJWT(creds)
		},
		func(nonce []byte) ([]byte, error) {
			creds, err := current()
			if err != nil {
				return nil, err
			}
			user, err := jwt.ParseDecoratedUserNKey(creds)
			if err != nil {
				return nil, err
			}
			return user.Sign(nonce)
		})
}

// Message returns the message by which an event is stored in the stream.
func Message(e events.Event) *nats.Msg {
	return &nats.Msg{Subject: events.IngestPrefix + e.NATSSubject(), Header: e.Header(), Data: e.Data}
}

// PublishBatches stores events in atomic batches, as the relay does when it is behind.
func PublishBatches(t testing.TB, js jetstream.JetStream, list []events.Event) {
	t.Helper()
	for len(list) > 0 {
		n := min(500, len(list))
		batch := make([]*nats.Msg, n)
		for i, e := range list[:n] {
			batch[i] = Message(e)
		}
		if _, err := jetstreamext.PublishMsgBatch(context.Background(), js, batch); err != nil {
			t.Fatal(err)
		}
		list = list[n:]
	}
}
