package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

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
	nc, err := nats.Connect(s.NATS, nats.UserCredentials(s.NATSCreds), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(200*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), events.Stream)
	if err != nil {
		t.Fatal(err)
	}
	before := stream.CachedInfo()
	for name, do := range map[string]func() error{
		"delete the stream": func() error { return js.DeleteStream(t.Context(), events.Stream) },
		"purge the stream":  func() error { return stream.Purge(t.Context()) },
		"delete a message":  func() error { return stream.DeleteMsg(t.Context(), 1) },
		"change the stream": func() error { _, err := js.UpdateStream(t.Context(), before.Config); return err },
		"make a stream": func() error {
			_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"other"}})
			return err
		},
		"make a consumer": func() error {
			_, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "c"})
			return err
		},
		"make a consumer that delivers to a partner": func() error {
			_, err := stream.CreatePushConsumer(t.Context(), jetstream.ConsumerConfig{DeliverSubject: "crit.v1.A.x"})
			return err
		},
		"publish an event": func() error {
			_, err := js.Publish(t.Context(), "in.crit.v1.A.DiagnosticReport.signed", nil)
			return err
		},
	} {
		// The server does not let the request through. A request that it has handled is
		// answered, with an APIError if it is refused then.
		var handled *jetstream.APIError
		if err := do(); err == nil || errors.As(err, &handled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	info, err := p.Reader.Stream(t.Context(), events.Stream)
	if err != nil {
		t.Fatal(err)
	}
	if after := info.CachedInfo().State; after.LastSeq != before.State.LastSeq || after.Msgs != before.State.Msgs || after.Consumers != before.State.Consumers {
		t.Errorf("the stream was %+v and is %+v", before.State, after)
	}
}
