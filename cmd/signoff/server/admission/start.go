package admission

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/subscriber"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// Start is what the outbox held when the program began, before it made, numbered
// or published anything itself.
type Start struct {
	Recorded events.Entry     // with the highest ordinal; none: the zero Entry
	access   events.ChainHead // the end of the access events, published or not
}

func ReadStart(ctx context.Context, o *outbox.Outbox) (s Start, err error) {
	if s.Recorded, err = o.Source().Head(ctx); err != nil {
		return s, err
	}
	s.access, err = o.ChainHead(ctx, events.AccessStudy)
	return s, err
}

// Position is the place of the event that was recorded last, in whatever stream.
func (s Start) Position() subscriber.Position {
	return subscriber.Position{StreamSequence: s.Recorded.StreamSequence, ID: s.Recorded.Event.ID, Hash: s.Recorded.Event.Hash}
}

// holdsStream returns nil if the read model has applied what the stream held when
// it was first asked: of a later revocation only the stream may know, where outbox
// and read model are older copies. It is not waited for where that is of no use:
// while the broker is away, and where the read model is of another stream or has
// stopped.
func (o *Admission) holdsStream(ctx context.Context) error {
	if o.end == nil {
		ctx, cancel := context.WithTimeout(ctx, brokerTimeout)
		defer cancel()
		stream, err := o.stream(ctx, events.Stream)
		switch {
		case err == nil:
			info := stream.CachedInfo()
			o.end = &subscriber.Position{Created: info.Created, StreamSequence: info.State.LastSeq}
		case o.relay().State == publisher.BackingOff:
			return nil
		default:
			return fmt.Errorf("ask where the stream ends: %w", err)
		}
	}
	at := o.Position()
	another := !at.Created.IsZero() && !at.Created.Equal(o.end.Created)
	if another || at.StreamSequence >= o.end.StreamSequence || o.Status().State == readmodel.Red {
		return nil
	}
	return fmt.Errorf("the read model is at event %d of %d in the stream", at.StreamSequence, o.end.StreamSequence)
}

// wait returns which access events are to be waited for before it opens; nil: none.
func (o *Admission) wait(ctx context.Context, pending []events.Entry) error {
	atStart := func(e events.Entry) bool { return e.Event.Number <= o.start.access.Number }
	if !slices.ContainsFunc(pending, atStart) {
		return nil
	}
	inVain, err := o.inVain(ctx)
	if err == nil && !inVain {
		err = errors.New("changes of access that were committed before are to be published and applied")
	}
	return err
}

// inVain reports whether waiting for pending access events to be applied is of no
// use: that takes the broker, or a person.
func (o *Admission) inVain(ctx context.Context) (bool, error) {
	if o.start.Recorded.StreamSequence == 0 {
		return false, nil
	}
	switch o.relay().State {
	case publisher.BackingOff, publisher.Stopped:
		return true, nil
	}
	if o.Status().State == readmodel.Red {
		return true, nil
	}
	parked, err := o.outbox.Parked(ctx)
	return slices.ContainsFunc(parked, func(p outbox.ParkedStudy) bool { return p.Study == events.AccessStudy }), err
}

// holdsRecorded returns nil if the read model has applied what the outbox had
// recorded at the start, and it is the same there, else what is in the way.
func (o *Admission) holdsRecorded(ctx context.Context) error {
	recorded, at := o.start.Position(), o.Position()
	switch {
	case at.StreamSequence < recorded.StreamSequence:
		why := ""
		if s := o.Status(); s.State == readmodel.Red {
			why = " and does not go on: " + s.Reason + "; signoff rebuild makes it anew"
		}
		return fmt.Errorf("the read model is at event %d of %d%s", at.StreamSequence, recorded.StreamSequence, why)
	case recorded.StreamSequence == 0:
		return nil
	case at.StreamSequence == recorded.StreamSequence:
		return sameEvent(recorded, at.ID, at.Hash)
	}
	// It stands behind: the outbox was stopped before it recorded what it had
	// published, or is an older copy. The chain of the event's study shows whether
	// it is in there, if the outbox holds the end of that.
	e := o.start.Recorded.Event
	end, err := o.ChainHead(ctx, e.Study)
	if err != nil {
		return err
	}
	switch held, err := o.outbox.Source().Holds(ctx, e.Study, end); {
	case err != nil:
		return err
	case end.Number < e.Number, end.Number == e.Number && end.Hash != e.Hash:
		return sameEvent(recorded, "", "")
	case held:
		return nil
	}
	return o.compareInStream(ctx, at)
}

// compareInStream asks the stream that the read model has followed for its event at
// the place of the recorded one.
func (o *Admission) compareInStream(ctx context.Context, at subscriber.Position) error {
	ctx, cancel := context.WithTimeout(ctx, brokerTimeout)
	defer cancel()
	stream, err := o.stream(ctx, events.Stream)
	if err != nil {
		return fmt.Errorf("the outbox is older than the read model, and is to be compared with the stream: %w", err)
	}
	if !stream.CachedInfo().Created.Equal(at.Created) {
		return fmt.Errorf("the read model is at event %d of another stream, the outbox has recorded %d: they cannot be compared; "+
			"if outbox.db is an older copy, put back the one that holds all events; if readmodel.db is of another installation, "+
			"stop the server and move readmodel.db away: it is made anew from the stream", at.StreamSequence, o.start.Recorded.StreamSequence)
	}
	recorded := o.start.Position()
	msg, err := stream.GetMsg(ctx, recorded.StreamSequence)
	if err != nil {
		return fmt.Errorf("the outbox is older than the read model, and is to be compared with the stream: message %d: %w", recorded.StreamSequence, err)
	}
	e, err := events.FromHeader(msg.Header, msg.Data)
	if err != nil {
		return sameEvent(recorded, "", "")
	}
	return sameEvent(recorded, e.ID, e.Hash)
}

func sameEvent(recorded subscriber.Position, id, hash string) error {
	if id == recorded.ID && hash == recorded.Hash {
		return nil
	}
	return fmt.Errorf("at event %d the read model holds another one than the outbox has recorded, which is %s: outbox.db and readmodel.db "+
		"do not belong together; put back the outbox.db that does, or make the read model from the stream with signoff rebuild", recorded.StreamSequence, recorded.ID)
}
