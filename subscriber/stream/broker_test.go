package stream_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher/brokertest"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
)

// broker is the real server behind a proxy that a test can interrupt.
type broker struct {
	*brokertest.Broker
	t       testing.TB
	writer  jetstream.JetStream // in the process, as publisher
	proxy   net.Listener
	mu      sync.Mutex
	conns   []net.Conn
	blocked bool
}

func newBroker(t testing.TB) *broker {
	t.Helper()
	b := &broker{Broker: brokertest.New(t, natsd.Config{Listen: "127.0.0.1:0"}), t: t}
	b.Start()
	b.writer = b.JetStream(natsd.Publisher)
	proxy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.proxy = proxy
	t.Cleanup(func() { proxy.Close(); b.disconnect() })
	go b.serve()
	b.createStream()
	return b
}

// createStream makes the stream as the publisher does, except that a test can
// delete from it.
func (b *broker) createStream(changes ...func(*jetstream.StreamConfig)) {
	b.t.Helper()
	cfg := jetstream.StreamConfig{
		Name:             events.Stream,
		Subjects:         []string{events.IngestWildcard},
		SubjectTransform: &jetstream.SubjectTransformConfig{Source: events.IngestWildcard, Destination: events.StoredWildcard},
		RePublish:        &jetstream.RePublish{Source: events.StoredWildcard, Destination: events.StoredWildcard},
		Storage:          jetstream.FileStorage,
		AllowDirect:      true,
		Duplicates:       100 * time.Millisecond,

		AllowAtomicPublish: true,
	}
	for _, change := range changes {
		change(&cfg)
	}
	if _, err := b.writer.CreateStream(context.Background(), cfg); err != nil {
		b.t.Fatal(err)
	}
}

// updateStream changes the configuration of the stream.
func (b *broker) updateStream(change func(*jetstream.StreamConfig)) {
	b.t.Helper()
	stored, err := b.writer.Stream(context.Background(), events.Stream)
	if err != nil {
		b.t.Fatal(err)
	}
	cfg := stored.CachedInfo().Config
	change(&cfg)
	if _, err := b.writer.UpdateStream(context.Background(), cfg); err != nil {
		b.t.Fatal(err)
	}
}

func (b *broker) deleteStream() {
	b.t.Helper()
	if err := b.writer.DeleteStream(context.Background(), events.Stream); err != nil {
		b.t.Fatal(err)
	}
}

// connectReader connects through the proxy.
func (b *broker) connectReader() jetstream.JetStream {
	b.t.Helper()
	nc, err := nats.Connect("nats://"+b.proxy.Addr().String(),
		b.Login(natsd.Reader), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.IgnoreAuthErrorAbort(), nats.Timeout(enough))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		b.t.Fatal(err)
	}
	return js
}

func (b *broker) serve() {
	for {
		client, err := b.proxy.Accept()
		if err != nil {
			return
		}
		b.mu.Lock()
		if b.blocked {
			client.Close()
		} else if server, err := b.dial(); err != nil {
			client.Close()
		} else {
			b.conns = append(b.conns, client, server)
			go func() { _, _ = io.Copy(server, client); server.Close() }()
			go func() { _, _ = io.Copy(client, server); client.Close() }()
		}
		b.mu.Unlock()
	}
}

// dial connects to the server that runs now.
func (b *broker) dial() (net.Conn, error) {
	s := b.Server()
	if s == nil {
		return nil, errors.New("the broker is stopped")
	}
	return net.Dial("tcp", s.ClientURL()[len("nats://"):])
}

// disconnect closes the connections through the proxy and accepts no others until
// allow is called.
func (b *broker) disconnect() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.blocked = true
	for _, c := range b.conns {
		c.Close()
	}
	b.conns = nil
}

func (b *broker) allow() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.blocked = false
}

// publish stores events in the form in which the relay does.
func (b *broker) publish(list ...events.Event) {
	b.t.Helper()
	for _, e := range list {
		if _, err := b.writer.PublishMsg(context.Background(), brokertest.Message(e)); err != nil {
			b.t.Fatal(err)
		}
	}
}
