package publisher

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
)

// Comparer compares the stream with an outbox. It changes neither.
//
// A difference that no relay of this outbox can have caused is a Conflict Error: messages
// are missing before the stream's end, or the stream holds a message that differs from the
// outbox or is not in it.
type Comparer struct {
	js      jetstream.JetStream
	source  SourceReader
	timeout time.Duration // of one answer of the broker
}

// NewComparer returns a Comparer of the stream and the outbox. Timeout bounds the wait for
// one answer of the broker.
func NewComparer(js jetstream.JetStream, source SourceReader, timeout time.Duration) *Comparer {
	return &Comparer{js: js, source: source, timeout: timeout}
}

// Comparison is the difference between the stream's end and an outbox that do not
// contradict each other.
type Comparison struct {
	Head events.Entry // the last event that the outbox has recorded
	Last uint64       // the stream's last sequence

	// Lost is how many recorded events the stream lacks at its end. What it still holds is
	// not compared then: see VerifyRecorded.
	Lost uint64

	// Unrecorded are events that the stream holds after Head: they were stored, and perhaps
	// acknowledged, but not recorded. If there are as many as the limit of the comparison,
	// there may be more, up to Last.
	Unrecorded []events.Entry
}

// ErrOvertaken means that a relay has recorded events during a comparison. The comparison
// has to be repeated.
var ErrOvertaken = errors.New("another relay of this outbox has recorded events meanwhile; compare again")

// Compare compares the end of the stream with the outbox: the last recorded event, and at
// most limit events after it.
func (c *Comparer) Compare(ctx context.Context, limit int) (Comparison, error) {
	head, err := c.source.Head(ctx)
	if err != nil {
		return Comparison{}, fmt.Errorf("read the last recorded event: %w", err)
	}
	stream, err := c.lookUp(ctx)
	if err != nil {
		return Comparison{}, err
	}
	return c.compare(ctx, head, stream.CachedInfo().State, limit)
}

// lookUp returns the stream.
func (c *Comparer) lookUp(ctx context.Context) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	stream, err := c.js.Stream(ctx, events.Stream)
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", events.Stream, err)
	}
	return stream, nil
}

// compare does the work of Compare. The head must have been read before the stream's
// state, as unlessOvertaken requires.
func (c *Comparer) compare(ctx context.Context, head events.Entry, state jetstream.StreamState, limit int) (Comparison, error) {
	found := Comparison{Head: head, Last: state.LastSeq}
	if err := intact(state); err != nil {
		// A stream that is being deleted may be returned without its messages, but only to
		// a request that came before the deletion began. Another one does not find it.
		if _, deleted := c.lookUp(ctx); deleted != nil {
			return found, deleted
		}
		return found, err
	}
	if state.LastSeq < head.StreamSequence {
		found.Lost = head.StreamSequence - state.LastSeq
		return found, nil
	}
	if head.StreamSequence > 0 {
		if err := c.verify(ctx, []events.Entry{head}); err != nil {
			return found, err
		}
	}
	var err error
	found.Unrecorded, err = c.unrecorded(ctx, head, state.LastSeq, limit)
	return found, err
}

// intact returns a Conflict Error if messages are missing from the beginning or middle of
// the stream. They cannot be put back, because the broker stores only at the end.
func intact(s jetstream.StreamState) error {
	if s.LastSeq == 0 || s.FirstSeq == 1 && s.Msgs == s.LastSeq {
		return nil
	}
	return events.Errorf(events.Conflict, "stream %s holds %d messages, sequence %d to %d: some before its end are missing; "+
		"nothing is published until the stream is deleted: then it is filled again from the outbox, with the same sequence numbers",
		events.Stream, s.Msgs, s.FirstSeq, s.LastSeq)
}

// unrecorded returns the pending entries that the stream holds already, after head and up
// to sequence last, at most limit, with their stream sequences. Their acknowledgement was
// lost, or they could not be recorded. If the stream holds anything else there, the error
// is a Conflict.
func (c *Comparer) unrecorded(ctx context.Context, head events.Entry, last uint64, limit int) ([]events.Entry, error) {
	n := int(min(last-head.StreamSequence, uint64(limit)))
	if n == 0 {
		return nil, nil
	}
	pending, err := c.source.Pending(ctx, n)
	if err != nil {
		return nil, fmt.Errorf("read pending events: %w", err)
	}
	number(pending, head.StreamSequence)
	if err := c.verify(ctx, pending); err != nil {
		return nil, c.unlessOvertaken(ctx, head, err)
	}
	if len(pending) < n { // the stream holds more than the outbox has
		return nil, c.unlessOvertaken(ctx, head, c.unknown(ctx, head.StreamSequence+uint64(len(pending))+1))
	}
	return pending, nil
}

