package admission

import (
	"context"
	"slices"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
)

// narrowing is a directory without what overdue events revoke, kept so that it is
// computed once.
type narrowing struct {
	applied access.Directory
	overdue *access.Directory
	result  access.Directory
}

// Directory returns the partners, grants and keys that the read model has applied, without
// what overdue access events revoke. What these grant has to wait: it is not certain that
// they will ever be on the log, as when the outbox is an older copy and the publisher has
// stopped.
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

// pendingEvents returns the access events that the read model has not applied.
func (o *Admission) pendingEvents(ctx context.Context) ([]events.Entry, error) {
	applied, err := o.ChainHead(ctx, events.AccessStudy)
	if err != nil {
		return nil, err
	}
	committed, err := o.outbox.ChainHead(ctx, events.AccessStudy)
	if err != nil || applied == committed {
		o.committed = committed.Number
		return nil, err
	}
	pending, err := o.outbox.Source().AccessAfter(ctx, applied)
	return pending, err
}

// revokeOverdue has Directory leave out what overdue events revoke: pending events that
// were committed before the previous check, half a second ago, and are still not applied.
// The others are about to be applied by the read model.
func (o *Admission) revokeOverdue(pending []events.Entry) error {
	overdue := pending
	if i := slices.IndexFunc(pending, func(e events.Entry) bool { return e.Event.Number > o.committed }); i >= 0 {
		overdue = pending[:i]
	}
	if len(pending) > 0 {
		o.committed = pending[len(pending)-1].Event.Number
	}
	var numbers [2]uint64
	var directory *access.Directory
	if len(overdue) > 0 {
		numbers = [2]uint64{overdue[0].Event.Number, overdue[len(overdue)-1].Event.Number}
	}
	if numbers == o.revoked {
		return nil
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
	o.revoked = numbers
	o.overdue.Store(directory)
	o.notify()
	return nil
}
