package admission

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
	"github.com/seed-e88a4ece/signoff/subscriber/stream"
)

// Start is what the outbox contained when the program started, before the program changed
// anything in it.
type Start struct {
	Recorded events.Entry     // the event with the highest stream sequence; the zero Entry if there is none
	access   events.ChainHead // the last access event, published or not
}

// ReadStart reads the Start from the outbox. It must be called before the program changes
// anything there.
func ReadStart(ctx context.Context, o *outbox.Outbox) (s Start, err error) {
	if s.Recorded, err = o.Source().Head(ctx); err != nil {
		return s, err
	}
	s.access, err = o.ChainHead(ctx, events.AccessStudy)
	return s, err
}

// Position returns the position of the event that was recorded last, without the stream's
// creation time.
func (s Start) Position() stream.Position {
	return stream.Position{StreamSequence: s.Recorded.StreamSequence, ID: s.Recorded.Event.ID, Hash: s.Recorded.Event.Hash}
}

// appliedStream checks condition 2: it returns nil if the read model has applied what the
// stream held when the stream was first asked. It also returns nil where waiting is of no
// use: while the broker is away, unless nobody is known without the stream, and if the read
// model follows another stream or has stopped.
func (o *Admission) appliedStream(ctx context.Context) error {
	if o.streamEnd == nil {
		ctx, cancel := context.WithTimeout(ctx, brokerTimeout)
		defer cancel()
		current, err := o.stream(ctx, events.Stream)
		switch {
		case err == nil:
			info := current.CachedInfo()
			o.streamEnd = &stream.Position{Created: info.Created, StreamSequence: info.State.LastSeq}
		case o.relay().State == publisher.BackingOff && o.knowsNobody():
			return fmt.Errorf("neither outbox nor read model contains a published event, and the broker is away: %w", err)
		case o.relay().State == publisher.BackingOff:
			return nil // the publisher cannot reach the broker either
		default:
			return fmt.Errorf("look up the end of the stream: %w", err)
		}
	}
	applied := o.Position()
	otherStream := !applied.Created.IsZero() && !applied.Created.Equal(o.streamEnd.Created)
	if otherStream || applied.StreamSequence >= o.streamEnd.StreamSequence || o.Status().State == readmodel.Red {
		return nil
	}
	return fmt.Errorf("the read model is at event %d of %d in the stream", applied.StreamSequence, o.streamEnd.StreamSequence)
}

// knowsNobody reports whether nothing was ever published, as far as outbox and read model
// know. Then whoever has access by the stream would be refused.
func (o *Admission) knowsNobody() bool {
	return o.start.Recorded.StreamSequence == 0 && o.Position().StreamSequence == 0
}

// appliedAccess checks condition 3: it returns nil if all access events that were recorded
// before the program started are applied. It also returns nil where waiting is futile.
func (o *Admission) appliedAccess(ctx context.Context) error {
	applied, err := o.ChainHead(ctx, events.AccessStudy)
	if err != nil || applied.Number >= o.start.access.Number {
		return err
	}
	futile, err := o.waitingIsFutile(ctx)
	if err == nil && !futile {
		err = errors.New("changes of access that were committed before are to be published and applied")
	}
	return err
}

// waitingIsFutile reports whether recorded access events cannot be applied without the
// broker's return or the operator's help.
func (o *Admission) waitingIsFutile(ctx context.Context) (bool, error) {
	if o.start.Recorded.StreamSequence == 0 {
		return false, nil // nothing was ever published: the read model knows nobody
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

// appliedRecorded checks condition 1: it returns nil if the read model has applied the
// event that the outbox had recorded last at the start, and both have the same event at
// that stream sequence.
func (o *Admission) appliedRecorded(ctx context.Context) error {
	recorded, at := o.start.Position(), o.Position()
	switch {
	case at.StreamSequence < recorded.StreamSequence:
		why := ""
		if s := o.Status(); s.State == readmodel.Red {
			why = " and has stopped: " + s.Reason + "; signoff rebuild makes it anew"
		}
		return fmt.Errorf("the read model is at event %d of %d%s", at.StreamSequence, recorded.StreamSequence, why)
	case recorded.StreamSequence == 0:
		return nil
	case at.StreamSequence == recorded.StreamSequence:
		return sameEvent(recorded, at.ID, at.Hash)
	}
	// The read model is further. Either the program ended before the outbox recorded what it
	// had published, or the outbox is an older copy. If the outbox has the event that is the
	// read model's chain head of the recorded event's study, the hash chain proves that the
	// read model has the recorded event too. If not, only the stream can tell.
	e := o.start.Recorded.Event
	head, err := o.ChainHead(ctx, e.Study) // the read model's
	if err != nil {
		return err
	}
	switch stored, err := o.outbox.Source().Holds(ctx, e.Study, head); {
	case err != nil:
		return err
	case head.Number < e.Number, head.Number == e.Number && head.Hash != e.Hash:
		return sameEvent(recorded, "", "") // always an error: the read model does not have e
	case stored:
		return nil
	}
	return o.compareInStream(ctx, at)
}

// compareInStream compares the recorded event with the message at its stream sequence, in
// the stream that the read model follows. It returns nil if they are the same event. At is
// the read model's position.
func (o *Admission) compareInStream(ctx context.Context, at stream.Position) error {
	ctx, cancel := context.WithTimeout(ctx, brokerTimeout)
	defer cancel()
	current, err := o.stream(ctx, events.Stream)
	if err != nil {
		return fmt.Errorf("the outbox is older than the read model and cannot be compared with the stream: %w", err)
	}
	if !current.CachedInfo().Created.Equal(at.Created) {
		return fmt.Errorf("the read model is at event %d of another stream, the outbox has recorded %d: they cannot be compared; "+
			"if outbox.db is an older copy, restore the one that holds all events; if readmodel.db belongs to another installation, "+
			"stop the server and move readmodel.db away: it is made anew from the stream", at.StreamSequence, o.start.Recorded.StreamSequence)
	}
	recorded := o.start.Position()
	msg, err := current.GetMsg(ctx, recorded.StreamSequence)
	if err != nil {
		return fmt.Errorf("the outbox is older than the read model and cannot be compared with the stream: message %d: %w", recorded.StreamSequence, err)
	}
	e, err := events.FromHeader(msg.Header, msg.Data)
	if err != nil {
		return sameEvent(recorded, "", "") // always an error: the message is no event
	}
	return sameEvent(recorded, e.ID, e.Hash)
}

// sameEvent returns an error unless the recorded event has this id and hash.
func sameEvent(recorded stream.Position, id, hash string) error {
	if id == recorded.ID && hash == recorded.Hash {
		return nil
	}
	return fmt.Errorf("event %d of the read model is not the event %s that the outbox has recorded there: outbox.db and readmodel.db "+
		"do not belong together; restore the right outbox.db, or make the read model anew from the stream with signoff rebuild", recorded.StreamSequence, recorded.ID)
}