// unlessOvertaken returns err, unless it is a Conflict Error and another relay of this
// outbox has recorded events since head was read. Then the difference may come from that
// relay, and it returns ErrOvertaken: the comparison has to be repeated.
//
// Head, end of the stream and pending entries are read in this order, and now the head once
// more. Heads only move forward. If the head is the same, it was the same when the pending
// entries were read. So these entries are all that may follow head, in their order. Suppose
// that a relay of this outbox had stored an entry after head before the end of the stream
// was read. That entry was pending then, so it is among these entries, in the same place.
// Therefore a difference is a contradiction.
//
// A head that moves cannot hide a contradiction for ever. As long as the stream holds a
// message after the head that does not belong there, no relay can publish or record, and
// the head stays. A difference at the head or before it is an error at once, because
// recorded entries never change.
func (c *Comparer) unlessOvertaken(ctx context.Context, head events.Entry, err error) error {
	if !errors.Is(err, events.Conflict) {
		return err
	}
	return cmp.Or(c.sameHead(ctx, head), err)
}

// sameHead returns ErrOvertaken if head is no longer the last recorded entry.
func (c *Comparer) sameHead(ctx context.Context, head events.Entry) error {
	now, err := c.source.Head(ctx)
	if err != nil {
		return fmt.Errorf("read the last recorded event: %w", err)
	}
	if now.StreamSequence != head.StreamSequence {
		return ErrOvertaken
	}
	return nil
}

// VerifyRecorded compares the stream with the recorded entries, from the first message to
// sequence last. A difference is a Conflict Error.
func (c *Comparer) VerifyRecorded(ctx context.Context, last uint64) error {
	for from := uint64(1); from <= last; {
		entries, err := c.recorded(ctx, from, int(min(last-from+1, readMessages)))
		if err != nil {
			return err
		}
		if err := c.verify(ctx, entries); err != nil {
			return err
		}
		from += uint64(len(entries))
	}
	return nil
}

// recorded reads recorded entries from a stream sequence on: one at least, limit at most.
// A gap or a missing entry is a Conflict Error.
func (c *Comparer) recorded(ctx context.Context, from uint64, limit int) ([]events.Entry, error) {
	entries, err := c.source.Recorded(ctx, from, limit)
	if err != nil {
		return nil, fmt.Errorf("read recorded events: %w", err)
	}
	for i, e := range entries {
		if e.StreamSequence != from+uint64(i) {
			return nil, events.Errorf(events.Conflict, "the outbox returned stream sequence %d where %d was expected", e.StreamSequence, from+uint64(i))
		}
	}
	if len(entries) == 0 {
		return nil, events.Errorf(events.Conflict, "the outbox has no event with stream sequence %d, though it has later ones", from)
	}
	return entries, nil
}

// verify compares entries with what the stream holds at their sequences, which must be
// consecutive. A difference is a Conflict Error.
func (c *Comparer) verify(ctx context.Context, entries []events.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	i := 0
	return c.read(ctx, entries[0].StreamSequence, entries[len(entries)-1].StreamSequence, func(msg *jetstream.RawStreamMsg) error {
		want := entries[i].Event
		i++
		got, err := events.FromHeader(msg.Header, msg.Data)
		if err == nil && got.ID == want.ID && got.Hash == want.Hash && bytes.Equal(got.Data, want.Data) && msg.Subject == want.NATSSubject() {
			return nil
		}
		return contradiction(msg.Sequence, describeMessage(got, err), "the outbox has "+describe(want))
	})
}

// unknown reads a message that is not in the outbox and returns the Conflict Error that
// describes it.
func (c *Comparer) unknown(ctx context.Context, sequence uint64) error {
	return c.read(ctx, sequence, sequence, func(msg *jetstream.RawStreamMsg) error {
		got, err := events.FromHeader(msg.Header, msg.Data)
		return contradiction(sequence, describeMessage(got, err), "the outbox has nothing")
	})
}

// describeMessage describes a message for people. The arguments are the results of
// events.FromHeader.
func describeMessage(e events.Event, err error) string {
	if err != nil {
		return "a message that is no event of ours"
	}
	return describe(e)
}

// describe names an event for people.
func describe(e events.Event) string {
	return fmt.Sprintf("event %d of study %s (id %s)", e.Number, e.Study, e.ID)
}

// errUnsigned is the cause of a Conflict Error for a message that is not in the outbox, and
// so was not signed.
var errUnsigned = errors.New("the stream holds an event that is not in the outbox")

// contradiction returns the Conflict Error for a message that differs from the outbox.
func contradiction(sequence uint64, holds, has string) error {
	return &events.Error{Code: events.Conflict, Err: errUnsigned, Message: fmt.Sprintf("at sequence %d the stream holds %s where %s: another publisher wrote to the stream, "+
		"or this outbox is older than the stream; nothing is published until the other publisher is gone or the current outbox.db is back, "+
		"and the program started again", sequence, holds, has)}
}
