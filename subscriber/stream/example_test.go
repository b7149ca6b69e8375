package stream_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/subscriber/stream"
)

// counter counts the events of each study. It stores counts and progress in
// memory; a real Handler stores both in one transaction.
type counter struct {
	progress stream.Progress
	events   map[string]int // by study key
	reached  func(streamSequence uint64)
}

func (c *counter) Resume(context.Context) (stream.Progress, error) { return c.progress, nil }

func (c *counter) Apply(_ context.Context, b stream.Batch) error {
	if !b.After.Same(c.progress.Position) {
		return stream.ErrMoved
	}
	for _, m := range b.Messages {
		c.events[m.Event.Study]++
		c.progress.ChainHeads[m.Event.Study] = m.Event.ChainHead()
	}
	c.progress.Position = b.Position
	c.reached(b.Position.StreamSequence)
	return nil
}

// A Reader calls the Handler with every event of the stream, in order, until the
// context ends.
func ExampleReader() {
	js, closeServer := serverWithEvents() // stands for the connection to the publisher's server, with five events
	defer closeServer()

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c := &counter{
		progress: stream.Progress{ChainHeads: make(map[string]events.ChainHead)},
		events:   make(map[string]int),
		reached: func(streamSequence uint64) {
			if streamSequence == 5 {
				cancel()
			}
		},
	}
	err := stream.NewReader(js, c, stream.Config{}).Run(ctx)
	switch {
	case errors.Is(err, stream.ErrReplaced):
		log.Fatal("start over from the first event, or ask the publisher: ", err)
	case errors.Is(err, events.Gap), errors.Is(err, events.Altered):
		log.Fatal("events are missing or were altered: ", err)
	case err != nil:
		log.Fatal(err)
	}
	fmt.Println(c.events)
	fmt.Println("stored up to stream sequence", c.progress.Position.StreamSequence)
	// Output:
	// map[S1:3 S2:2]
	// stored up to stream sequence 5
}

// serverWithEvents starts an embedded server whose stream has three events of
// study S1 and two of S2. It panics where a test would fail.
func serverWithEvents() (js jetstream.JetStream, closeServer func()) {
	dir := must(os.MkdirTemp("", "signoff-example-*"))
	server := must(natsd.Start(natsd.Config{Dir: dir, Listen: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)}))
	writer, reader := must(server.Connect(natsd.Publisher)), must(server.Connect(natsd.Reader))
	published := must(jetstream.New(writer))
	must(publisher.EnsureStream(context.Background(), published, publisher.StreamConfig{}))
	for _, e := range append((&study{key: "S1"}).take(3), (&study{key: "S2"}).take(2)...) {
		msg := &nats.Msg{Subject: events.IngestPrefix + e.NATSSubject(), Header: e.Header(), Data: e.Data}
		must(published.PublishMsg(context.Background(), msg))
	}
	return must(jetstream.New(reader)), func() {
		writer.Close()
		reader.Close()
		server.Shutdown()
		_ = os.RemoveAll(dir) // it is temporary anyway
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
