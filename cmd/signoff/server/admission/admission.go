// Package admission decides whether the server answers partners yet, and whom it
// admits while changes of access are committed but not applied.
package admission

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/subscriber"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

const (
	checkEvery    = 20 * time.Millisecond  // between looks while closed
	pendingEvery  = 400 * time.Millisecond // and afterwards
	retryAfter    = 2 * time.Second        // what callers are told to wait
	brokerTimeout = 2 * time.Second        // for an answer of the broker
)

// Admission keeps data, tokens and NATS logins closed until the read model knows
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
type Admission struct {
	*readmodel.Model
	start  Start
	outbox *outbox.Outbox
	stream streamFunc
	relay  func() publisher.Status
	log    *slog.Logger

	reason  atomic.Pointer[error] // why it is closed; nil: it is open
	opened  chan struct{}         // closed once it is open
	changed chan struct{}         // full when the directory is another one

	later  atomic.Pointer[access.Directory] // folded from what is not applied; nil: nothing
	narrow atomic.Pointer[narrowed]         // as last asked for

	// What follows belongs to run.
	end       *subscriber.Position // of the stream when it was first asked; nil: not yet
	waiting   uint64               // access events up to this number were committed a look ago
	respected [2]uint64            // the numbers of the first and the last one folded into later
	complaint string               // said last
}

// streamFunc looks a stream up, as jetstream.JetStream does.
type streamFunc = func(context.Context, string) (jetstream.Stream, error)

func New(m *readmodel.Model, o *outbox.Outbox, s Start, stream streamFunc, relay func() publisher.Status, log *slog.Logger) *Admission {
	a := &Admission{
		Model: m, start: s, outbox: o, stream: stream, relay: relay, log: log,
		opened: make(chan struct{}), changed: make(chan struct{}, 1), waiting: math.MaxInt64,
	}
	a.setReason(notYet("not looked at yet"))
	return a
}

func notYet(format string, args ...any) error {
	return &events.Error{Code: events.Unavailable, Message: fmt.Sprintf(format, args...), RetryAfter: retryAfter}
}

func (o *Admission) setReason(why error) { o.reason.Store(&why) }

// Closed returns why nothing is answered yet; nil once it is.
func (o *Admission) Closed() error {
	if why := o.reason.Load(); why != nil {
		return *why
	}
	return nil
}

// Guard answers 503 as long as it is closed.
func (o *Admission) Guard(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := o.Closed(); err != nil {
			rest.WriteError(w, r, err)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// Changed receives when Directory may return another one. It has room for one, so
// that a single reader misses nothing between two looks.
func (o *Admission) Changed() <-chan struct{} { return o.changed }

// WaitFor returns nil once it is open and the message with this stream sequence is
// applied, else why not. Logins wait for it.
func (o *Admission) WaitFor(ctx context.Context, sequence uint64) error {
	select {
	case <-o.opened:
		return o.Model.WaitFor(ctx, sequence)
	case <-ctx.Done():
		if err := o.Closed(); err != nil {
			return err
		}
		return context.Cause(ctx)
	}
}

// Run looks until ctx ends: often while it is closed, then now and then and
// whenever the read model's directory changes.
func (o *Admission) Run(ctx context.Context) error {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		o.Look(ctx)
		if o.Closed() == nil {
			tick.Reset(pendingEvery)
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

func (o *Admission) notify() {
	select {
	case o.changed <- struct{}{}:
	default: // there is one that nobody has taken yet
	}
}

// Look takes note of access events that are not applied, and opens if it is time.
// What cannot be found out leaves all as it is.
func (o *Admission) Look(ctx context.Context) {
	open := o.Closed() == nil
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
	o.log.Info("data, tokens and logins are open", "position", o.Position().StreamSequence, "recorded", o.start.Recorded.StreamSequence)
}

func (o *Admission) stayClosed(why error) {
	o.setReason(notYet("data, tokens and logins are closed: %s", why))
}
