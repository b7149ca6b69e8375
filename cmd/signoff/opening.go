package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
	"github.com/seed-e88a4ece/signoff/subscriber/stream"
)

// start is what the outbox held when the program began, before it made, numbered
// or published anything itself.
type start struct {
	recorded events.Entry     // with the highest ordinal; none: the zero Entry
	access   events.ChainHead // the end of the access events, published or not
}

func readStart(ctx context.Context, o *outbox.Outbox) (s start, err error) {
	if s.recorded, err = o.Source().Head(ctx); err != nil {
		return s, err
	}
	s.access, err = o.ChainHead(ctx, events.AccessStudy)
	return s, err
}

// position is the place of the event that was recorded last, in whatever stream.
func (s start) position() stream.Position {
	return stream.Position{StreamSequence: s.recorded.StreamSequence, ID: s.recorded.Event.ID, Hash: s.recorded.Event.Hash}
}

const (
	openingEvery  = 20 * time.Millisecond  // between looks while closed
	respectEvery  = 400 * time.Millisecond // and afterwards
	openingRetry  = 2 * time.Second        // what callers are told to wait
	openingAnswer = 2 * time.Second        // for an answer of the broker
)

// opening keeps data, tokens and NATS logins closed until the read model knows
// as much of who may see what as was known when the program last ran. A read model
// that is missing, or an old copy, otherwise lets in who was revoked since, with
// secrets that were replaced, to reports that were withdrawn, and refuses tokens
// that are good. Closed means: come back later (503, a login that nobody
// answers), never: refused, because of that clients make an end.
//
// It opens when
//
//  1. the read model stands at the event that the outbox had recorded last when
//     the program began, or behind it, and it is the same event there. Not the
//     stream is asked how far that is: one that is being filled again knows only
//     its beginning. What the outbox has not recorded may be missing: nobody was
//     shown it, or it is an access event, and so of the third kind.
//  2. the read model has applied what the stream held when it was first asked:
//     where outbox and read model are older copies, the stream alone knows what
//     was revoked since.
//  3. the access events that waited for the publisher at the beginning are
//     applied: of a partner or key that they bring, tokens would be refused.
//
// None needs the broker once the read model is there. The last two are dropped
// where it cannot come true by waiting: while the broker is away, the publisher
// has stopped, the access events are parked, or the read model has stopped. Nobody
// is to be locked out by that, and nobody gets in who should not, because of the
// rule below. Only where nothing was ever published it is waited for: then the
// read model knows nobody.
//
// Once open it stays so.
//
// In any case, also later, access events that the read model has not applied within
// half a second take away what they take away: see Directory. So a revocation is in
// force within a second of its commit, whatever the broker and the read model do.
//
// The states, with R for what was recorded last:
//
//	nothing recorded, no access events   open at once
//	model before R, missing              closed; it catches up from the stream, or, of
//	                                     another stream, is made anew by signoff rebuild
//	model at R, the same event           open, without the broker if need be
//	model behind R                       compared by the end of that study's chain,
//	                                     which the outbox holds where only ordinals
//	                                     are missing in it (it is adopted); where the
//	                                     outbox lacks it, being an older copy, by the
//	                                     stream's message at R. Open if it is the same
//	another event at R                   closed until somebody decides: outbox.db and
//	                                     readmodel.db are of two histories
//	model of another stream              as above: the events count, and not when the
//	                                     stream was made. It is red, applies nothing
//	                                     more, and signoff rebuild cures that
type opening struct {
	*readmodel.Model
	start  start
	outbox *outbox.Outbox
	stream func(context.Context, string) (jetstream.Stream, error)
	relay  func() publisher.Status
	log    *slog.Logger

	reason  atomic.Pointer[error] // why it is closed; nil: it is open
	opened  chan struct{}         // closed once it is open
	changed chan struct{}         // full when the directory is another one

	later  atomic.Pointer[access.Directory] // folded from what is not applied; nil: nothing
	narrow atomic.Pointer[narrowed]         // as last asked for

	// What follows belongs to run.
	end       *stream.Position // of the stream when it was first asked; nil: not yet
	waiting   uint64           // access events up to this number were committed a look ago
	respected [2]uint64        // the numbers of the first and the last one folded into later
	complaint string           // said last
}

