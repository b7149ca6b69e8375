// Package admission decides from when on the server answers partners, and then whom and
// with what: the read API, the token endpoint and NATS logins all ask it. It refuses what
// the read model or the outbox refuses, and shows nothing that the outbox does not hold.
//
// An access event adds, changes or ends a partner, a grant or a key. It is recorded once it
// is committed to the outbox, and applied once the read model contains it.
//
// The package guarantees that access whose end the outbox has recorded is not restored by a
// missing or older read model, nor by an outage, and that what was written to the stream
// but not signed is not served. See Admission for the conditions. It changes neither outbox
// nor read model.
package admission

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
	"github.com/seed-e88a4ece/signoff/subscriber/stream"
)

const (
	closedEvery   = 20 * time.Millisecond // between two checks while it is closed
	openEvery     = 50 * time.Millisecond // between two checks once it is open
	retryAfter    = 2 * time.Second       // in the Retry-After of a 503
	brokerTimeout = 2 * time.Second       // for an answer of the broker
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
//     or they are access events, which Directory respects.
//  2. The read model has applied what the stream held when it was first asked. If outbox
//     and read model are both older copies, only the stream knows later revocations.
//  3. The access events that were recorded when the program started are applied. Before
//     that, access tokens of a partner or a key that they add would be refused.
//
// None of them needs the broker once the read model has anything. The last two are dropped
// where waiting cannot make them true: the broker is away, the publisher has stopped, the
// access events are parked, or the read model has stopped. That locks nobody out. It also
// admits nobody who was revoked, because of Directory. Where nothing was ever published, as
// far as outbox and read model know, the read model knows nobody, and whoever has access
// would be refused: then condition 3 is not dropped at all, and condition 2 not for a broker
// that is away.
//
// Once open it stays open.
//
// At all times, access that is not both recorded and applied is refused: see Directory. So a
// revocation is in force a moment after its commit, whatever the state of the broker and the
// read model, and a grant once it is on the log. Nothing of a study is shown while the read
// model has an event of it that the outbox lacks: see Signed. And logins are left unanswered
// while the stream may contain what was not signed: see Withheld.
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

	recorded atomic.Pointer[recorded] // the directory of the outbox; empty before the first Check
	limited  atomic.Pointer[limited]  // the last result of Directory
	signed   sync.Map                 // by study key: the chain head that Signed found last in the outbox

	// What follows belongs to Run.
	streamEnd  *stream.Position // of the stream when it was first asked; nil: not asked yet
	withheld   bool             // what Withheld returned at the last check was an error
	lastLogged string           // the last error that Check logged, so that it is logged once
}

// streamFunc looks up a stream, as jetstream.JetStream.Stream does.
type streamFunc = func(context.Context, string) (jetstream.Stream, error)

// New returns an Admission that is closed until Run or Check finds that it can open. Relay
// returns the publisher's status.
func New(m *readmodel.Model, o *outbox.Outbox, s Start, stream streamFunc, relay func() publisher.Status, log *slog.Logger) *Admission {
	a := &Admission{
		Model: m, start: s, outbox: o, stream: stream, relay: relay, log: log,
		opened: make(chan struct{}), changed: make(chan struct{}, 1),
	}
	a.recorded.Store(&recorded{})
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
			// The outbox recorded the change before. Without it, Directory would leave out
			// what was granted.
			o.logOnce(ctx, o.readRecorded(ctx))
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

// Check reads what the outbox has recorded about access, for Directory, and opens if the
// conditions hold. If it cannot read that, Directory stays as it is; if it is closed, it
// stays closed.
func (o *Admission) Check(ctx context.Context) {
	err := o.readRecorded(ctx)
	if withheld := o.Withheld() != nil; withheld != o.withheld {
		o.withheld = withheld
		o.notify() // connections are to be closed
	}
	if o.Closed() == nil {
		o.logOnce(ctx, err)
		return
	}
	for _, condition := range []func(context.Context) error{o.appliedRecorded, o.appliedStream, o.appliedAccess} {
		if err == nil {
			err = condition(ctx)
		}
	}
	if err != nil {
		o.setClosed(unavailable("data, access tokens and logins are closed: %s", err))
		return
	}
	o.closed.Store(nil)
	close(o.opened)
	o.notify() // the receiver of Changed may wait until it opens
	o.log.Info("data, access tokens and logins are open", "position", o.Position().StreamSequence, "recorded", o.start.Recorded.StreamSequence)
}

// logOnce logs that the outbox cannot be read, unless err is nil or was logged last.
func (o *Admission) logOnce(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil && err.Error() != o.lastLogged {
		o.lastLogged = err.Error()
		o.log.Warn("cannot read what is recorded about access; what was read before stays in force", "cause", err)
	}
}
