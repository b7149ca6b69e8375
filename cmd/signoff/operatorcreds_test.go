package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/events"
)

// Whoever reads serve.json and the file that it names can read events, and change nothing.
func TestServeJSONHoldsNothingThatCanDeleteOrWrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p, _ := startServer(t, dir)
	s, ok := datadir.Dir(dir).Running()
	if !ok || s.NATSCreds != filepath.Join(dir, "operator.creds") {
		t.Fatalf("serve.json holds %+v", s)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "serve.json")); err != nil || len(seedsIn(string(text))) > 0 {
		t.Errorf("serve.json: %s, %v", text, err)
	}
	refused := make(chan struct{}, 1)
	nc, err := nats.Connect(s.NATS, nats.UserCredentials(s.NATSCreds), nats.Timeout(patience), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		if errors.Is(err, nats.ErrPermissionViolation) {
			refused <- struct{}{}
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(patience))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), events.Stream)
	if err != nil {
		t.Fatal(err)
	}
	before := stream.CachedInfo()
	for name, do := range map[string]func(context.Context) error{
		"delete the stream": func(ctx context.Context) error { return js.DeleteStream(ctx, events.Stream) },
		"purge the stream":  func(ctx context.Context) error { return stream.Purge(ctx) },
		"delete a message":  func(ctx context.Context) error { return stream.DeleteMsg(ctx, 1) },
		"change the stream": func(ctx context.Context) error { _, err := js.UpdateStream(ctx, before.Config); return err },
		"make a stream": func(ctx context.Context) error {
			_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"other"}})
			return err
		},
		"make a consumer": func(ctx context.Context) error {
			_, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{Durable: "c"})
			return err
		},
		"make a consumer that delivers to a partner": func(ctx context.Context) error {
			_, err := stream.CreatePushConsumer(ctx, jetstream.ConsumerConfig{DeliverSubject: "crit.v1.A.x"})
			return err
		},
		"publish an event": func(ctx context.Context) error {
			_, err := js.Publish(ctx, "in.crit.v1.A.DiagnosticReport.signed", nil)
			return err
		},
	} {
		// The server does not let the request through, so it stays unanswered.
		ctx, cancel := context.WithCancel(t.Context())
		answered := make(chan error, 1)
		go func() { answered <- do(ctx) }()
		select {
		case <-refused:
			cancel()
			<-answered
		case err := <-answered:
			cancel()
			t.Errorf("%s: %v", name, err)
		}
	}
	awaitCaughtUp(t, p)
	info, err := p.Reader.Stream(t.Context(), events.Stream)
	if err != nil {
		t.Fatal(err)
	}
	head, err := p.Outbox.Source().Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if after := info.CachedInfo().State; after.LastSeq > head.StreamSequence || after.Msgs != after.LastSeq || after.Consumers != before.State.Consumers {
		t.Errorf("the stream was %+v and is %+v; %d events are recorded", before.State, after, head.StreamSequence)
	}
}