// narrowed is a directory that was made from two, so that it is made once.
type narrowed struct {
	from   access.Directory
	later  *access.Directory
	result access.Directory
}

func newOpening(p *program) *opening {
	o := &opening{
		Model: p.model, start: p.start, outbox: p.outbox, stream: p.reader.Stream, log: p.log.With("component", "opening"),
		relay:  func() publisher.Status { return p.relay.Status() },
		opened: make(chan struct{}), changed: make(chan struct{}, 1), waiting: math.MaxInt64,
	}
	o.setReason(notYet("not looked at yet"))
	return o
}

func notYet(format string, args ...any) error {
	return &events.Error{Code: events.Unavailable, Message: fmt.Sprintf(format, args...), RetryAfter: openingRetry}
}

func (o *opening) setReason(why error) { o.reason.Store(&why) }

// closed returns why nothing is answered yet; nil once it is.
func (o *opening) closed() error {
	if why := o.reason.Load(); why != nil {
		return *why
	}
	return nil
}

// guard answers 503 as long as it is closed.
func (o *opening) guard(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := o.closed(); err != nil {
			rest.WriteError(w, r, err)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// Directory returns who may see what: what the read model has applied, without
// what access events take away that wait in the outbox. What these give has to
// wait: whether they will ever be on the log is not certain, as where the outbox is
// an older copy and the publisher has stopped.
func (o *opening) Directory() access.Directory {
	d, later := o.Model.Directory(), o.later.Load()
	if later == nil {
		return d
	}
	if n := o.narrow.Load(); n != nil && n.later == later && n.from.Same(d) {
		return n.result
	}
	n := &narrowed{from: d, later: later, result: d.Narrow(*later)}
	o.narrow.Store(n)
	return n.result
}

// Changed receives when Directory may return another one. It has room for one, so
// that a single reader misses nothing between two looks.
func (o *opening) Changed() <-chan struct{} { return o.changed }

// WaitFor returns nil once it is open and the message with this stream sequence is
// applied, else why not. Logins wait for it.
func (o *opening) WaitFor(ctx context.Context, sequence uint64) error {
	select {
	case <-o.opened:
		return o.Model.WaitFor(ctx, sequence)
	case <-ctx.Done():
		if err := o.closed(); err != nil {
			return err
		}
		return context.Cause(ctx)
	}
}

// run looks until ctx ends: often while it is closed, then now and then and
// whenever the read model's directory changes.
func (o *opening) run(ctx context.Context) error {
	tick := time.NewTicker(openingEvery)
	defer tick.Stop()
	for {
		o.look(ctx)
		if o.closed() == nil {
			tick.Reset(respectEvery)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-o.Model.Changed():
			o.notify()
		case <-tick.C:
		}
	}
}

func (o *opening) notify() {
	select {
	case o.changed <- struct{}{}:
	default: // there is one that nobody has taken yet
	}
}

// look takes note of access events that are not applied, and opens if it is time.
// What cannot be found out leaves all as it is.
func (o *opening) look(ctx context.Context) {
	open := o.closed() == nil
	if !open {
		// Nothing is answered before that, so nothing has to be respected either; and
		// of a read model that is missing all access events there are would be pending.
		err := o.holdsRecorded(ctx)
		if err == nil {
			err = o.holdsStream(ctx)
		}
		if err != nil {
			o.stayClosed(err)
			return
		}
	}
	pending, err := o.unapplied(ctx)
	if err == nil {
		err = o.respect(pending)
	}
	if open {
		if err != nil && ctx.Err() == nil && err.Error() != o.complaint {
			o.complaint = err.Error() // said once, however often it is found
			o.log.Warn("cannot look for access events that are not applied", "cause", err)
		}
		return
	}
	if err == nil {
		err = o.wait(ctx, pending)
	}
	if err != nil {
		o.stayClosed(err)
		return
	}
	o.reason.Store(nil)
	close(o.opened)
	o.notify() // who waits to begin need not wait longer
	o.log.Info("data, tokens and logins are open", "position", o.Position().StreamSequence, "recorded", o.start.recorded.StreamSequence)
}

func (o *opening) stayClosed(why error) {
	o.setReason(notYet("data, tokens and logins are closed: %s", why))
}

// unapplied returns the access events that the read model has not applied.
func (o *opening) unapplied(ctx context.Context) ([]events.Entry, error) {
	applied, err := o.ChainHead(ctx, events.AccessStudy)
	if err != nil {
		return nil, err
	}
	committed, err := o.outbox.ChainHead(ctx, events.AccessStudy)
	if err != nil || applied == committed {
		o.waiting = committed.Number
		return nil, err
	}
	pending, err := o.outbox.Source().AccessAfter(ctx, applied)
	return pending, err
}

// respect has Directory leave out what those access events take away that were
// there a look ago; those that came since are about to be applied.
func (o *opening) respect(pending []events.Entry) error {
	there := pending
	if i := slices.IndexFunc(pending, func(e events.Entry) bool { return e.Event.Number > o.waiting }); i >= 0 {
		there = pending[:i]
	}
	if len(pending) > 0 {
		o.waiting = pending[len(pending)-1].Event.Number
	}
	var numbers [2]uint64
	if len(there) > 0 {
		numbers = [2]uint64{there[0].Event.Number, there[len(there)-1].Event.Number}
	}
	if numbers == o.respected {
		return nil
	}
	var later *access.Directory
	if len(there) > 0 {
		fold := access.Directory{}.Fold()
		for _, e := range there {
			if err := fold.Apply(e.Event); err != nil {
				return err
			}
		}
		d := fold.Directory()
		later = &d
	}
	o.respected = numbers
	o.later.Store(later)
	o.notify()
	return nil
}

// holdsStream returns nil if the read model has applied what the stream held when
// it was first asked: of a later revocation only the stream may know, where outbox
// and read model are older copies. It is not waited for where that is of no use:
// while the broker is away, and where the read model is of another stream or has
// stopped.
func (o *opening) holdsStream(ctx context.Context) error {
	if o.end == nil {
		ctx, cancel := context.WithTimeout(ctx, openingAnswer)
		defer cancel()
		current, err := o.stream(ctx, events.Stream)
		switch {
		case err == nil:
			info := current.CachedInfo()
			o.end = &stream.Position{Created: info.Created, StreamSequence: info.State.LastSeq}
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
func (o *opening) wait(ctx context.Context, pending []events.Entry) error {
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
func (o *opening) inVain(ctx context.Context) (bool, error) {
	if o.start.recorded.StreamSequence == 0 {
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
func (o *opening) holdsRecorded(ctx context.Context) error {
	recorded, at := o.start.position(), o.Position()
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
	e := o.start.recorded.Event
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
func (o *opening) compareInStream(ctx context.Context, at stream.Position) error {
	ctx, cancel := context.WithTimeout(ctx, openingAnswer)
	defer cancel()
	current, err := o.stream(ctx, events.Stream)
	if err != nil {
		return fmt.Errorf("the outbox is older than the read model, and is to be compared with the stream: %w", err)
	}
	if !current.CachedInfo().Created.Equal(at.Created) {
		return fmt.Errorf("the read model is at event %d of another stream, the outbox has recorded %d: they cannot be compared; "+
			"if outbox.db is an older copy, put back the one that holds all events; if readmodel.db is of another installation, "+
			"stop the server and move readmodel.db away: it is made anew from the stream", at.StreamSequence, o.start.recorded.StreamSequence)
	}
	recorded := o.start.position()
	msg, err := current.GetMsg(ctx, recorded.StreamSequence)
	if err != nil {
		return fmt.Errorf("the outbox is older than the read model, and is to be compared with the stream: message %d: %w", recorded.StreamSequence, err)
	}
	e, err := events.FromHeader(msg.Header, msg.Data)
	if err != nil {
		return sameEvent(recorded, "", "")
	}
	return sameEvent(recorded, e.ID, e.Hash)
}

func sameEvent(recorded stream.Position, id, hash string) error {
	if id == recorded.ID && hash == recorded.Hash {
		return nil
	}
	return fmt.Errorf("at event %d the read model holds another one than the outbox has recorded, which is %s: outbox.db and readmodel.db "+
		"do not belong together; put back the outbox.db that does, or make the read model from the stream with signoff rebuild", recorded.StreamSequence, recorded.ID)
}
