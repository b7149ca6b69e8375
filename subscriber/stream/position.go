package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/retry"
)

// Position is how far a stream was read, and what identifies the stream: when it
// was created, and id and hash of the last event read. The zero Position is
// before the first event of any stream.
type Position struct {
	Created        time.Time
	StreamSequence uint64
	ID             string
	Hash           string
}

// Same reports whether p and o are the same place of the same stream. All
// positions before the first event are the same.
func (p Position) Same(o Position) bool {
	if p.StreamSequence == 0 || o.StreamSequence == 0 {
		return p.StreamSequence == o.StreamSequence
	}
	return p.Created.Equal(o.Created) && p.StreamSequence == o.StreamSequence && p.ID == o.ID && p.Hash == o.Hash
}

// after returns the position once m, the message after p, was read.
func (p Position) after(m Message) Position {
	return Position{Created: p.Created, StreamSequence: m.StreamSequence, ID: m.Event.ID, Hash: m.Event.Hash}
}

// compare checks that the stream still is the one in which p was reached. The
// error is an outage if that cannot be found out, else ErrReplaced.
func (r *Reader) compare(ctx context.Context, p Position) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	stream, err := r.js.Stream(ctx, r.cfg.Stream)
	if err != nil {
		return nil, outage{fmt.Errorf("get stream %s: %w", r.cfg.Stream, err)}
	}
	info := stream.CachedInfo()
	if p.StreamSequence == 0 {
		return info, nil
	}
	if !info.Created.Equal(p.Created) {
		return nil, replaced("it was created at %s, the one read before at %s", info.Created.UTC(), p.Created.UTC())
	}
	if p.StreamSequence < info.State.FirstSeq || p.StreamSequence > info.State.LastSeq {
		return nil, replaced("it has messages %d to %d, and %d was read", info.State.FirstSeq, info.State.LastSeq, p.StreamSequence)
	}
	return info, compareMessage(ctx, stream, p)
}

// getRetries is how often a message that the stream should have is requested
// again before it counts as missing: the replica that answers may lag.
const getRetries = 3

// compareMessage checks that the stream has the event of p at its stream sequence. The
// errors are those of compare.
func compareMessage(ctx context.Context, stream jetstream.Stream, p Position) error {
	msg, err := stream.GetMsg(ctx, p.StreamSequence)
	for again := 0; errors.Is(err, jetstream.ErrMsgNotFound) && again < getRetries; again++ {
		_ = retry.Sleep(ctx, 50*time.Millisecond) // GetMsg finds that ctx has ended
		msg, err = stream.GetMsg(ctx, p.StreamSequence)
	}
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return replaced("message %d, which was read, is missing", p.StreamSequence)
	case err != nil:
		return outage{fmt.Errorf("get message %d: %w", p.StreamSequence, err)}
	}
	return p.compareEvent(msg.Header, msg.Data)
}

// compareEvent returns an ErrReplaced if the message at p does not have the event of p.
func (p Position) compareEvent(header nats.Header, body []byte) error {
	e, err := events.FromHeader(header, body)
	if err != nil {
		return replaced("message %d is not an event: %w", p.StreamSequence, err)
	}
	if e.ID != p.ID || e.Hash != p.Hash {
		return replaced("message %d is event %s with hash %s; before, it was %s with %s", p.StreamSequence, e.ID, e.Hash, p.ID, p.Hash)
	}
	return nil
}

// replaced returns an ErrReplaced with the difference.
func replaced(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrReplaced, fmt.Errorf(format, args...))
}
