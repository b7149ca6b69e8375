package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/natsflags"
	"github.com/seed-e88a4ece/signoff/events/retry"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
)

// WithStream calls fn with a connection to the stream. If a server runs on the directory,
// that is its stream. If none runs, it is the stream of the outside NATS server that flags
// name. If they name none, WithStream starts the embedded NATS server for the duration of
// fn, and first publishes the events in the outbox that are not published yet. While no
// server runs, it holds the directory's lock.
func WithStream(ctx context.Context, dir datadir.Dir, flags natsflags.Flags, fn func(jetstream.JetStream) error) error {
	unlock, err := dir.Lock("rebuild")
	if err != nil {
		if s, ok := dir.Running(); ok {
			return withRunning(dir, s, fn)
		}
		return err
	}
	defer unlock()
	if flags.Outside() {
		return withOutside(flags, fn)
	}
	server, err := natsd.Start(natsd.Config{Dir: string(dir), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer server.Shutdown()
	if err := catchUp(ctx, dir, server); err != nil {
		return err
	}
	nc, err := server.Connect(natsd.Reader, publisher.Options()...)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	return fn(js)
}

// withRunning calls fn with a connection to the NATS server of the running server.
func withRunning(dir datadir.Dir, s datadir.Serving, fn func(jetstream.JetStream) error) error {
	if s.Outside != nil {
		return withOutside(*s.Outside, fn)
	}
	options := []nats.Option{nats.UserCredentials(s.NATSCreds), nats.MaxReconnects(-1)}
	if strings.HasPrefix(s.NATS, "tls://") {
		options = append(options, nats.Secure(dir.Trusted()))
	}
	nc, err := nats.Connect(s.NATS, options...)
	if err != nil {
		return fmt.Errorf("connect to the running server's NATS: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	return fn(js)
}

// withOutside calls fn with a connection to an outside NATS server. It publishes nothing.
func withOutside(flags natsflags.Flags, fn func(jetstream.JetStream) error) error {
	nc, err := flags.Reach(slog.New(slog.DiscardHandler)).Connect(natsd.Reader, publisher.Options()...)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	return fn(js)
}

// catchUp runs a relay on the embedded NATS server until all events of the outbox are
// published, except those of parked studies.
func catchUp(ctx context.Context, dir datadir.Dir, server *natsd.Server) error {
	o, err := outbox.Open(ctx, dir.Outbox(), outbox.Config{})
	if err != nil {
		return err
	}
	nc, err := server.Connect(natsd.Publisher, publisher.Options()...)
	if err != nil {
		return errors.Join(err, o.Close())
	}
	defer nc.Close()
	relay, err := publisher.New(nc, o.Source(), publisher.Config{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return errors.Join(err, o.Close())
	}
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- relay.Run(running) }()
	err = AwaitPublished(ctx, o, relay)
	stop()
	return errors.Join(err, <-done, o.Close())
}

// AwaitPublished waits until all events of the outbox are published, except those of parked
// studies. It returns an error if the relay has stopped, because that publishes nothing
// more.
func AwaitPublished(ctx context.Context, o *outbox.Outbox, relay *publisher.Relay) error {
	return retry.Poll(ctx, func() (bool, error) {
		s := relay.Status()
		if s.State == publisher.Stopped {
			return false, errors.New(s.Reason)
		}
		pending, err := o.Source().Pending(ctx, 1)
		return s.Ready() && len(pending) == 0, err
	})
}
