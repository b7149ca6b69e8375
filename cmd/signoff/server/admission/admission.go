// Package admission decides from when on the server answers partners. Afterwards it leaves
// out of their access what was revoked but is not applied yet.
//
// An access event adds, changes or ends a partner, a grant or a key. It is applied once the
// read model contains it. It is pending while it is committed to the outbox and not
// applied, and overdue if it is still pending at the check after that. At the first check,
// all pending events are overdue.
//
// The package guarantees that access whose end the outbox has recorded is not restored by a
// missing or older read model, nor by an outage. See Admission for the conditions. It
// changes neither outbox nor read model.
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
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
	"github.com/seed-e88a4ece/signoff/subscriber/stream"
)

const (
	closedEvery   = 20 * time.Millisecond  // between two checks while it is closed
	openEvery     = 400 * time.Millisecond // between two checks once it is open
	retryAfter    = 2 * time.Second        // in the Retry-After of a 503
	brokerTimeout = 2 * time.Second        // for an answer of the broker
)

// Admission keeps the read API, the token endpoint and NATS logins closed until the read
// model knows at least as much about access as was known when the program last ran.
// A read model that is missing, or is an older copy, would otherwise admit a partner that
// was revoked since, accept a secret that was replaced, serve a report that was withdrawn,
// and refuse valid access tokens. While closed, requests get 503 with Retry-After and logins get
// no answer. They are never refused, because clients take a refusal as final.
//
// It opens when all three conditions hold:
//
//  1. The read model has applied the event that the outbox had recorded last when the
//     program started, and it is the same event in both. The stream is not asked for this
//     position: a stream that is being refilled has only its beginning. Events without a
//     recorded stream sequence may be missing from the read model. Nobody was shown them,
//     or they are access events, which the third condition covers.
//  2. The read model has applied what the stream held when it was first asked. If outbox
//     and read model are both older copies, only the stream knows later revocations.
//  3. The access events that were pending when the program started are applied. Before
//     that, access tokens of a partner or a key that they add would be refused.
//
// None of them needs the broker once the read model has anything. The last two are dropped
// where waiting cannot make them true: the broker is away, the publisher has stopped, the
// access events are parked, or the read model has stopped. That locks nobody out. It also
// admits nobody who was revoked, because of the rule for overdue events below. Where nothing
// was ever published, as far as outbox and read model know, the read model knows nobody, and
// whoever has access would be refused: then condition 3 is not dropped at all, and condition
// 2 not for a broker that is away.
//
// Once open it stays open.
//
// At all times, access that overdue events revoke is refused, and access that they grant is
// not in force yet: see Directory. So a revocation is in force within a second of its commit,
// whatever the state of the broker and the read model.
//
// The cases, with R for the event that the outbox had recorded last at the start:
//
//	nothing recorded, no access events   open once the stream is found to be empty
//	read model before R, or missing      closed; it catches up from the stream. If that is
//	                                     another stream, signoff rebuild makes it anew
//	read model at R, the same event      open, even without the broker
//	read model after R                   compared by the chain head of R's study, if the
//	                                     outbox has that event: then it only lacks stream
//	                                     sequences, which the publisher records. If the
//	                                     outbox lacks it, because it is an older copy,
//	                                     the stream's message at R is compared. Open if
//	                                     it is the same event
//	another event at R                   closed until a person decides: outbox.db and
//	                                     readmodel.db have different histories
//	read model of another stream         as above: the events are compared, not when the
//	                                     stream was created. The read model has stopped
//	                                     and applies nothing until signoff rebuild
type Admission struct {
	*readmodel.Model
	start  Start
	outbox *outbox.Outbox
	stream streamFunc
	relay  func() publisher.Status
	log    *slog.Logger

	closed  atomic.Pointer[error] // why it is closed; nil: open
	opened  chan struct{}         // closed once it is open
	changed chan struct{}         // holds one value when Directory may have changed

	overdue  atomic.Pointer[access.Directory] // the state after the overdue events alone; nil: there are none
	narrowed atomic.Pointer[narrowing]        // the last result of Directory

	// What follows belongs to run.
	streamEnd     *stream.Position // of the stream when it was first asked; nil: not asked yet
	lastCommitted uint64           // number of the last access event in the outbox at the previous check
	overdueRange  [2]uint64        // numbers of the first and the last event in overdue; zero: none
	lastLogged    string           // the last error that Check logged, so that it is logged once
}

