package admission

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/publisher"
)

// recorded is the directory of the outbox.
type recorded struct {
	directory access.Directory
	head      events.ChainHead // the last access event that was applied to it
}

// limited is a result of Directory, and the two directories from which it was computed. It
// is stored so that it is computed once for each pair.
type limited struct {
	applied  access.Directory
	recorded *recorded
	result   access.Directory
}

// Directory returns the partners, grants and keys that both the read model and the outbox
// have. So access that the outbox has ended is not in it, even if the read model never
// learns that, because the broker is away or the read model has stopped. Nor is access that
// was written to the stream and is not in the outbox.
func (o *Admission) Directory() access.Directory {
	applied, recorded := o.Model.Directory(), o.recorded.Load()
	if l := o.limited.Load(); l != nil && l.recorded == recorded && l.applied.Same(applied) {
		return l.result
	}
	l := &limited{applied: applied, recorded: recorded, result: applied.Limit(recorded.directory)}
	o.limited.Store(l)
	return l.result
}

// Recorded returns the last access event of the outbox that Directory respects, and the
// last one of them that set a partner or key: that is what LimitedBy returns for a
// Directory that respects all of them.
func (o *Admission) Recorded() (head, limit events.ChainHead) {
	r := o.recorded.Load()
	return r.head, r.directory.Version()
}

// readRecorded applies the access events that the outbox has recorded since the last call,
// for Directory. If it cannot read them, Directory stays as it is.
func (o *Admission) readRecorded(ctx context.Context) error {
	before := o.recorded.Load()
	entries, err := o.outbox.Source().AccessAfter(ctx, before.head.Number)
	if err != nil || len(entries) == 0 {
		return err
	}
	next := &recorded{head: entries[len(entries)-1].Event.ChainHead()}
	fold := before.directory.Fold()
	for _, e := range entries {
		if err := fold.Apply(e.Event); err != nil {
			return fmt.Errorf("read access event %d of the outbox: %w", e.Event.Number, err)
		}
	}
	next.directory = fold.Directory()
	o.recorded.Store(next)
	if !next.directory.Same(before.directory) {
		o.notify()
	}
	return nil
}

// Withheld returns why logins to NATS must be left unanswered now, or nil. Partners read
// the stream itself there. So none is let in before the publisher has compared the stream
// with the outbox, and after it has found something in the stream that was not signed: what
// is written next, and to which study, nobody knows.
func (o *Admission) Withheld() error {
	switch s := o.relay(); {
	case s.Unsigned:
		return unavailable("partners may not read the stream: %s", s.Reason)
	case s.State == publisher.Starting:
		return unavailable("the publisher has not compared the stream with the outbox yet")
	}
	return nil
}

// Signed returns nil if the outbox holds the chain head of a study, else an Unavailable
// Error. The chain proves that the outbox then holds, and so the PIs have signed, all events
// of the study up to it.
func (o *Admission) Signed(ctx context.Context, studyKey string, head events.ChainHead) error {
	if head == (events.ChainHead{}) {
		return nil // no events
	}
	if last, ok := o.signed.Load(studyKey); ok && last == head {
		return nil
	}
	switch found, err := o.outbox.Source().Holds(ctx, studyKey, head); {
	case err != nil:
		return &events.Error{Code: events.Unavailable, Message: "it cannot be checked what was signed", Err: err, RetryAfter: retryAfter}
	case !found:
		return &events.Error{
			Code: events.Unavailable, Message: "the study cannot be shown now", RetryAfter: retryAfter,
			Err: fmt.Errorf("event %d of study %s is in the read model and not in the outbox: %w", head.Number, studyKey, errUnsigned),
		}
	}
	o.signed.Store(studyKey, head)
	return nil
}

// errUnsigned is what an operator has to do about events that are not in the outbox.
var errUnsigned = errors.New("another publisher wrote to the stream, or outbox.db is an older copy; " +
	"restore outbox.db, or stop the server, delete the stream and move readmodel.db away: both are filled again")
