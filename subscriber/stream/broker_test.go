package stream_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
)

// broker is the real server behind a proxy that a test can interrupt.
type broker struct {
	t       testing.TB
	dir     string
	server  *natsd.Server
	writer  jetstream.JetStream // in the process, as publisher
	proxy   net.Listener
	mu      sync.Mutex
	conns   []net.Conn
	blocked bool
}

func newBroker(t testing.TB) *broker {
	t.Helper()
	b := &broker{t: t, dir: t.TempDir()}
	b.start()
	t.Cleanup(func() { b.stop() })
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

func (b *broker) start() {
	b.t.Helper()
	s, err := natsd.Start(natsd.Config{Dir: b.dir, Listen: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.t.Fatal(err)
	}
	nc, err := s.Connect(natsd.Publisher)
	if err != nil {
		b.t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		b.t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.server, b.writer = s, js
}

func (b *broker) stop() {
	b.writer.Conn().Close()
	b.server.Shutdown()
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

// connect connects within the process.
func (b *broker) connect(role natsd.Role) jetstream.JetStream {
	b.t.Helper()
	nc, err := b.server.Connect(role)
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

// connectReader connects through the proxy.
func (b *broker) connectReader() jetstream.JetStream {
	b.t.Helper()
	nc, err := nats.Connect("nats://"+b.proxy.Addr().String(),
		loginOf(func() ([]byte, error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.server.Credentials(natsd.Reader)
		}),
		nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.IgnoreAuthErrorAbort())
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
		} else if server, err := net.Dial("tcp", b.server.ClientURL()[len("nats://"):]); err != nil {
			client.Close()
		} else {
			b.conns = append(b.conns, client, server)
			go func() { _, _ = io.Copy(server, client); server.Close() }()
			go func() { _, _ = io.Copy(client, server); client.Close() }()
		}
		b.mu.Unlock()
	}
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
		msg := &nats.Msg{Subject: events.IngestPrefix + e.NATSSubject(), Header: e.Header(), Data: e.Data}
		if _, err := b.writer.PublishMsg(context.Background(), msg); err != nil {
			b.t.Fatal(err)
		}
	}
}

// loginOf logs in with the credentials that are current at the time.
func loginOf(current func() ([]byte, error)) nats.Option {
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