// streamFunc looks up a stream, as jetstream.JetStream.Stream does.
type streamFunc = func(context.Context, string) (jetstream.Stream, error)

// New returns an Admission that is closed until Run or Check finds that it can open. Relay
// returns the publisher's status.
func New(m *readmodel.Model, o *outbox.Outbox, s Start, stream streamFunc, relay func() publisher.Status, log *slog.Logger) *Admission {
	a := &Admission{
		Model: m, start: s, outbox: o, stream: stream, relay: relay, log: log,
		opened: make(chan struct{}), changed: make(chan struct{}, 1),
		lastCommitted: math.MaxInt64, // at the first check, all pending events are overdue
	}
	a.setClosed(unavailable("not checked yet"))
	return a
}

// unavailable returns the error that is answered with 503 and Retry-After.
func unavailable(format string, args ...any) error {
	return &events.Error{Code: events.Unavailable, Message: fmt.Sprintf(format, args...), RetryAfter: retryAfter}
}

func (o *Admission) setClosed(why error) { o.closed.Store(&why) }

// Closed returns the reason why it is closed, or nil once it is open.
func (o *Admission) Closed() error {
	if why := o.closed.Load(); why != nil {
		return *why
	}
	return nil
}

// Guard returns a handler that answers 503 while it is closed.
func (o *Admission) Guard(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := o.Closed(); err != nil {
			rest.WriteError(w, r, err)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// Changed returns a channel that receives when Directory may have changed. It is
// buffered, so that a single reader misses nothing.
func (o *Admission) Changed() <-chan struct{} { return o.changed }

// WaitFor waits until it is open and the message with this stream sequence is applied.
// Logins wait for that. If ctx ends before it is open, WaitFor returns why it is closed.
func (o *Admission) WaitFor(ctx context.Context, sequence uint64) error {
	select {
	case <-o.opened:
		return o.Model.WaitFor(ctx, sequence)
	case <-ctx.Done():
		if err := o.Closed(); err != nil {
			return err
		}
		return context.Cause(ctx) // it has opened in this moment
	}
}

// Run calls Check until ctx ends: often while it is closed, less often afterwards. It
// also passes on changes of the read model's directory.
func (o *Admission) Run(ctx context.Context) error {
	tick := time.NewTicker(closedEvery)
	defer tick.Stop()
	for {
		o.Check(ctx)
		if o.Closed() == nil {
			tick.Reset(openEvery)
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

// notify has Changed receive. It does not block.
func (o *Admission) notify() {
	select {
	case o.changed <- struct{}{}:
	default: // the channel holds a value that was not received yet
	}
}

// Check finds the overdue access events, for Directory, and opens if the conditions hold.
// If it cannot read the pending events, Directory stays as it is; if it is closed, it stays
// closed.
func (o *Admission) Check(ctx context.Context) {
	open := o.Closed() == nil
	if !open {
		// The pending events are read only once conditions 1 and 2 hold. Nothing is
		// answered before, and while the read model is missing, all access events would be
		// pending.
		err := o.appliedRecorded(ctx)
		if err == nil {
			err = o.appliedStream(ctx)
		}
		if err != nil {
			o.stayClosed(err)
			return
		}
	}
	pending, err := o.pendingEvents(ctx)
	if err == nil {
		err = o.revokeOverdue(pending)
	}
	if open {
		if err != nil && ctx.Err() == nil && err.Error() != o.lastLogged {
			o.lastLogged = err.Error()
			o.log.Warn("cannot read which access events are not applied", "cause", err)
		}
		return
	}
	if err == nil {
		err = o.appliedPending(ctx, pending)
	}
	if err != nil {
		o.stayClosed(err)
		return
	}
	o.closed.Store(nil)
	close(o.opened)
	o.notify() // the receiver of Changed may wait until it opens
	o.log.Info("data, access tokens and logins are open", "position", o.Position().StreamSequence, "recorded", o.start.Recorded.StreamSequence)
}

// stayClosed records why it is still closed.
func (o *Admission) stayClosed(why error) {
	o.setClosed(unavailable("data, access tokens and logins are closed: %s", why))
}
