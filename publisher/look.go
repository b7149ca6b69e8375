package publisher

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
)

// lookPage is how many entries are compared, and recorded, at a time: more
// than a publisher that was killed can have left unrecorded.
const lookPage = 1000

// look finds out where the stream ends and brings stream and outbox together
// again: what the stream lost is published again, what it holds and the
// outbox has not recorded is recorded. A Conflict Error says that the stream
// holds what the outbox cannot account for.
func (r *Relay) look(ctx context.Context) error {
	r.step(StepLook)
	r.metrics.looks.Inc()
	if err := r.observe(ctx); err != nil {
		return err
	}
	head, err := r.source.Head(ctx)
	if err != nil {
		return fmt.Errorf("read head: %w", err)
	}
	r.head = head // what unlessOvertaken compares with
	stream, err := r.openStream(ctx, head.StreamSequence)
	if err != nil {
		return err
	}
	state, settings := stream.CachedInfo().State, stream.CachedInfo().Config
	if err := intact(state); err != nil {
		return err
	}
	if state.LastSeq < head.StreamSequence {
		err = r.heal(ctx, &settings, state.LastSeq, head.StreamSequence)
	} else if head.StreamSequence > 0 {
		err = r.verify(ctx, []events.Entry{head})
	}
	if err != nil {
		return err
	}
	r.status.ordinal(head.StreamSequence)
	if err := r.adopt(ctx, state.LastSeq); err != nil {
		return err
	}
	// Also where nothing was left to heal: whoever began may have been killed
	// before it took the mark away. Not where stream and outbox contradict each
	// other: then nobody knows how long the stream has to be.
	if err := r.mark(ctx, &settings, 0); err != nil {
		return err
	}
	r.known()
	return nil
}

// openStream returns the stream, which is created if it is missing, marked as
// one that is being filled again up to head.
func (r *Relay) openStream(ctx context.Context, head uint64) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.AckTimeout)
	defer cancel()
	cfg := r.cfg.Stream
	cfg.RefillTo = head
	return EnsureStream(ctx, r.js, cfg)
}

// intact reports a Conflict Error for a stream from whose beginning or middle
// messages are missing, which cannot be put back.
func intact(s jetstream.StreamState) error {
	if s.LastSeq == 0 || s.FirstSeq == 1 && s.Msgs == s.LastSeq {
		return nil
	}
	return events.Errorf(events.Conflict, "stream %s holds %d messages, sequence %d to %d: some before its end are missing; "+
		"nothing is published until the stream is deleted: then it is filled again from the outbox, with the same sequence numbers",
		events.Stream, s.Msgs, s.FirstSeq, s.LastSeq)
}

// adopt records pending entries that the stream holds already, from head to
// sequence last: their acknowledgement was lost.
func (r *Relay) adopt(ctx context.Context, last uint64) error {
	for r.head.StreamSequence < last {
		from := r.head.StreamSequence + 1
		n := int(min(last-r.head.StreamSequence, lookPage))
		pending, err := r.source.Pending(ctx, n)
		if err != nil {
			return fmt.Errorf("read pending events: %w", err)
		}
		number(pending, r.head.StreamSequence)
		if err := r.verify(ctx, pending); err != nil {
			return r.unlessOvertaken(ctx, err)
		}
		if len(pending) < n {
			return r.unlessOvertaken(ctx, r.unknown(ctx, from+uint64(len(pending))))
		}
		if err := r.record(ctx, pending); err != nil {
			return err
		}
		r.metrics.adopted.Add(float64(n))
		r.log.Info("found events in the stream whose acknowledgement was lost", "events", n, "from", from)
	}
	return nil
}

var errOvertaken = errors.New("another relay of this outbox has recorded events meanwhile; this one looks again")

// unlessOvertaken returns err, or errOvertaken in place of a Conflict Error that
// may come from another relay of this outbox having recorded events since r.head
// was read: then nothing contradicts anything, and this relay looks again.
//
// Head, end of the stream and pending entries are read in this order, and now
// the head once more. Heads only move forward. If it is the same, it was the
// same when the pending entries were read: they are all that may follow r.head,
// in their order. What a relay of this outbox has stored behind r.head before
// the end of the stream was read was pending before that, so it is among them,
// in the same place. Then a difference is a true contradiction.
//
// A head that moves on cannot hide a true one for ever. As long as the stream
// holds something behind the head that does not belong there, no relay can
// publish or record, and the head stands. What differs at the head or before it
// is an error at once, because what was recorded never changes.
func (r *Relay) unlessOvertaken(ctx context.Context, err error) error {
	if !errors.Is(err, events.Conflict) {
		return err
	}
	return cmp.Or(r.headStands(ctx), err)
}

// headStands returns errOvertaken if r.head is no longer the outbox's head.
func (r *Relay) headStands(ctx context.Context) error {
	head, err := r.source.Head(ctx)
	if err != nil {
		return fmt.Errorf("read head: %w", err)
	}
	if head.StreamSequence != r.head.StreamSequence {
		return errOvertaken
	}
	return nil
}

// verify compares entries with what the stream holds at their ordinals, which
// must be consecutive. A difference is a Conflict Error.
func (r *Relay) verify(ctx context.Context, entries []events.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	i := 0
	return r.read(ctx, entries[0].StreamSequence, entries[len(entries)-1].StreamSequence, func(msg *jetstream.RawStreamMsg) error {
		want := entries[i].Event
		i++
		got, err := events.FromHeader(msg.Header, msg.Data)
		if err == nil && got.ID == want.ID && got.Hash == want.Hash && bytes.Equal(got.Data, want.Data) && msg.Subject == want.NATSSubject() {
			return nil
		}
		return contradiction(msg.Sequence, found(got, err), "the outbox has "+name(want))
	})
}

// unknown is the Conflict Error for a message that is not in the outbox.
func (r *Relay) unknown(ctx context.Context, sequence uint64) error {
	return r.read(ctx, sequence, sequence, func(msg *jetstream.RawStreamMsg) error {
		got, err := events.FromHeader(msg.Header, msg.Data)
		return contradiction(sequence, found(got, err), "the outbox has nothing")
	})
}

func found(e events.Event, err error) string {
	if err != nil {
		return "a message that is no event of ours"
	}
	return name(e)
}

func contradiction(sequence uint64, holds, has string) error {
	return events.Errorf(events.Conflict, "at sequence %d the stream holds %s where %s: another publisher wrote to the stream, "+
		"or this outbox is older than the stream; nothing is published until the other publisher is gone or the current outbox.db is back, "+
		"and the program started again", sequence, holds, has)
}
