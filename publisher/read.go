package publisher

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/seed-e88a4ece/signoff/events"
)

// Bounds of one read from the stream.
const (
	readMessages = 500
	readBytes    = 8 << 20
)

// read calls fn with each message of the stream from one sequence to another, both
// included. A message that is not returned is an error, but no Conflict: the server that
// was asked may not have it yet.
func (c *Comparer) read(ctx context.Context, from, to uint64, fn func(*jetstream.RawStreamMsg) error) error {
	for from <= to {
		next, err := c.readSome(ctx, from, min(to, from+readMessages-1), fn)
		if err != nil {
			return err
		}
		if next == from {
			return fmt.Errorf("read stream: message %d was not returned", from)
		}
		from = next
	}
	return nil
}

// readSome calls fn with the messages of one answer, which may hold fewer than requested.
// It returns the sequence after the last one.
func (c *Comparer) readSome(ctx context.Context, from, to uint64, fn func(*jetstream.RawStreamMsg) error) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	messages, err := jetstreamext.GetBatch(ctx, c.js, events.Stream, int(to-from+1),
		jetstreamext.GetBatchSeq(from), jetstreamext.GetBatchMaxBytes(readBytes))
	if err != nil {
		return from, fmt.Errorf("read stream from %d: %w", from, err)
	}
	for msg, err := range messages {
		if err != nil {
			return from, fmt.Errorf("read stream from %d: %w", from, err)
		}
		if msg.Sequence != from {
			return from, fmt.Errorf("read stream: message %d was returned instead of %d", msg.Sequence, from)
		}
		if err := fn(msg); err != nil {
			return from, err
		}
		from++
	}
	return from, nil
}
