// Package streamtest has for benchmarks what a stream.Reader is compared with: reading the
// stream through a consumer, which the reader may not create.
package streamtest

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/subscriber/stream"
)

// Consume passes the stream to the handler until ctx ends, with the checks of a
// stream.Reader, but through a consumer.
func Consume(ctx context.Context, js jetstream.JetStream, h stream.Handler) error {
	progress, err := h.Resume(ctx)
	if err != nil {
		return err
	}
	consumer, err := js.CreateConsumer(ctx, events.Stream, jetstream.ConsumerConfig{
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: time.Minute,
	})
	if err != nil {
		return err
	}
	from, err := consumer.Messages(jetstream.PullMaxMessagesWithBytesLimit(500, 32<<20))
	if err != nil {
		return err
	}
	defer from.Stop()
	received, failed := make(chan stream.Message, 500), make(chan error, 1)
	go func() {
		defer close(received)
		failed <- receive(ctx, from, received)
	}()
	applied := progress.Position
	for m := range received {
		batch := stream.Batch{After: applied, Messages: []stream.Message{m}}
		for range len(received) {
			batch.Messages = append(batch.Messages, <-received)
		}
		last := batch.Messages[len(batch.Messages)-1]
		applied = stream.Position{Created: time.Unix(0, 0), StreamSequence: last.StreamSequence, ID: last.Event.ID, Hash: last.Event.Hash}
		batch.Position = applied
		if err := h.Apply(ctx, batch); err != nil {
			return err
		}
	}
	return <-failed
}

// receive sends the messages of a consumer, checked, until ctx ends.
func receive(ctx context.Context, from jetstream.MessagesContext, to chan<- stream.Message) error {
	heads := make(map[string]events.ChainHead)
	for {
		msg, err := from.Next(jetstream.NextContext(ctx))
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		e, err := events.FromHeader(msg.Headers(), msg.Data())
		if err != nil {
			return err
		}
		if heads[e.Study], err = heads[e.Study].Follow(e); err != nil {
			return err
		}
		to <- stream.Message{StreamSequence: meta.Sequence.Stream, Event: e}
	}
}

// ProcessorTime returns how long the process has used processors. Unlike the time that
// passes, it does not depend on what else the machine does.
func ProcessorTime(t testing.TB) time.Duration {
	t.Helper()
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
