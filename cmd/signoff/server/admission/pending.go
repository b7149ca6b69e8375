package admission

import (
	"context"
	"slices"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
)

// narrowing is a result of Directory, and the two directories from which it was computed.
// It is stored so that it is computed once for each pair.
type narrowing struct {
	applied access.Directory
	overdue *access.Directory
	result  access.Directory
}

// Directory returns the partners, grants and keys that the read model has applied, without
// those that overdue access events revoke. What overdue events grant is not in it, because
// they may never be on the log: for example, the outbox may be an older copy and the
// publisher may have stopped.
func (o *Admission) Directory() access.Directory {
	applied, overdue := o.Model.Directory(), o.overdue.Load()
	if overdue == nil {
		return applied
	}
	if n := o.narrowed.Load(); n != nil && n.overdue == overdue && n.applied.Same(applied) {
		return n.result
	}
	n := &narrowing{applied: applied, overdue: overdue, result: applied.Narrow(*overdue)}
	o.narrowed.Store(n)
	return n.result
}

// pendingEvents returns the access events in the outbox that the read model has not
// applied, in their order. If there are none, it also sets lastCommitted.
func (o *Admission) pendingEvents(ctx context.Context) ([]events.Entry, error) {
	applied, err := o.ChainHead(ctx, events.AccessStudy)
	if err != nil {
		return nil, err
	}
	committed, err := o.outbox.ChainHead(ctx, events.AccessStudy)
	if err != nil {
		return nil, err // what is overdue stays so
	}
	if applied == committed {
		o.lastCommitted = committed.Number
		return nil, nil
	}
	return o.outbox.Source().AccessAfter(ctx, applied)
}

// revokeOverdue has Directory leave out what overdue events revoke. An event is overdue if
// it is pending now and was already committed at the previous check, about half a second
// ago. Later pending events are left to the read model, which usually applies them at once.
func (o *Admission) revokeOverdue(pending []events.Entry) error {
	overdue := pending
	if i := slices.IndexFunc(pending, func(e events.Entry) bool { return e.Event.Number > o.lastCommitted }); i >= 0 {
		overdue = pending[:i]
	}
	if len(pending) > 0 {
		o.lastCommitted = pending[len(pending)-1].Event.Number
	}
	var numbers [2]uint64 // of the first and the last overdue event
	var directory *access.Directory
	if len(overdue) > 0 {
		numbers = [2]uint64{overdue[0].Event.Number, overdue[len(overdue)-1].Event.Number}
	}
	if numbers == o.overdueRange {
		return nil // the same events as at the previous check
	}
	if len(overdue) > 0 {
		fold := access.Directory{}.Fold()
		for _, e := range overdue {
			if err := fold.Apply(e.Event); err != nil {
				return err
			}
		}
		d := fold.Directory()
		directory = &d
	}
	o.overdueRange = numbers
	o.overdue.Store(directory)
	o.notify()
	return nil
}
