package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// rebuildCommand makes the read model anew from the stream, beside a running
// server or without one. Readers see the old or the new content, never less. While
// the stream is being filled again it waits, and it installs nothing that ends
// before the present read model or before what the outbox has published.
type rebuildCommand struct {
	natsFlags
	Insecure bool `help:"Speak plain text to a NATS server on another machine."`
}

func (cmd *rebuildCommand) Run(ctx context.Context, c *common, t terminal) error {
	dir := c.dir()
	if err := dir.mustExist(); err != nil {
		return err
	}
	if err := cmd.check(ctx, cmd.Insecure); err != nil {
		return err
	}
	start, err := startOf(ctx, dir)
	if err != nil {
		return err
	}
	return withStream(ctx, dir, cmd.natsFlags, func(js jetstream.JetStream) error {
		bar := newProgress(t, "applying events", 0)
		var applied uint64
		err := readmodel.Rebuild(ctx, dir.readModel(), js, readmodel.Config{Recorded: start.position(), Log: quiet}, func(done, total uint64) {
			applied = done
			bar.to(int64(done), int64(total))
		})
		bar.end()
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(t.out, "the read model is rebuilt from %s\n", plural(int(applied), "event"))
		return err
	})
}

// startOf reads what the outbox has published before anything is done: what the
// read model must not end before, whatever has become of its file.
func startOf(ctx context.Context, dir dataDir) (start, error) {
	o, err := outbox.Open(ctx, dir.outbox(), outbox.Config{})
	if err != nil {
		return start{}, err
	}
	s, err := readStart(ctx, o)
	return s, errors.Join(err, o.Close())
}

// withStream connects to the running server's stream; where none is running
// it goes to the server elsewhere that flags name, or it starts the embedded
// one for the time of fn, and first brings the stream up to the outbox.
func withStream(ctx context.Context, dir dataDir, flags natsFlags, fn func(jetstream.JetStream) error) error {
	unlock, err := dir.lock("rebuild")
	if err != nil {
		if s, ok := dir.running(); ok {
			return withRunning(dir, s, fn)
		}
		return err
	}
	defer unlock()
	if flags.outside() {
		return withOutside(flags, fn)
	}
	server, err := natsd.Start(natsd.Config{Dir: string(dir), Log: quiet})
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

func withRunning(dir dataDir, s serving, fn func(jetstream.JetStream) error) error {
	if s.Outside != nil {
		return withOutside(*s.Outside, fn)
	}
	options := []nats.Option{nats.UserInfo(s.NATSUser, s.NATSPassword), nats.MaxReconnects(-1)}
	if strings.HasPrefix(s.NATS, "tls://") {
		options = append(options, nats.Secure(dir.trusted()))
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

// withOutside reads the stream where it is. What is not published yet is
// applied once it is.
func withOutside(flags natsFlags, fn func(jetstream.JetStream) error) error {
	nc, err := flags.reach(quiet).Connect(natsd.Reader, publisher.Options()...)
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

// catchUp runs the relay until all that is pending is in the stream.
func catchUp(ctx context.Context, dir dataDir, server *natsd.Server) error {
	o, err := outbox.Open(ctx, dir.outbox(), outbox.Config{})
	if err != nil {
		return err
	}
	nc, err := server.Connect(natsd.Publisher, publisher.Options()...)
	if err != nil {
		return errors.Join(err, o.Close())
	}
	defer nc.Close()
	relay, err := publisher.New(nc, o.Source(), publisher.Config{Log: quiet})
	if err != nil {
		return errors.Join(err, o.Close())
	}
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- relay.Run(running) }()
	err = awaitPublished(ctx, o, relay)
	stop()
	return errors.Join(err, <-done, o.Close())
}

// awaitPublished waits until nothing is pending; a relay that stopped never
// gets there.
func awaitPublished(ctx context.Context, o *outbox.Outbox, relay *publisher.Relay) error {
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	for {
		s := relay.Status()
		if s.State == publisher.Stopped {
			return errors.New(s.Reason)
		}
		pending, err := o.Source().Pending(ctx, 1)
		if err != nil {
			return err
		}
		if s.Ready() && len(pending) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}
